#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "base/log.h"
#include "messaging/model/conversation.h"
#include "runtime/spawn.h"
#include "storage/embedded/embedded_store.h"
#include "storage/embedded/file/testing/faulty_file_system.h"

namespace dunlin::embedded {
namespace {

namespace fs = std::filesystem;
using Call = FaultyFileSystem::Call;

class Answer final : public StoreListener {
 public:
  void on_records(std::span<const InboxNews>) override {}
  void on_answers(std::span<AppendOutcome> outcomes) override {
    std::lock_guard lock(mutex_);
    last_ = outcomes.back();
    came_.notify_all();
  }
  std::optional<AppendOutcome> take() {
    std::unique_lock lock(mutex_);
    came_.wait_for(lock, std::chrono::seconds(30), [&] { return last_.has_value(); });
    return std::exchange(last_, std::nullopt);
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::optional<AppendOutcome> last_;
};

// The whole store: history and state on a real disk; meta, followers and the log on one that fails.
class StoreFaults : public testing::TestWithParam<Call> {
 protected:
  StoreFaults() {
    set_log_level(LogLevel::Off);
    const fs::path memory = "/dev/shm";
    folder_ = (fs::exists(memory) ? memory : fs::temp_directory_path()) / ("dunlin-store-faults-" + std::to_string(::getpid()));
    begin_anew();
  }
  ~StoreFaults() override {
    store_.reset();
    pool_.stop();
    fs::remove_all(folder_);
    set_log_level(LogLevel::Info);
  }

  void begin_anew() {
    store_.reset();
    fs::remove_all(folder_);
    files_ = std::make_unique<FaultyFileSystem>(11);
    acked_.clear();
    recalled_.clear();
    follower_.reset();
    epoch_.reset();
  }
  Status open() {
    EmbeddedOptions options;
    options.path = folder_.string();
    options.offload = &pool_;
    options.segment_bytes = 64 << 10;
    options.reserve_fraction = 0;
    options.heal_every = std::chrono::milliseconds(1);
    options.recall_every = std::chrono::milliseconds(0);
    options.file_system = files_.get();
    auto opened = EmbeddedStore::open(std::move(options));
    if (!opened.ok()) return std::move(opened).error();
    store_ = *std::move(opened);
    store_->set_listener(&answer_);
    session_ = SessionKey::random();
    store_->begin_session(session_);
    return {};
  }
  // Opens while calls fail. If that is refused, it says why, and the next opening is not.
  bool open_with_fault(std::uint64_t skip) {
    const ErrorCode code = skip % 2 != 0 ? ErrorCode::NoSpace : ErrorCode::Io;
    const std::uint64_t before = files_->calls(GetParam());
    files_->fail(GetParam(), skip, code, skip % 3 == 2 ? 4 : 1);
    const Status opened = open();
    const bool reached = files_->calls(GetParam()) - before > skip;
    files_->heal();
    if (opened.ok()) return reached;
    EXPECT_TRUE(reached) << opened.error().to_string();
    EXPECT_EQ(opened.error().code(), code) << opened.error().to_string();
    if (skip % 2 != 0) files_->restart();
    const Status again = open();
    EXPECT_TRUE(again.ok()) << again.error().to_string();
    return reached;
  }
  void end_life(bool killed) {
    if (killed) files_->cut_power_after(0);
    store_.reset();
    if (killed) files_->kill();
  }
  // As a client: what is refused is sent again.
  void send() {
    const std::string id = "m" + std::to_string(acked_.size());
    for (int tries = 0; tries < 2000; ++tries) {
      AppendRequest request;
      request.message = Message::create({private_conversation("ann", "ben").view(), "ann", id, "", std::string(2000, 'x')});
      request.session = session_;
      store_->append({&request, 1});
      const auto outcome = answer_.take();
      ASSERT_TRUE(outcome);
      if (outcome->refused) {
        EXPECT_EQ(wire_code(*outcome->refused), ErrorCode::StoreUnavailable);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        continue;
      }
      EXPECT_FALSE(outcome->duplicate) << "what was refused is not stored";
      EXPECT_EQ(outcome->seq, MessageSeq(acked_.size() + 1));
      acked_[outcome->seq] = id;
      return;
    }
    FAIL() << "it does not heal";
  }
  void recall(MessageSeq seq) {
    ASSERT_TRUE(block_on(store_->recall(private_conversation("ann", "ben"), seq)).ok());
    recalled_.insert(seq);
  }
  Status move_follower() {
    const LogPosition at = store_->feed_end();
    if (!follower_) {
      TRY_ASSIGN(const Follower added, block_on(store_->register_follower("search", at)));
      follower_ = added.position;
    } else {
      TRY(block_on(store_->advance_follower("search", at)));
      follower_ = at;
    }
    return {};
  }
  // Everything confirmed, once, in the same epoch.
  void check() {
    EXPECT_EQ(epoch_.value_or(store_->epoch()), store_->epoch());
    epoch_ = store_->epoch();
    EXPECT_EQ(store_->recovery().corrupt_records, 0U);
    const auto page =
        block_on(store_->range({private_conversation("ann", "ben"), MessageSeq(1), MessageSeq(UINT64_MAX), 1000, 8 << 20, false}));
    if (acked_.empty()) return;
    ASSERT_TRUE(page.ok()) << page.error().to_string();
    EXPECT_EQ(page->head.last_seq, MessageSeq(acked_.size()));
    EXPECT_EQ(page->messages.size() + recalled_.size(), acked_.size());
    for (const MessagePtr& message : page->messages) {
      EXPECT_EQ(message->client_msg_id(), acked_[message->seq()]);
      EXPECT_FALSE(recalled_.contains(message->seq()));
    }
    for (const SeqGap& gap : page->gaps) EXPECT_EQ(gap.reason, GapReason::NotVisible);
    const auto followers = store_->followers();
    ASSERT_EQ(followers.size(), follower_ ? 1U : 0U);
    if (!follower_) return;
    EXPECT_GE(followers.front().position, *follower_);  // a move that was refused may have been made
    EXPECT_FALSE(followers.front().reset);
  }

  OffloadPool pool_{OffloadPool::Options{"test", 2, 4096}};
  fs::path folder_;
  Answer answer_;
  std::unique_ptr<FaultyFileSystem> files_;
  std::unique_ptr<EmbeddedStore> store_;
  SessionKey session_;
  std::map<MessageSeq, std::string> acked_;
  std::set<MessageSeq> recalled_;
  std::optional<LogPosition> follower_;
  std::optional<Epoch> epoch_;
};

TEST_P(StoreFaults, AFailedCallRefusesTheStartOrCostsNothing) {
  ASSERT_TRUE(open().ok());
  for (int i = 0; i < 40; ++i) send();
  ASSERT_TRUE(move_follower().ok());
  recall(MessageSeq(3));
  ASSERT_TRUE(store_->flush_to_history(std::chrono::seconds(30)).ok());
  for (int i = 0; i < 40; ++i) send();
  bool reached = true;
  for (std::uint64_t skip = 0; reached && skip < 12; ++skip) {
    reached = false;
    for (const bool killed : {false, true}) {
      SCOPED_TRACE("skip " + std::to_string(skip) + (killed ? " after a kill" : ""));
      end_life(killed);
      reached = open_with_fault(skip) || reached;
      if (HasFailure()) return;
      check();
      for (int i = 0; i < 3; ++i) send();
      if (skip % 3 == 0) recall(MessageSeq(acked_.size() - 5));
      EXPECT_TRUE(skip % 3 != 1 || move_follower().ok());
      check();
      if (HasFailure()) return;
    }
    EXPECT_TRUE(reached || skip > 0) << "a start makes no such call";
  }
}

TEST_P(StoreFaults, AFailedCallOfARunningStoreIsMadeUpFor) {
  ASSERT_TRUE(open().ok());
  for (int i = 0; i < 20; ++i) send();
  ASSERT_TRUE(move_follower().ok());
  for (std::uint64_t skip = 0; skip < 8; ++skip) {
    SCOPED_TRACE("skip " + std::to_string(skip));
    files_->fail(GetParam(), skip, skip % 2 != 0 ? ErrorCode::NoSpace : ErrorCode::Io, 3);
    for (int i = 0; i < 8; ++i) send();
    ignore(move_follower());
    recall(MessageSeq(acked_.size() - 5));
    ignore(store_->flush_to_history(std::chrono::seconds(30)));
    for (int i = 0; i < 4; ++i) send();
    check();
    files_->heal();
    end_life(skip % 2 != 0);
    if (skip % 4 == 3) files_->restart();
    ASSERT_TRUE(open().ok());
    check();
    ASSERT_TRUE(move_follower().ok());
    if (HasFailure()) return;
  }
}

TEST_P(StoreFaults, ANewStoreIsMadeOrMadeTheNextTime) {
  bool reached = true;
  for (std::uint64_t skip = 0; reached && skip < 8; ++skip) {
    SCOPED_TRACE("skip " + std::to_string(skip));
    begin_anew();
    reached = open_with_fault(skip);
    if (HasFailure()) return;
    check();
    send();
    ASSERT_TRUE(move_follower().ok());
    end_life(true);
    ASSERT_TRUE(open().ok());
    check();
    send();
    check();
  }
}

INSTANTIATE_TEST_SUITE_P(EachCall, StoreFaults,
                         testing::Values(Call::Open, Call::Read, Call::Write, Call::Sync, Call::Truncate, Call::Rename, Call::MakeFolder,
                                         Call::SyncFolder, Call::List));

}  // namespace
}  // namespace dunlin::embedded
