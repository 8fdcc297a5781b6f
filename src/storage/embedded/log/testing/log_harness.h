#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "messaging/model/conversation.h"
#include "storage/embedded/file/testing/faulty_file_system.h"
#include "storage/embedded/indexer.h"
#include "storage/embedded/log/committer.h"
#include "storage/embedded/log/recovery.h"
#include "storage/embedded/log/testing/fake_history.h"
#include "storage/embedded/timeline_reader.h"
#include "storage/embedded/weak_acks.h"

namespace dunlin::embedded {

// The log side of the store without threads of its own: the test says when the committer and the indexer run. One object is one life of
// a process; files and history outlive it.
class LogHarness final : public StoreListener {
 public:
  static constexpr std::uint32_t kSecret = 0x5EC12E7;
  struct Options {
    std::uint64_t segment_bytes = 64 << 10;
    std::uint64_t window_bytes = 64 << 20;
    std::uint64_t keep_bytes = 0;
    SipHash128 (*hash)(const SipKey&, std::string_view) = &siphash128;
    std::function<Status()> sync_state;
    std::uint64_t kept_bytes = 1 << 30;
    RecallRows* recall_rows = nullptr;  // null: forgotten with the harness
    std::size_t recalls_max = 65'536;
    bool keep_meta = false;  // notes acks below fsync in data/meta, and renews the epoch as the store does
    std::function<void(LogPosition, std::size_t, std::string&)> take_cursors;
    std::function<void(std::string_view)> read_cursors;  // those that a start finds
    std::function<Status(LogPosition)> keep_cursors;
  };

  // Recalls that outlive a life, as rows that were synced do.
  class RowsInMemory final : public RecallRows {
   public:
    Result<std::vector<RecallRow>> recalls() override { return rows; }
    Status add_recall(const RecallRow& row) override {
      if (fail) return Error(ErrorCode::Io, "injected");
      std::erase_if(rows, [&](const RecallRow& old) { return old.conversation_number == row.conversation_number && old.seq == row.seq; });
      rows.push_back(row);
      return {};
    }
    Status remove_recalls(std::span<const RecallRow> gone, bool) override {
      if (fail) return Error(ErrorCode::Io, "injected");
      std::erase_if(rows, [&](const RecallRow& row) {
        return std::any_of(gone.begin(), gone.end(),
                           [&](const RecallRow& one) { return one.conversation_number == row.conversation_number && one.seq == row.seq; });
      });
      return {};
    }
    std::vector<RecallRow> rows;
    bool fail = false;
  };

  LogHarness(FaultyFileSystem& files, FakeHistory& history) : LogHarness(files, history, Options()) {}
  LogHarness(FaultyFileSystem& files, FakeHistory& history, Options options)
      : files_(files),
        history_(history),
        pool(files, "data/log", options.segment_bytes),
        conversations(1 << 20),
        window(conversations, history.position(), options.keep_bytes),
        intake({{1, 2}, 32 << 20, options.hash}, conversations, sessions, window, history, offload_, queue),
        kept(files, pool, kSecret),
        recalls(options.recall_rows != nullptr ? *options.recall_rows : own_rows_, clock, options.recalls_max),
        reader(conversations, window, history, intake, kept, recalls) {
    auto table = Followers::open(files_, "data", Epoch{1});
    if (!table.ok()) {
      give_up(table.error());
      return;
    }
    followers = *std::move(table);
    if (auto read = options.keep_meta ? begin_meta() : Status(); !read.ok()) {
      give_up(read.error());
      return;
    }
    Recovery recovery(files_, conversations, window, intake, history_, pool);
    recovery.take_cursors = options.read_cursors;
    auto found = recovery.run("data", kSecret, followers->passed());
    if (!found.ok()) {
      give_up(found.error());
      return;
    }
    recovered = *std::move(found);
    if (auto noted = options.keep_meta ? end_meta() : Status(); !noted.ok()) {
      give_up(noted.error());
      return;
    }
    for (const KeptSegment& segment : recovered.kept) kept.add(segment);
    if (auto made = pool.make_first(); !made.ok()) {
      give_up(made.error());
      return;
    }
    const LogScan& scan = recovered.scan;
    if (auto loaded = recalls.load(scan.last); !loaded.ok()) {
      give_up(loaded.error());
      return;
    }
    writer = std::make_unique<LogWriter>(pool, LogWriter::Start{kSecret, scan.last_generation, scan.end, scan.last});
    CommitterOptions committing;
    committing.clock = &clock;
    committing.window_bytes = options.window_bytes;
    committing.take_cursors = options.take_cursors;
    committing.heal_every = std::chrono::milliseconds(0);
    committing.full_window_wait = std::chrono::milliseconds(0);
    if (options.keep_meta) {
      committing.before_weak_ack = [this](Durability level) { return note_weak_acks(files_, "data", level, meta); };
    }
    committer =
        std::make_unique<Committer>(committing, window, sessions, intake, queue, *writer, scan.last, recovered.last_conversation_number);
    committer->set_listener(this);
    IndexerOptions indexing;
    indexing.clock = &clock;
    indexing.data_folder = "data";
    indexing.window_bytes = options.window_bytes;
    indexing.sync_state = options.sync_state;
    indexing.keep_cursors = options.keep_cursors;
    indexing.kept_bytes = options.kept_bytes;
    RecallRoundsOptions wiping;
    wiping.log.clock = &clock;
    wiping.log.every = Milliseconds(0);
    wiping.log.secret = kSecret;
    wiping.log.between_batches = [this](const std::function<void()>& job) { return committer->run_between_batches(job); };
    wiping.log.seal = [this] { return writer->seal(); };
    wiping.rewrite_every = Milliseconds(0);
    rounds = std::make_unique<RecallRounds>(wiping, files_, pool, kept, window, history_, recalls);
    const Indexer::Log log{window, pool, kept, *followers, queue, *committer, *rounds};
    indexer = std::make_unique<Indexer>(indexing, files_, history_, log);
    for (const std::string& file : recovered.unused) indexer->recycle(file);
    writer->on_seal = [this](const LogWriter::Sealed& sealed) {
      if (!window.seal(sealed.file)) indexer->recycle(sealed.file);
    };
    alive = true;
  }

  ~LogHarness() override { offload_.stop(); }  // a look-up may still be at its end

  void on_records(std::span<const InboxNews>) override {}
  void on_answers(std::span<AppendOutcome> some) override {
    for (auto& outcome : some) outcomes.push_back(std::move(outcome));
    if (on_told) on_told();
  }

  AppendRequest request(SessionKey session, std::string_view from, std::string_view to, std::string_view id, std::string_view body,
                        Durability level = Durability::Fsync) {
    AppendRequest out;
    out.message = Message::create({private_conversation(from, to).view(), from, id, "", body});
    out.session = session;
    out.id = NumberedMsgId::parse(id);
    out.durability = level;
    out.reply.request = asked++;
    return out;
  }
  SessionKey open_session() {
    const SessionKey session = SessionKey::random();
    intake.begin_session(session);
    return session;
  }
  // Takes, commits, and gives the outcomes of these requests in their order.
  std::vector<AppendOutcome> commit(std::vector<AppendRequest> requests) {
    const std::size_t count = requests.size();
    const std::uint64_t first = asked - count;
    outcomes.clear();
    intake.append(requests);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    // First all look-ups, so that the batches are the same however fast they are.
    while (intake.loading() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    while (outcomes.size() < count && std::chrono::steady_clock::now() < end) committer->run_once(std::chrono::milliseconds(1));
    EXPECT_EQ(outcomes.size(), count);
    std::vector<AppendOutcome> out(count);
    for (auto& outcome : outcomes) {
      if (outcome.reply.request >= first) out[outcome.reply.request - first] = outcome;
    }
    return out;
  }
  AppendOutcome send(SessionKey session, std::string_view from, std::string_view to, std::string_view id, std::string_view body = "{}",
                     Durability level = Durability::Fsync) {
    std::vector<AppendRequest> one;
    one.push_back(request(session, from, to, id, body, level));
    return commit(std::move(one)).front();
  }
  // Brings everything sealed into history and lets the window forget it.
  void index() {
    indexer->work();
    for (int i = 0; i < 100 && window.can_evict(); ++i) committer->run_once(std::chrono::milliseconds(0));
    indexer->work();
  }
  RangePage all_of(const ConversationId& conversation) {
    auto page = reader.range({conversation, MessageSeq(1), MessageSeq(UINT64_MAX), 1 << 20, 1 << 30, false});
    EXPECT_TRUE(page.ok());
    return page.ok() ? *std::move(page) : RangePage();
  }

 private:
  // As StoreParts::recover().
  Status begin_meta() {
    TRY_ASSIGN(const auto found, read_meta(files_, "data"));
    meta = found.value_or(Meta::create());
    weak_end_ = !meta.clean && meta.weak_acks;
    TRY_ASSIGN(renewed, weak_acks_may_be_gone(files_, "data", meta));
    return {};
  }
  Status end_meta() {
    renewed = renewed || (weak_end_ && recovered.scan.broken_off);
    if (renewed) meta.epoch = Meta::create().epoch;
    meta.weak_acks = false;
    meta.acked_in.reset();
    return write_meta(files_, "data", meta);
  }
  void give_up(const Error& error) {
    failure = error.to_string();
    failed_with = error.code();
  }

  FaultyFileSystem& files_;
  FakeHistory& history_;
  OffloadPool offload_{OffloadPool::Options{"test", 1, 4096}};
  RowsInMemory own_rows_;
  bool weak_end_ = false;

 public:
  bool alive = false;
  Meta meta;             // with Options::keep_meta
  bool renewed = false;  // its epoch
  std::string failure;
  std::optional<ErrorCode> failed_with;
  ManualClock clock;
  SegmentPool pool;
  Conversations conversations;
  SendingSessions sessions;
  CommitQueue queue;
  Window window;
  Intake intake;
  KeptLog kept;
  std::unique_ptr<Followers> followers;
  Recalls recalls;
  TimelineReader reader;
  Recovered recovered;
  std::unique_ptr<LogWriter> writer;
  std::unique_ptr<Committer> committer;
  std::unique_ptr<RecallRounds> rounds;
  std::unique_ptr<Indexer> indexer;
  std::vector<AppendOutcome> outcomes;
  std::function<void()> on_told;  // while the listener is called
  std::uint64_t asked = 0;
};

}  // namespace dunlin::embedded
