#include "storage/embedded/embedded_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <thread>

#include "base/log.h"
#include "messaging/model/conversation.h"
#include "runtime/spawn.h"
#include "storage/embedded/file/testing/faulty_file_system.h"
#include "storage/embedded/log/testing/fake_history.h"
#include "storage/embedded/meta_file.h"
#include "storage/embedded/testing/answers.h"
#include "storage/embedded/tools.h"

namespace dunlin::embedded {
namespace {

namespace fs = std::filesystem;

// The system's clocks, of which the wall clock is set as by an operator, and both are moved on by hand. Any thread.
class JumpingClock final : public Clock {
 public:
  MonotonicTime monotonic() const override { return SystemClock().monotonic() + Milliseconds(passed_ms_.load()); }
  WallTime wall() const override { return SystemClock().wall() + Milliseconds(passed_ms_.load()) + Milliseconds(wrong_ms_.load()); }
  void advance(Milliseconds by) { passed_ms_ += by.count(); }
  void be_wrong_by(Milliseconds by) { wrong_ms_ = by.count(); }

 private:
  std::atomic<std::int64_t> passed_ms_{0};
  std::atomic<std::int64_t> wrong_ms_{0};
};

class EmbeddedStoreTest : public testing::Test {
 protected:
  EmbeddedStoreTest() : folder_(testing::TempDir() + "/embedded-store-" + std::to_string(::getpid())) { fs::remove_all(folder_); }
  ~EmbeddedStoreTest() override {
    store_.reset();
    pool_.stop();
    fs::remove_all(folder_);
  }
  EmbeddedOptions options(const std::string& name) {
    EmbeddedOptions options;
    fs::create_directories(folder_);
    options.path = folder_ + "/" + name;
    options.offload = &pool_;
    options.segment_bytes = 1 << 20;
    options.reserve_fraction = 0;
    return options;
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
  AppendOutcome send(std::string_view to, std::string_view id, Durability level = Durability::Fsync) {
    AppendRequest request;
    request.message = Message::create({private_conversation("ann", to).view(), "ann", id, "", R"({"text":"secret-body"})"});
    request.session = session_;
    request.id = NumberedMsgId::parse(id);
    request.durability = level;
    store_->append({&request, 1});
    AppendOutcome outcome = answers_->wait(asked_++);
    // The answer comes before its record is settled.
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!outcome.refused && !outcome.duplicate && store_->feed_end() < outcome.message->place().position) {
      CHECK(std::chrono::steady_clock::now() < deadline);
      std::this_thread::yield();
    }
    return outcome;
  }
  std::size_t stored(std::string_view to) {
    auto page = block_on(store_->range({private_conversation("ann", to), MessageSeq(1), MessageSeq(UINT64_MAX), 1000, 1 << 20, false}));
    EXPECT_TRUE(page.ok());
    return page.ok() ? page->messages.size() : 0;
  }
  // The folder as a kill would leave it: a copy while the store is open.
  void copy_as_killed(const std::string& from, const std::string& to) {
    fs::copy(folder_ + "/" + from, folder_ + "/" + to, fs::copy_options::recursive);
  }

  OffloadPool pool_{OffloadPool::Options{"test", 2, 4096}};
  const std::string folder_;
  std::unique_ptr<Answers> answers_;
  std::unique_ptr<EmbeddedStore> store_;
  SessionKey session_;
  std::size_t asked_ = 0;
};

TEST_F(EmbeddedStoreTest, KeepsEverythingAcrossACleanRestart) {
  open(options("data"));
  const Epoch epoch = store_->epoch();
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(send("ben", "m" + std::to_string(i)).refused);
  ASSERT_TRUE(store_->flush_to_history(std::chrono::seconds(30)).ok());
  for (int i = 20; i < 30; ++i) EXPECT_FALSE(send("ben", "m" + std::to_string(i)).refused);
  open(options("data"));
  EXPECT_EQ(store_->epoch(), epoch);
  EXPECT_EQ(store_->recovery().records, 10U);
  EXPECT_EQ(store_->feed_end(), LogPosition(30));
  EXPECT_EQ(stored("ben"), 30U);
  EXPECT_TRUE(send("ben", "m3").duplicate);
  EXPECT_TRUE(send("ben", "m27").duplicate);
  EXPECT_EQ(send("ben", "next").seq, MessageSeq(31));
}

// Cursors that were noted, and not saved, when the process was killed.
class EmbeddedCursorTest : public EmbeddedStoreTest {
 protected:
  DeviceStates::CursorWrite cursor(std::string_view device, std::uint64_t position) const {
    DeviceStates::CursorWrite out{UserId("ben"), DeviceId(device), {}};
    out.cursor.epoch = store_->epoch();
    out.cursor.position = InboxPosition(position);
    out.cursor.exceptions.emplace(private_conversation("ann", "ben"), MessageSeq(position));
    return out;
  }
  void note(std::string_view device, std::uint64_t position) {
    const DeviceStates::CursorWrite one = cursor(device, position);
    store_->state().note_cursors({&one, 1});
  }
  void save(std::string_view device, std::uint64_t position) {
    std::vector<DeviceStates::CursorWrite> one{cursor(device, position)};
    ASSERT_TRUE(block_on(store_->state().save_cursors(std::move(one))).ok());
  }
  void forget(std::string_view device) { ASSERT_TRUE(block_on(store_->state().forget_device(UserId("ben"), DeviceId(device))).ok()); }
  // Each device's position.
  std::map<std::string, std::uint64_t> devices() {
    auto rows = block_on(store_->state().devices(UserId("ben")));
    std::map<std::string, std::uint64_t> out;
    if (!rows.ok()) ADD_FAILURE() << rows.error().to_string();
    if (rows.ok()) {
      for (const DeviceRow& row : *rows) out[row.device.str()] = row.cursor.position.value();
    }
    return out;
  }
  void send_some(int count) {
    for (int i = 0; i < count; ++i) ASSERT_FALSE(send("ben", "m" + std::to_string(next_++)).refused);
  }
  using Positions = std::map<std::string, std::uint64_t>;

 private:
  int next_ = 0;
};

TEST_F(EmbeddedCursorTest, TheNewestOfLogAndStateCountsAfterAKill) {
  open(options("data"));
  for (const char* device : {"rode-on", "saved-on", "quiet", "gone", "back"}) save(device, 1);
  send_some(5);
  for (const char* device : {"rode-on", "saved-on", "gone", "back", "stranger"}) note(device, 4);
  send_some(1);
  note("rode-on", 5);
  send_some(1);
  save("saved-on", 6);
  save("back", 2);  // by a token that is older
  forget("gone");
  copy_as_killed("data", "killed");
  EXPECT_EQ(devices().at("rode-on"), 1U) << "the row itself is old";
  open(options("killed"));
  EXPECT_EQ(devices(), (Positions{{"rode-on", 5}, {"saved-on", 6}, {"quiet", 1}, {"back", 2}}));
  auto rows = block_on(store_->state().devices(UserId("ben")));
  for (const DeviceRow& row : *rows) EXPECT_EQ(row.cursor.exceptions.begin()->second, MessageSeq(row.cursor.position.value()));
  // Once more, with nothing new: rows and log say the same.
  copy_as_killed("killed", "killed-again");
  open(options("killed-again"));
  EXPECT_EQ(devices(), (Positions{{"rode-on", 5}, {"saved-on", 6}, {"quiet", 1}, {"back", 2}}));
}

TEST_F(EmbeddedCursorTest, ADeviceThatWasForgottenAndCameAgainHasNothingOfItsEarlierLife) {
  open(options("data"));
  save("phone", 1);
  send_some(5);
  note("phone", 5);
  send_some(1);
  forget("phone");
  save("phone", 0);
  copy_as_killed("data", "killed");
  open(options("killed"));
  EXPECT_EQ(devices(), (Positions{{"phone", 0}}));
}

TEST_F(EmbeddedCursorTest, ADeviceWhoseRowSaysThatItIsForgottenIsNotBroughtBack) {
  open(options("data"));
  save("phone", 1);
  send_some(5);
  std::vector<DeviceStates::CursorWrite> gone{{UserId("ben"), DeviceId("phone"), DeviceCursor::of_forgotten(from_ms(5))}};
  ASSERT_TRUE(block_on(store_->state().save_cursors(std::move(gone))).ok());
  note("phone", 5);  // of a session that does not know yet
  send_some(1);
  copy_as_killed("data", "killed");
  ASSERT_TRUE(store_->flush_to_history(std::chrono::seconds(30)).ok());
  EXPECT_TRUE(block_on(store_->state().devices(UserId("ben")))->front().cursor.forgotten);
  open(options("killed"));
  EXPECT_TRUE(block_on(store_->state().devices(UserId("ben")))->front().cursor.forgotten);
}

TEST_F(EmbeddedCursorTest, AnIdleServerWritesNoneAndALoadedOneABoundedPart) {
  open(options("data"));
  for (int i = 0; i < 500; ++i) save("d" + std::to_string(i), 0);
  for (int i = 0; i < 500; ++i) note("d" + std::to_string(i), 1);
  EXPECT_EQ(store_->log_stats().batches, 0U);
  send_some(1);
  const std::uint64_t first = store_->log_stats().cursor_bytes;
  EXPECT_GT(first, 0U);
  EXPECT_LE(first, 4U << 10) << "a small batch carries so much at most";
  for (int i = 0; i < 500; ++i) save("d" + std::to_string(i), 1);
  send_some(1);
  EXPECT_EQ(store_->log_stats().cursor_bytes, first) << "what was saved meanwhile does not ride";
  for (int round = 0; round < 50; ++round) note("d1", 1);
  send_some(5);
  EXPECT_LT(store_->log_stats().cursor_bytes - first, 200U) << "the newest alone, once";
}

TEST_F(EmbeddedCursorTest, ASegmentThatEntersHistoryLeavesItsCursorsInTheState) {
  open(options("data"));
  save("phone", 1);
  send_some(5);
  note("phone", 5);
  send_some(1);
  ASSERT_TRUE(store_->flush_to_history(std::chrono::seconds(30)).ok());
  EXPECT_EQ(devices().at("phone"), 5U);
  copy_as_killed("data", "killed");
  open(options("killed"));
  EXPECT_EQ(store_->recovery().records, 0U) << "no start reads that segment again";
  EXPECT_EQ(devices().at("phone"), 5U);
}

TEST_F(EmbeddedCursorTest, InANewEpochNoneIsTakenFromTheLog) {
  open(options("data"));
  save("phone", 1);
  send_some(5);
  note("phone", 5);
  send_some(1);
  const auto quiet = [](const EmbeddedStore::BackupProgress&) { return true; };
  ASSERT_TRUE(store_->backup_to(folder_ + "/backup", quiet).ok());
  store_.reset();
  ASSERT_TRUE(restore(folder_ + "/backup", folder_ + "/restored").ok());
  open(options("restored"));
  EXPECT_EQ(store_->recovery().records, 6U);
  EXPECT_EQ(devices().at("phone"), 1U);
}

TEST_F(EmbeddedCursorTest, FollowersAndVerifySeeRecordsAlone) {
  open(options("data"));
  save("phone", 1);
  ASSERT_TRUE(block_on(store_->register_follower("search", LogPosition(0))).ok());
  for (std::uint64_t i = 1; i <= 20; ++i) {
    note("phone", i);
    send_some(1);
  }
  ASSERT_TRUE(store_->flush_to_history(std::chrono::seconds(30)).ok());
  note("phone", 20);
  send_some(1);
  std::uint64_t at = 0;
  while (at < 21) {
    const auto page = block_on(store_->feed(LogPosition(at), 7));
    ASSERT_TRUE(page.ok());
    ASSERT_FALSE(page->messages.empty());
    for (const MessagePtr& message : page->messages) EXPECT_EQ(message->place().position, LogPosition(++at));
  }
  EXPECT_GT(store_->log_stats().cursor_bytes, 0U);
  store_.reset();
  const auto verified = verify_data(folder_ + "/data", {});
  ASSERT_TRUE(verified.ok()) << verified.error().to_string();
  EXPECT_EQ(verified->records, 21U);
  EXPECT_TRUE(verified->corrupt.empty());
  EXPECT_EQ(verified->cut_bytes, 0U);
}

// A cursor that cannot be read any more costs a repeat, and is no damage of messages.
TEST_F(EmbeddedCursorTest, AFlippedBitInCursorsCostsThemAlone) {
  open(options("data"));
  save("phone", 1);
  send_some(5);
  note("phone", 5);
  send_some(1);
  send_some(3);
  copy_as_killed("data", "killed");
  for (const auto& file : fs::directory_iterator(folder_ + "/killed/log")) {
    std::ifstream in(file.path(), std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(in)), {});
    const auto at = bytes.find(
        "\x03"
        "ben\x05phone");
    if (at == std::string::npos) continue;
    bytes[at + 2] ^= 1;
    std::ofstream(file.path(), std::ios::binary) << bytes;
  }
  const auto verified = verify_data(folder_ + "/killed", {});
  ASSERT_TRUE(verified.ok());
  EXPECT_TRUE(verified->corrupt.empty());
  EXPECT_EQ(verified->records, 9U);
  open(options("killed"));
  EXPECT_EQ(stored("ben"), 9U);
  EXPECT_EQ(store_->recovery().corrupt_records, 0U);
  EXPECT_EQ(devices().at("phone"), 1U);
}

// For ThreadSanitizer: metrics and the indexer ask for sizes at any time.
TEST_F(EmbeddedStoreTest, TellsItsSizesWhileItsTablesGrow) {
  open(options("data"));
  std::atomic<bool> done{false};
  std::thread reader([&] {
    while (!done) EXPECT_LT(store_->log_stats().log_bytes, std::uint64_t{1} << 32);
  });
  for (int i = 0; i < 2000; ++i) EXPECT_FALSE(send("ben", "m" + std::to_string(i), Durability::Os).refused);
  done = true;
  reader.join();
}

TEST_F(EmbeddedStoreTest, AFolderInUseIsRefusedByNamingItsProcess) {
  open(options("data"));
  const auto second = EmbeddedStore::open(options("data"));
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), ErrorCode::Busy);
  EXPECT_NE(second.error().context().find(std::to_string(::getpid())), std::string::npos);
}

TEST_F(EmbeddedStoreTest, AnUncleanEndRenewsTheEpochOnlyAfterWeakAcks) {
  open(options("data"));
  const Epoch epoch = store_->epoch();
  send("ben", "strong");
  copy_as_killed("data", "killed-strong");
  EXPECT_EQ(send("ben", "weak", Durability::Os).durability, Durability::Os);
  copy_as_killed("data", "killed-weak");
  open(options("killed-strong"));
  EXPECT_EQ(store_->epoch(), epoch);
  EXPECT_FALSE(store_->recovery().epoch_renewed);
  EXPECT_EQ(stored("ben"), 1U);
  open(options("killed-weak"));
  EXPECT_NE(store_->epoch(), epoch);
  EXPECT_EQ(stored("ben"), 2U) << "kill -9 keeps what the kernel has";
}

TEST_F(EmbeddedStoreTest, AnAckFromMemoryRenewsTheEpochAtAnUncleanEndAlone) {
  open(options("data"));
  const Epoch epoch = store_->epoch();
  EXPECT_EQ(send("ben", "weak", Durability::Memory).durability, Durability::Memory);
  copy_as_killed("data", "killed");
  open(options("data"));
  EXPECT_EQ(store_->epoch(), epoch) << "a clean stop has written it";
  EXPECT_EQ(stored("ben"), 1U);
  open(options("killed"));
  EXPECT_NE(store_->epoch(), epoch);
}

// The log and the meta file on the double, which tells a kill from a power cut; history and state on the machine's.
class WeakAcksTest : public EmbeddedStoreTest {
 protected:
  WeakAcksTest() { start(); }
  ~WeakAcksTest() override { store_.reset(); }
  void start() {
    EmbeddedOptions all = options("data");
    all.file_system = &files_;
    open(std::move(all));
  }
  void refused() {
    EmbeddedOptions all = options("data");
    all.file_system = &files_;
    EXPECT_FALSE(EmbeddedStore::open(std::move(all)).ok());
    files_.heal();
  }
  // The process dies with all that it has written, or the machine with all that was not synced.
  void end(bool power_cut) {
    files_.cut_power_after(0);
    store_.reset();
    if (power_cut) {
      files_.restart();
    } else {
      files_.kill();
    }
  }
  FaultyFileSystem files_{1};
};

TEST_F(WeakAcksTest, AKillAfterAcksAtLevelOsKeepsTheEpochAndAPowerCutDoesNot) {
  const Epoch epoch = store_->epoch();
  for (int life = 1; life <= 3; ++life) {
    EXPECT_EQ(send("ben", "os-" + std::to_string(life), Durability::Os).durability, Durability::Os);
    end(false);
    start();
    EXPECT_EQ(store_->epoch(), epoch);
    EXPECT_EQ(stored("ben"), static_cast<std::size_t>(life));
  }
  send("ben", "os-4", Durability::Os);
  end(true);
  start();
  EXPECT_NE(store_->epoch(), epoch);
  EXPECT_GE(stored("ben"), 3U) << "the starts between have made them durable";
}

TEST_F(WeakAcksTest, AnAckFromMemoryAfterOneAtLevelOsLeavesNoProof) {
  const Epoch epoch = store_->epoch();
  send("ben", "os", Durability::Os);
  send("ben", "memory", Durability::Memory);
  send("ben", "os-again", Durability::Os);
  end(false);
  start();
  EXPECT_NE(store_->epoch(), epoch);
}

TEST_F(WeakAcksTest, AFailedSyncAtTheStartMayHaveToldOfALoss) {
  const Epoch epoch = store_->epoch();
  send("ben", "os", Durability::Os);
  end(false);
  files_.fail(FaultyFileSystem::Call::Sync, 1, ErrorCode::Io);  // behind that of the meta file
  start();
  EXPECT_NE(store_->epoch(), epoch);
  EXPECT_EQ(stored("ben"), 1U);
}

TEST_F(WeakAcksTest, AStartThatHasFailedHalfWayLeavesNoProof) {
  const Epoch epoch = store_->epoch();
  send("ben", "os", Durability::Os);
  end(false);
  files_.fail(FaultyFileSystem::Call::Sync, 0, ErrorCode::Io);  // before anything was asked
  refused();
  files_.fail(FaultyFileSystem::Call::Write, 1, ErrorCode::Io);  // what is written again
  refused();
  start();
  EXPECT_NE(store_->epoch(), epoch);
  EXPECT_EQ(stored("ben"), 1U);
}

TEST_F(WeakAcksTest, TheMachinesOwnFoldersAreToldFromTheirCopies) {
  FileSystem& files = posix_file_system();
  const std::string folder = folder_ + "/one";
  fs::create_directories(folder);
  const auto life = files.cache_life(folder);
  ASSERT_TRUE(life);
  fs::rename(folder, folder_ + "/moved");
  EXPECT_EQ(files.cache_life(folder_ + "/moved"), life);
  fs::copy(folder_ + "/moved", folder, fs::copy_options::recursive);
  EXPECT_NE(files.cache_life(folder), life);
  EXPECT_FALSE(files.cache_life(folder_ + "/missing"));
  EXPECT_NE(life->boot[0], 0U);
}

TEST_F(EmbeddedStoreTest, TheNewestFileGoneAfterACleanStopIsNoticed) {
  open(options("data"));
  const Epoch epoch = store_->epoch();
  for (int i = 0; i < 20; ++i) send("ben", "m" + std::to_string(i));
  ASSERT_TRUE(store_->flush_to_history(std::chrono::seconds(30)).ok());
  store_->close();
  copy_as_killed("data", "all-in-history");
  open(options("data"));
  for (int i = 20; i < 30; ++i) send("ben", "m" + std::to_string(i));
  store_.reset();
  for (const std::string name : {"all-in-history", "data"}) {
    for (const auto& file : fs::directory_iterator(folder_ + "/" + name + "/log")) fs::remove(file);
  }
  const auto report = verify_data(folder_ + "/data");
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->corrupt.size(), 1U);
  EXPECT_EQ(report->corrupt[0].to_seq, 10U);

  open(options("all-in-history"));
  EXPECT_EQ(store_->epoch(), epoch) << "nothing is missing";
  EXPECT_EQ(store_->recovery().corrupt_records, 0U);
  open(options("data"));
  EXPECT_EQ(store_->recovery().corrupt_records, 10U);
  EXPECT_NE(store_->epoch(), epoch) << "seqs are given again";
  EXPECT_EQ(stored("ben"), 20U);
  EXPECT_EQ(send("ben", "next").seq, MessageSeq(21));
  const Epoch renewed = store_->epoch();
  open(options("data"));
  EXPECT_EQ(store_->epoch(), renewed) << "once";
}

TEST_F(EmbeddedStoreTest, ALogThatEndsBeforeWhatDevicesHaveHadRenewsTheEpoch) {
  for (const std::string witness : {"nobody", "device", "follower"}) {
    open(options(witness));
    for (int i = 0; i < 10; ++i) send("ben", "m" + std::to_string(i));
    const std::string folder = folder_ + "/" + witness;
    fs::copy(folder + "/log", folder + "-log", fs::copy_options::recursive);
    const Epoch epoch = store_->epoch();
    for (int i = 10; i < 20; ++i) send("ben", "m" + std::to_string(i));
    const auto save = [&](Epoch of, std::uint64_t position) {
      EXPECT_TRUE(block_on(store_->state().save_cursors({{UserId("ben"), DeviceId("phone"), {of, InboxPosition(position), {}, {}}}})).ok());
    };
    save(Epoch{7}, 1000);
    save(Epoch{}, 1000);
    if (witness == "device") save(epoch, 20);
    save(epoch, 10);
    const ReadKey key{UserId("ben"), private_conversation("ann", "ben")};
    const auto read_seq = [&] { return block_on(store_->state().read_positions({key})).value().at(0); };
    EXPECT_TRUE(block_on(store_->state().raise_read({key.user, key.conversation, MessageSeq(17), {}})).ok());
    if (witness == "follower") {
      EXPECT_TRUE(block_on(store_->register_follower("search", LogPosition(20))).ok());
    }
    copy_as_killed(witness, witness + "-killed");
    store_.reset();
    fs::remove_all(folder);
    fs::rename(folder + "-killed", folder);
    fs::remove_all(folder + "/log");
    fs::rename(folder + "-log", folder + "/log");
    open(options(witness));
    EXPECT_EQ(stored("ben"), 10U);
    EXPECT_EQ(store_->recovery().epoch_renewed, witness != "nobody") << witness;
    EXPECT_EQ(store_->epoch() == epoch, witness == "nobody") << witness;
    if (witness != "nobody") {
      EXPECT_EQ(read_seq(), MessageSeq(10)) << "what comes now is unread";
    }
    const Epoch renewed = store_->epoch();
    open(options(witness));
    EXPECT_EQ(store_->epoch(), renewed) << "once";
  }
}

// A listener that has told its users nothing yet, whatever earlier runs have told them.
class FreshListener final : public StoreListener {
 public:
  void on_answers(std::span<AppendOutcome>) override {}
  void on_records(std::span<const InboxNews>) override {}
  std::optional<InboxPosition> told(std::string_view) const override { return InboxPosition(0); }
};

TEST_F(EmbeddedStoreTest, WhatEarlierRunsHaveToldIsNotQuiet) {
  open(options("data"));
  for (int i = 0; i < 3; ++i) send("ben", "m" + std::to_string(i));
  for (const bool in_history : {false, true}) {
    if (in_history) {
      ASSERT_TRUE(store_->flush_to_history(std::chrono::seconds(30)).ok());
    }
    open(options("data"));
    FreshListener fresh;
    store_->set_listener(&fresh);
    EXPECT_EQ(store_->quiet_through("ben", InboxPosition(0)), std::nullopt) << in_history;
    EXPECT_EQ(store_->quiet_through("ben", InboxPosition(2)), std::nullopt) << in_history;
    EXPECT_EQ(store_->quiet_through("ben", InboxPosition(3)), InboxPosition(3)) << in_history;
    store_->set_listener(answers_.get());
  }
}

TEST_F(EmbeddedStoreTest, AnEpochThatWasEndedWhileItRanStaysSo) {
  open(options("data"));
  send("ben", "m1", Durability::Os);
  ASSERT_TRUE(block_on(store_->register_follower("search", LogPosition(0))).ok());
  const Epoch first = store_->epoch();
  const std::uint64_t run = store_->run();
  EXPECT_TRUE(*block_on(store_->renew_epoch(first)));
  const Epoch second = store_->epoch();
  EXPECT_NE(second, first);
  copy_as_killed("data", "killed");
  ASSERT_TRUE(store_->backup_to(folder_ + "/backup", [](const auto&) { return true; }).ok());
  EXPECT_EQ(read_meta(posix_file_system(), folder_ + "/backup").value()->epoch, second);
  EXPECT_TRUE(read_meta(posix_file_system(), folder_ + "/killed").value()->weak_acks) << "nothing else of the file is lost";
  open(options("data"));
  EXPECT_EQ(store_->epoch(), second);
  EXPECT_TRUE(store_->followers().at(0).reset);
  EXPECT_NE(store_->run(), run);
  for (const std::uint64_t position : {1, 2}) {
    EXPECT_EQ(*block_on(store_->never_named(UserId("ben"), InboxPosition(position), run)), position == 2) << "it began at 1";
  }
}

TEST_F(EmbeddedStoreTest, AnEpochThatCannotBeWrittenGoesOn) {
  FaultyFileSystem files(1);
  EmbeddedOptions with = options("data");
  with.file_system = &files;
  open(std::move(with));
  const Epoch first = store_->epoch();
  files.fail(FaultyFileSystem::Call::Write, 0, ErrorCode::Io, UINT64_MAX);
  EXPECT_FALSE(block_on(store_->renew_epoch(first)).ok());
  EXPECT_EQ(store_->epoch(), first);
  files.heal();
  EXPECT_TRUE(*block_on(store_->renew_epoch(first)));
  EXPECT_NE(store_->epoch(), first);
  store_.reset();
}

TEST_F(EmbeddedStoreTest, AMissingMetaFileIsNotTakenForANewFolder) {
  open(options("data"));
  send("ben", "m1");
  store_.reset();
  fs::remove(folder_ + "/data/meta");
  const auto opened = EmbeddedStore::open(options("data"));
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.error().context().find("restore"), std::string::npos);
}

TEST_F(EmbeddedStoreTest, AFeatureThatThisVersionDoesNotKnowIsNamed) {
  open(options("data"));
  send("ben", "m1");
  store_.reset();
  const std::string folder = folder_ + "/data";
  const Meta known = read_meta(posix_file_system(), folder).value().value();
  const auto refusal = [&](auto set) {
    Meta meta = known;
    set(meta);
    EXPECT_TRUE(write_meta(posix_file_system(), folder, meta).ok());
    const auto opened = EmbeddedStore::open(options("data"));
    return opened.ok() ? std::string() : opened.error().context();
  };
  EXPECT_NE(refusal([](Meta& meta) { meta.incompatible = 1U << 5; }).find("incompatible feature bit 5,"), std::string::npos);
  EXPECT_NE(refusal([](Meta& meta) { meta.read_only_compatible = 1ULL << 63; }).find("read-only compatible feature bit 63"),
            std::string::npos);
  const std::string two = refusal([](Meta& meta) { meta.incompatible = 5; });
  EXPECT_NE(two.find("bit 0"), std::string::npos);
  EXPECT_NE(two.find("bit 2"), std::string::npos);
  EXPECT_EQ(refusal([](Meta& meta) { meta.compatible = UINT64_MAX; }), "") << "whoever does not know it may ignore it";
  EXPECT_EQ(read_meta(posix_file_system(), folder).value()->compatible, UINT64_MAX) << "and has to leave it where it is";
  open(options("data"));
  EXPECT_EQ(stored("ben"), 1U);
}

TEST_F(EmbeddedStoreTest, BackupOfARunningStoreIsRestoredUnderANewEpoch) {
  open(options("data"));
  for (int i = 0; i < 10; ++i) send("ben", "m" + std::to_string(i));
  ASSERT_TRUE(store_->flush_to_history(std::chrono::seconds(30)).ok());
  for (int i = 10; i < 15; ++i) send("ben", "m" + std::to_string(i));
  const Epoch epoch = store_->epoch();
  std::uint64_t told = 0;
  const auto backed = store_->backup_to(folder_ + "/backup", [&](const auto& progress) {
    told = progress.done_bytes;
    return true;
  });
  ASSERT_TRUE(backed.ok()) << backed.error().to_string();
  EXPECT_GT(told, 0U);
  EXPECT_FALSE(store_->backup_to(folder_ + "/backup", nullptr).ok()) << "never over existing data";
  send("ben", "after-the-backup");
  store_.reset();
  const auto restored = restore(folder_ + "/backup", folder_ + "/restored");
  ASSERT_TRUE(restored.ok()) << restored.error().to_string();
  EXPECT_FALSE(restore(folder_ + "/backup", folder_ + "/data").ok()) << "never over existing data";
  open(options("restored"));
  EXPECT_NE(store_->epoch(), epoch);
  EXPECT_EQ(stored("ben"), 15U);
  EXPECT_EQ(send("ben", "next").seq, MessageSeq(16));
}

TEST_F(EmbeddedStoreTest, BackupThatIsGivenUpIsNoBackup) {
  open(options("data"));
  send("ben", "m");
  EXPECT_FALSE(store_->backup_to(folder_ + "/half", [](const auto&) { return false; }).ok());
  EXPECT_FALSE(restore(folder_ + "/half", folder_ + "/restored").ok());
  EXPECT_TRUE(store_->backup_to(folder_ + "/whole", nullptr).ok());
}

TEST_F(EmbeddedStoreTest, VerifyCountsRecordsAndNamesDamage) {
  open(options("data"));
  for (int i = 0; i < 6; ++i) send("ben", "m" + std::to_string(i));
  ASSERT_TRUE(store_->flush_to_history(std::chrono::seconds(30)).ok());
  for (int i = 0; i < 4; ++i) send("cid", "c" + std::to_string(i));
  store_.reset();
  auto report = verify_data(folder_ + "/data");
  ASSERT_TRUE(report.ok()) << report.error().to_string();
  EXPECT_EQ(to_json(*report), R"({"records":10,"corrupt":[],"cut_bytes":0,"problems":[]})");
  // The second of cid's bodies in the log.
  for (const auto& entry : fs::directory_iterator(folder_ + "/data/log")) {
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(file)), {});
    const auto at = bytes.find("annc1");
    if (at == std::string::npos) continue;
    file.clear();
    file.seekp(static_cast<std::streamoff>(at + 10));
    file.put('#');
  }
  report = verify_data(folder_ + "/data");
  ASSERT_TRUE(report.ok()) << report.error().to_string();
  EXPECT_EQ(to_json(*report),
            R"({"records":9,"corrupt":[{"conversation":"p3:ann:cid","from_seq":2,"to_seq":2}],"cut_bytes":0,"problems":[]})");
}

TEST_F(EmbeddedStoreTest, VerifySaysSoOfADamagedTableOfFollowersAndChangesNothing) {
  open(options("data"));
  ASSERT_TRUE(block_on(store_->register_follower("search", LogPosition(0))).ok());
  store_.reset();
  const std::string file = folder_ + "/data/followers";
  std::fstream(file, std::ios::in | std::ios::out | std::ios::binary).put('#');
  const auto report = verify_data(folder_ + "/data");
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->problems.size(), 1U);
  EXPECT_EQ(report->problems[0].file, "followers");
  EXPECT_TRUE(fs::exists(file));
}

// Each file flipped at its beginning, middle or end, cut in half, or missing.
TEST_F(EmbeddedStoreTest, WhateverAStartRefusesVerificationHasSaid) {
  set_log_level(LogLevel::Off);
  const auto small = [&](const std::string& name) {
    EmbeddedOptions all = options(name);
    all.segment_bytes = 128 << 10;
    return all;
  };
  open(small("clean"));
  ASSERT_TRUE(block_on(store_->register_follower("search", LogPosition(0))).ok());
  for (int i = 0; i < 30; ++i) send(i % 2 == 0 ? "ben" : "cid", "m" + std::to_string(i));
  ASSERT_TRUE(store_->flush_to_history(std::chrono::seconds(30)).ok());
  ASSERT_TRUE(
      block_on(store_->state().save_cursors({{UserId("ann"), DeviceId("d"), {store_->epoch(), InboxPosition(3), {}, from_ms(5)}}})).ok());
  ASSERT_TRUE(block_on(store_->recall(private_conversation("ann", "ben"), MessageSeq(2))).ok());
  for (int i = 30; i < 40; ++i) send("ben", "m" + std::to_string(i));
  copy_as_killed("clean", "killed");
  store_.reset();
  const std::string trial = folder_ + "/trial";
  int trials = 0;
  int refused = 0;
  for (const std::string base : {"clean", "killed"}) {
    const auto whole = verify_data(folder_ + "/" + base);
    ASSERT_TRUE(whole.ok()) << whole.error().to_string();
    EXPECT_TRUE(whole->healthy()) << base << " " << to_json(*whole);
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ + "/" + base)) {
      if (entry.is_regular_file()) files.push_back(fs::relative(entry.path(), folder_ + "/" + base));
    }
    for (const fs::path& file : files) {
      const std::vector<std::string> ways =
          base == "clean" ? std::vector<std::string>{"first", "last", "half", "gone"} : std::vector<std::string>{"middle"};
      for (const std::string& how : ways) {
        fs::remove_all(trial);
        copy_as_killed(base, "trial");
        const fs::path victim = fs::path(trial) / file;
        const std::uint64_t size = fs::file_size(victim);
        if (how == "gone") {
          fs::remove(victim);
        } else if (how == "half") {
          fs::resize_file(victim, size / 2);
        } else if (size != 0) {
          const std::uint64_t at = how == "first" ? 0 : how == "middle" ? size / 2 : size - 1;
          std::fstream bytes(victim, std::ios::in | std::ios::out | std::ios::binary);
          bytes.seekg(static_cast<std::streamoff>(at));
          const int byte = bytes.get();
          bytes.seekp(static_cast<std::streamoff>(at));
          bytes.put(static_cast<char>(byte ^ 0x55));
        }
        const auto report = verify_data(trial);
        const bool said = !report.ok() || !report->healthy();
        const auto opened = EmbeddedStore::open(small("trial"));
        EXPECT_TRUE(opened.ok() || said) << base << "/" << file.string() << " " << how << ": " << opened.error().to_string();
        ++trials;
        refused += opened.ok() ? 0 : 1;
      }
    }
  }
  EXPECT_GT(trials, 100);
  EXPECT_GT(refused, 10) << "the table meets refusals";
  set_log_level(LogLevel::Info);
}

class EmbeddedStoreClockTest : public EmbeddedStoreTest {
 protected:
  EmbeddedStoreClockTest() { start(); }
  void start() {
    EmbeddedOptions jumping = options("data");
    jumping.clock = &clock_;
    jumping.retention = std::chrono::hours(2);
    jumping.retain_every = std::chrono::milliseconds(0);
    jumping.fault_point = fault_point_;
    open(jumping);
  }
  // Five messages, each of which takes the next seq, into history; then each message ever sent is found by its id at the place it has had.
  void send_and_repeat() {
    for (int i = 0; i < 5; ++i) {
      const AppendOutcome outcome = send("ben", "m" + std::to_string(sent_ + 1));
      EXPECT_FALSE(outcome.refused || outcome.duplicate);
      EXPECT_EQ(outcome.seq, MessageSeq(++sent_));
    }
    ASSERT_TRUE(store_->flush_to_history(std::chrono::seconds(30)).ok());
    expect_all();
  }
  void expect_all() {
    const RangePage page = all();
    EXPECT_TRUE(page.gaps.empty()) << "something was dropped";
    ASSERT_EQ(page.messages.size(), sent_);
    for (std::uint64_t i = 1; i <= sent_; ++i) {
      EXPECT_EQ(page.messages[i - 1]->seq(), MessageSeq(i));
      const AppendOutcome again = send("ben", "m" + std::to_string(i));
      EXPECT_TRUE(again.duplicate);
      EXPECT_EQ(again.seq, MessageSeq(i));
    }
  }
  RangePage all() {
    auto page = block_on(store_->range({private_conversation("ann", "ben"), MessageSeq(1), MessageSeq(UINT64_MAX), 1000, 1 << 20, false}));
    EXPECT_TRUE(page.ok());
    return page.ok() ? *std::move(page) : RangePage();
  }
  // Waits until retention has looked at the clock, and come to this.
  void retention_finds_the_clock(bool trusted) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (store_->history_stats().clock_trusted != trusted && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    ASSERT_EQ(store_->history_stats().clock_trusted, trusted);
  }

  JumpingClock clock_;
  std::function<void(std::string_view)> fault_point_;
  std::uint64_t sent_ = 0;
};

TEST_F(EmbeddedStoreClockTest, OrderDedupAndRetentionStandWhileTheWallClockStepsBackAndForth) {
  send_and_repeat();
  clock_.be_wrong_by(-std::chrono::hours(1) - std::chrono::minutes(1));
  send_and_repeat();
  retention_finds_the_clock(false);
  expect_all();
  clock_.be_wrong_by(Milliseconds(0));
  retention_finds_the_clock(true);
  clock_.be_wrong_by(std::chrono::hours(24));
  send_and_repeat();
  retention_finds_the_clock(false);
  expect_all();  // though by this clock the first ten are a day old, and two hours are kept
  clock_.be_wrong_by(Milliseconds(0));
  send_and_repeat();
  start();  // a restart takes the clock as it is, but the records of tomorrow say that one of the two is wrong
  retention_finds_the_clock(false);
  send_and_repeat();
  const RangePage page = all();
  ASSERT_EQ(page.messages.size(), 25U);
  const auto label = [&](std::size_t i) { return page.messages[i]->place().time_ms; };
  EXPECT_LT(label(5), label(4)) << "the store never saw the step back";
  EXPECT_GT(label(10), label(24)) << "the store never saw the step forth";
}

TEST_F(EmbeddedStoreClockTest, RetentionGoesOnWhenTheTimeOfTheNewestRecordHasCome) {
  clock_.be_wrong_by(std::chrono::hours(24));
  send_and_repeat();
  clock_.be_wrong_by(Milliseconds(0));
  send_and_repeat();
  retention_finds_the_clock(false);
  clock_.advance(std::chrono::hours(23) + std::chrono::minutes(30));
  retention_finds_the_clock(true);
  expect_all();
  clock_.advance(std::chrono::hours(4));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (store_->trimmed_through("") < InboxPosition(sent_) && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_TRUE(all().messages.empty());
  EXPECT_EQ(send("ben", "m1").seq, MessageSeq(1)) << "its id is kept for a day after its time";
  EXPECT_EQ(send("ben", "later").seq, MessageSeq(sent_ + 1));
}

// Reads lack the messages before the volumes go, which takes a while. Who reads on and is not told of the trim by then takes what seq_at()
// can tell no more for exact, and passes over the gap.
TEST_F(EmbeddedStoreClockTest, ATrimIsToldBeforeTheVolumesGo) {
  std::atomic<std::uint64_t> told{0};
  std::atomic<bool> dropped{false};
  fault_point_ = [&](std::string_view at) {
    if (at != "drop" || dropped) return;
    told = store_->trimmed_through("").value();
    dropped = true;
  };
  start();
  send_and_repeat();
  clock_.advance(std::chrono::hours(4));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!dropped && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_EQ(told, sent_);
  store_.reset();
}

class HookedHistory final : public FakeHistory {
 public:
  explicit HookedHistory(std::function<void()> hook) : hook_(std::move(hook)) {}
  Status checkpoint(const std::string&) override {
    hook_();
    return {};
  }

 private:
  const std::function<void()> hook_;
};

TEST_F(EmbeddedStoreTest, BackupHoldsWhatEnteredHistoryAfterItsCopyWasMade) {
  EmbeddedOptions hooked = options("data");
  hooked.open_history = [&](const HistoryOptions&) -> Result<std::unique_ptr<History>> {
    return std::unique_ptr<History>(std::make_unique<HookedHistory>([&] {
      send("ben", "between");
      EXPECT_TRUE(store_->flush_to_history(std::chrono::seconds(30)).ok());
      send("ben", "evicts");
    }));
  };
  open(hooked);
  const auto backed = store_->backup_to(folder_ + "/backup", nullptr);
  ASSERT_TRUE(backed.ok()) << backed.error().to_string();
  bool found = false;
  for (const auto& entry : fs::directory_iterator(folder_ + "/backup/log")) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    if (bytes.find("annbetween") != std::string::npos) found = true;
  }
  EXPECT_TRUE(found);
}

TEST_F(EmbeddedStoreTest, ARestoreThatWasCutShortIsNotTakenForAWholeFolder) {
  open(options("data"));
  send("ben", "m1");
  store_.reset();
  ASSERT_TRUE(backup_offline(folder_ + "/data", folder_ + "/backup").ok());
  // Several names, since the order in which a folder is copied depends on them.
  for (int i = 0; i < 16; ++i) {
    const std::string unreadable = folder_ + "/backup/unreadable-" + std::to_string(i);
    fs::create_symlink("/proc/self/mem", unreadable);
    fs::rename(folder_ + "/backup/meta", folder_ + "/backup/meta.moved");
    fs::rename(folder_ + "/backup/meta.moved", folder_ + "/backup/meta");
    fs::remove_all(folder_ + "/restored");
    ASSERT_FALSE(restore(folder_ + "/backup", folder_ + "/restored").ok());
    EXPECT_FALSE(fs::exists(folder_ + "/restored/meta"));
    fs::remove(unreadable);
  }
  fs::create_directories(folder_ + "/restored/state");
  std::ofstream(folder_ + "/restored/state/CURRENT") << "x";
  EXPECT_FALSE(EmbeddedStore::open(options("restored")).ok());
}

}  // namespace
}  // namespace dunlin::embedded
