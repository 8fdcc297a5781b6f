// Recall in the whole store, with RocksDB below: what is in the files of the data folder, and what readers get meanwhile.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/log.h"
#include "messaging/model/conversation.h"
#include "runtime/spawn.h"
#include "storage/embedded/embedded_store.h"
#include "storage/embedded/testing/answers.h"
#include "storage/embedded/tools.h"

namespace dunlin::embedded {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNeedle = "the-recalled-content";

class EmbeddedRecallTest : public testing::Test {
 protected:
  EmbeddedRecallTest() : folder_(testing::TempDir() + "/embedded-recall-" + std::to_string(::getpid())) {
    set_log_level(LogLevel::Error);
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~EmbeddedRecallTest() override {
    store_.reset();
    pool_.stop();
    fs::remove_all(folder_);
    set_log_level(LogLevel::Info);
  }
  EmbeddedOptions options(const std::string& name) {
    EmbeddedOptions options;
    options.path = folder_ + "/" + name;
    options.offload = &pool_;
    options.segment_bytes = 1 << 20;
    options.reserve_fraction = 0;
    options.recall_every = std::chrono::milliseconds(50);
    options.recall_rewrite_every = std::chrono::milliseconds(100);
    return options;
  }
  // As the above, but nothing leaves the files.
  EmbeddedOptions lazy(const std::string& name) {
    EmbeddedOptions out = options(name);
    out.recall_every = std::chrono::hours(1);
    out.recall_rewrite_every = std::chrono::hours(1);
    return out;
  }
  void open(EmbeddedOptions options) {
    store_.reset();
    answers_ = std::make_unique<Answers>();
    asked_ = 0;
    auto opened = EmbeddedStore::open(std::move(options));
    ASSERT_TRUE(opened.ok()) << opened.error().to_string();
    store_ = *std::move(opened);
    store_->set_listener(answers_.get());
    session_ = SessionKey::random();
    store_->begin_session(session_);
  }
  AppendOutcome send(std::string_view id, std::string_view body, Durability level = Durability::Fsync) {
    AppendRequest request;
    request.message = Message::create({conversation_.view(), "ann", id, "", body});
    request.session = session_;
    request.durability = level;
    store_->append({&request, 1});
    return answers_->wait(asked_++);
  }
  AppendOutcome send_secret(std::string_view id, Durability level = Durability::Fsync) {
    return send(id, R"({"text":")" + std::string(kNeedle) + "\"}", level);
  }
  Status recall(std::uint64_t seq) { return block_on(store_->recall(conversation_, MessageSeq(seq))); }
  Status recall(const AppendOutcome& sent) { return recall(sent.seq.value()); }
  Status flush() { return store_->flush_to_history(std::chrono::seconds(30)); }
  // 'm' for each message, '-' for each seq of a gap NotVisible, 'x' for other gaps.
  std::string shown() {
    auto page = block_on(store_->range({conversation_, MessageSeq(1), MessageSeq(UINT64_MAX), 1000, 1 << 20, false}));
    EXPECT_TRUE(page.ok());
    if (!page.ok()) return {};
    std::string out(page->head.last_seq.value(), '?');
    for (const MessagePtr& message : page->messages) out[message->seq().value() - 1] = 'm';
    for (const SeqGap& gap : page->gaps) {
      for (std::uint64_t seq = gap.from.value(); seq <= gap.to.value(); ++seq) {
        out[seq - 1] = gap.reason == GapReason::NotVisible ? '-' : 'x';
      }
    }
    return out;
  }
  // Files below the folder that hold the text.
  std::vector<std::string> holding(const std::string& below, std::string_view text = kNeedle) {
    std::vector<std::string> out;
    std::error_code gone;  // files come and go meanwhile
    for (fs::recursive_directory_iterator entry(folder_ + "/" + below, gone), end; !gone && entry != end; entry.increment(gone)) {
      if (!entry->is_regular_file(gone)) continue;
      std::ifstream file(entry->path(), std::ios::binary);
      const std::string bytes((std::istreambuf_iterator<char>(file)), {});
      if (bytes.find(text) != std::string::npos) out.push_back(entry->path().string());
    }
    return out;
  }
  void expect_gone(const std::string& below) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!holding(below).empty() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_TRUE(holding(below).empty()) << holding(below).front();
  }
  void expect_none_waiting() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (store_->log_stats().recalls_waiting != 0 && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    EXPECT_EQ(store_->log_stats().recalls_waiting, 0U);
  }
  // The folder as a kill would leave it: a copy while the store is open.
  void copy_as_killed(const std::string& from, const std::string& to) {
    fs::copy(folder_ + "/" + from, folder_ + "/" + to, fs::copy_options::recursive);
  }

  OffloadPool pool_{OffloadPool::Options{"test", 2, 4096}};
  const std::string folder_;
  const ConversationId conversation_ = private_conversation("ann", "ben");
  std::unique_ptr<Answers> answers_;
  std::unique_ptr<EmbeddedStore> store_;
  SessionKey session_;
  std::size_t asked_ = 0;
};

TEST_F(EmbeddedRecallTest, ABodyThatWasNeverInHistoryLeavesAllFiles) {
  open(options("data"));
  send("before", "{}");
  const AppendOutcome sent = send_secret("secret");
  send("after", "{}");
  ASSERT_FALSE(holding("data/log").empty());
  ASSERT_TRUE(recall(sent).ok());
  EXPECT_EQ(shown(), "m-m");
  expect_gone("data");
  EXPECT_EQ(shown(), "m-m");
  expect_none_waiting();
  EXPECT_EQ(shown(), "m-m");
  EXPECT_TRUE(send_secret("secret").duplicate);
  store_.reset();
  const auto report = verify_data(folder_ + "/data");
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(to_json(*report), R"({"records":3,"corrupt":[],"cut_bytes":0,"problems":[]})");
  open(options("data"));
  EXPECT_EQ(shown(), "m-m");
}

TEST_F(EmbeddedRecallTest, ABodyInASealedSegmentASpareAndHistoryLeavesThemAll) {
  open(options("data"));
  send("before", "{}");
  const AppendOutcome sent = send_secret("secret");
  ASSERT_TRUE(flush().ok());
  ASSERT_FALSE(holding("data/log").empty());
  ASSERT_FALSE(holding("data/history").empty());
  ASSERT_TRUE(recall(sent).ok());
  EXPECT_EQ(shown(), "m-");
  expect_gone("data/log");
  EXPECT_EQ(shown(), "m-");
  // RocksDB's files of before may be held until the next segment.
  send("after", "{}");
  ASSERT_TRUE(flush().ok());
  expect_gone("data");
  EXPECT_EQ(shown(), "m-m");
  expect_none_waiting();
  EXPECT_EQ(shown(), "m-m");
  open(options("data"));
  EXPECT_EQ(shown(), "m-m");
  EXPECT_TRUE(send_secret("secret").duplicate);
}

TEST_F(EmbeddedRecallTest, ABodyInASegmentKeptForAFollowerLeavesItAndTheFollowerGoesOn) {
  open(options("data"));
  ASSERT_TRUE(block_on(store_->register_follower("slow", LogPosition(0))).ok());
  send("before", "{}");
  const AppendOutcome sent = send_secret("secret");
  const LogPosition last = send("after", "{}").message->place().position;
  ASSERT_TRUE(flush().ok());
  ASSERT_TRUE(recall(sent).ok());
  expect_gone("data/log");
  EXPECT_GT(store_->log_stats().kept_bytes, 0U);
  expect_none_waiting();
  std::size_t got = 0;
  for (LogPosition after; after < last;) {
    const auto page = block_on(store_->feed(after, 1));
    ASSERT_TRUE(page.ok());
    ASSERT_GT(page->next, after);
    after = page->next;
    got += page->messages.size();
  }
  EXPECT_EQ(got, 2U);
  EXPECT_TRUE(block_on(store_->advance_follower("slow", last)).ok());
}

TEST_F(EmbeddedRecallTest, AKillBetweenTheRecallAndTheFilesKeepsItHiddenAndIsMadeUpFor) {
  for (const bool in_history : {false, true}) {
    const std::string data = in_history ? "data-history" : "data-log";
    open(lazy(data));
    send("before", "{}");
    const AppendOutcome sent = send_secret("secret");
    if (in_history) {
      ASSERT_TRUE(flush().ok());
    }
    ASSERT_TRUE(recall(sent).ok());
    copy_as_killed(data, data + "-killed");
    open(options(data + "-killed"));
    EXPECT_EQ(shown(), "m-");
    expect_gone(data + "-killed/log");
    EXPECT_EQ(shown(), "m-");
    open(options(data));
    EXPECT_EQ(shown(), "m-") << "after a clean stop";
    expect_gone(data + "/log");
  }
}

TEST_F(EmbeddedRecallTest, ARecordLostWithItsRecallGivesItsSeqToOneThatIsShown) {
  open(lazy("data"));
  send("before", "{}");
  ASSERT_TRUE(flush().ok());
  const AppendOutcome weak = send_secret("weak", Durability::Os);
  ASSERT_TRUE(recall(weak).ok());
  EXPECT_EQ(shown(), "m-");
  copy_as_killed("data", "killed");
  for (const auto& file : fs::directory_iterator(folder_ + "/killed/log")) fs::remove(file);
  open(options("killed"));
  EXPECT_TRUE(store_->recovery().epoch_renewed);
  EXPECT_EQ(shown(), "m");
  const AppendOutcome again = send("other", "{}");
  EXPECT_EQ(again.seq, weak.seq);
  EXPECT_EQ(shown(), "mm");
  open(options("killed"));
  EXPECT_EQ(shown(), "mm");
}

TEST_F(EmbeddedRecallTest, BackupsKeepWhatWasRecalledAfterThemAndHideWhatWasRecalledBefore) {
  open(lazy("data"));
  send("before", "{}");
  const AppendOutcome sent = send_secret("secret");
  ASSERT_TRUE(store_->backup_to(folder_ + "/earlier", nullptr).ok());
  ASSERT_TRUE(recall(sent).ok());
  ASSERT_TRUE(store_->backup_to(folder_ + "/later", nullptr).ok());
  store_.reset();
  for (const std::string name : {"earlier", "later"}) {
    EXPECT_FALSE(holding(name).empty());
    ASSERT_TRUE(restore(folder_ + "/" + name, folder_ + "/from-" + name).ok());
  }
  open(options("from-earlier"));
  EXPECT_EQ(shown(), "mm");
  open(options("from-later"));
  EXPECT_EQ(shown(), "m-");
  expect_gone("from-later/log");
}

TEST_F(EmbeddedRecallTest, IsRefusedAtItsBoundAndTakenWhenSomeAreDone) {
  EmbeddedOptions few = lazy("data");
  few.recalls_max = 3;
  open(few);
  for (int i = 0; i < 6; ++i) send_secret("m" + std::to_string(i));
  for (const std::uint64_t seq : {1, 2, 3}) EXPECT_TRUE(recall(seq).ok());
  EXPECT_EQ(recall(4).error().code(), ErrorCode::Overloaded);
  EXPECT_TRUE(recall(2).ok());
  EXPECT_EQ(shown(), "---mmm");
  few = options("data");
  few.recalls_max = 3;
  open(few);
  expect_none_waiting();
  for (const std::uint64_t seq : {4, 5, 6}) EXPECT_TRUE(recall(seq).ok());
  EXPECT_EQ(shown(), "------");
  expect_gone("data/log");
}

TEST_F(EmbeddedRecallTest, ACloseInTheMiddleOfARoundEndsSoon) {
  EmbeddedOptions busy = options("data");
  busy.segment_bytes = 16 << 20;
  busy.recall_every = std::chrono::milliseconds(0);
  open(busy);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(recall(send_secret("m" + std::to_string(i))).ok());
    const auto start = std::chrono::steady_clock::now();
    open(busy);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
  }
  EXPECT_EQ(shown(), "-----");
  expect_gone("data/log");
}

// Whoever has been told of a recall never reads the content again, whatever moves below meanwhile: senders, seals, ingests, evictions.
TEST_F(EmbeddedRecallTest, UnderLoadNoReaderGetsWhatWasRecalledBefore) {
  EmbeddedOptions busy = options("data");
  busy.recall_every = std::chrono::milliseconds(1);
  busy.recall_rewrite_every = std::chrono::milliseconds(1);
  busy.keep_recent = true;
  busy.window_bytes = 256 << 10;
  open(busy);
  std::atomic<std::uint64_t> sent{0};
  std::atomic<std::uint64_t> recalled{0};  // all seqs up to it that are 0 modulo 3
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> reads{0};
  std::atomic<bool> stop{false};
  const auto hides = [](std::uint64_t seq, std::uint64_t through) { return seq % 3 == 0 && seq <= through; };
  const auto check = [&](const std::vector<MessagePtr>& messages, std::uint64_t through) {
    for (const MessagePtr& message : messages) wrong += hides(message->seq().value(), through) ? 1 : 0;
    ++reads;
  };
  const auto reader = [&](int kind) {
    while (!stop) {
      // The indexer, whose work is half of the race, runs at idle priority: beside other programs it must get to it.
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      const std::uint64_t through = recalled;
      const std::uint64_t newest = sent;
      const RangeQuery all{conversation_, MessageSeq(newest > 150 ? newest - 150 : 1), MessageSeq(newest), 200, 1 << 20, kind == 1};
      if (kind <= 1) {
        const auto page = block_on(store_->range(all));
        if (page.ok()) check(page->messages, through);
      } else if (kind == 2) {
        const auto page = store_->range_in_memory(all);
        if (page) check(page->messages, through);
      } else if (kind == 3) {
        const auto news = block_on(store_->news_since({UserId("ben"), InboxPosition(newest / 2), 64, 200, 1 << 20}));
        if (!news.ok()) continue;
        for (const NewsRange& part : news->ranges) check(part.page.messages, through);
      } else {
        const auto page = block_on(store_->feed(LogPosition(newest > 300 ? newest - 300 : 0), 200));
        if (page.ok()) check(page->messages, through);
      }
    }
  };
  std::vector<std::thread> readers;
  readers.reserve(5);
  for (int kind = 0; kind < 5; ++kind) readers.emplace_back(reader, kind);
  for (std::uint64_t seq = 1; seq <= 900 && wrong == 0; ++seq) {
    const AppendOutcome outcome = send("m" + std::to_string(seq), "\"" + std::string(1500, 'b') + "\"", Durability::Os);
    EXPECT_EQ(outcome.seq, MessageSeq(seq));
    sent = seq;
    if (seq < 10 || seq % 3 != 0) continue;
    EXPECT_TRUE(recall(seq - 9).ok());
    recalled = seq - 9;
    if (seq % 90 == 0) {
      EXPECT_TRUE(flush().ok());
    }
  }
  stop = true;
  for (std::thread& thread : readers) thread.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_GT(reads, 100U);
  const std::string all = shown();
  for (std::uint64_t seq = 1; seq <= 900; ++seq) EXPECT_EQ(all[seq - 1], hides(seq, recalled) ? '-' : 'm') << seq;
}

}  // namespace
}  // namespace dunlin::embedded
