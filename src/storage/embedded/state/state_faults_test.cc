#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/log.h"
#include "messaging/model/conversation.h"
#include "storage/embedded/history/testing/faulty_rocks_files.h"
#include "storage/embedded/state/rocks_state.h"

namespace dunlin::embedded {
namespace {

namespace fs = std::filesystem;
using Call = FaultyRocksFiles::Call;
using Effect = FaultyRocksFiles::Effect;

bool is_coded(const Error& error) {
  const ErrorCode code = error.code();
  return code == ErrorCode::Io || code == ErrorCode::NoSpace || code == ErrorCode::StoreUnavailable || code == ErrorCode::Overloaded;
}

class StateFaultsTest : public testing::Test {
 protected:
  StateFaultsTest() {
    set_log_level(LogLevel::Off);
    static int next = 0;
    const fs::path memory = "/dev/shm";
    folder = (fs::exists(memory) ? memory : fs::temp_directory_path()) /
             ("dunlin-state-faults-" + std::to_string(getpid()) + "-" + std::to_string(next++));
    fs::create_directories(folder);
  }
  ~StateFaultsTest() override {
    state.reset();
    fs::remove_all(folder);
    set_log_level(LogLevel::Info);
  }

  Result<std::unique_ptr<RocksState>> try_open(const fs::path& path, std::shared_ptr<rocksdb::FileSystem> with) {
    StateOptions options;
    options.path = path.string();
    options.files = std::move(with);
    return RocksState::open(options);
  }
  void open() {
    state.reset();
    auto opened = try_open(folder / "state", files->file_system());
    ASSERT_TRUE(opened.ok()) << opened.error().to_string();
    state = *std::move(opened);
  }

  // One row of each kind; what was confirmed is noted.
  void write_one() {
    ++written;
    const std::string peer = "p" + std::to_string(written % 7);
    DeviceStates::CursorWrite cursor{UserId("ada"), DeviceId(peer), {Epoch{1}, InboxPosition(written), {}, from_ms(5)}};
    confirm(state->save_cursors({cursor}, written), [&] { cursors[peer] = written; });
    const auto raised =
        state->raise_read({UserId("ada"), private_conversation("ada", peer), MessageSeq(written), {UserId(peer)}}, InboxPosition(written));
    confirm(raised.ok() ? Status() : Status(raised.error()), [&] { reads[peer] = written; });
    confirm(state->add_recall({written, MessageSeq(1), LogPosition(written), written}), [&] { recalls.push_back(written); });
  }
  template <class F>
  void confirm(const Status& status, F note) {
    if (status.ok()) {
      note();
    } else {
      EXPECT_TRUE(is_coded(status.error())) << status.error().to_string();
      ++refused;
    }
  }
  // Everything confirmed is there, as it is or newer.
  void expect_confirmed(RocksState& in, bool may_refuse) const {
    const auto devices = in.devices(UserId("ada"));
    if (!devices.ok()) {
      EXPECT_TRUE(may_refuse && is_coded(devices.error())) << devices.error().to_string();
    } else {
      for (const auto& [peer, position] : cursors) {
        const auto found = std::ranges::find(*devices, DeviceId(peer), &DeviceRow::device);
        ASSERT_NE(found, devices->end()) << peer;
        EXPECT_GE(found->cursor.position, InboxPosition(position)) << peer;
      }
    }
    for (const auto& [peer, seq] : reads) {
      const auto held = in.read_positions({{UserId("ada"), private_conversation("ada", peer)}});
      if (held.ok()) {
        EXPECT_GE(held->front(), MessageSeq(seq)) << peer;
      } else {
        EXPECT_TRUE(may_refuse && is_coded(held.error())) << held.error().to_string();
      }
    }
    const auto rows = in.recalls();
    if (rows.ok()) {
      for (const std::uint64_t number : recalls) {
        EXPECT_NE(std::ranges::find(*rows, number, &RecallRow::conversation_number), rows->end()) << number;
      }
    } else {
      EXPECT_TRUE(may_refuse && is_coded(rows.error())) << rows.error().to_string();
    }
  }
  // A flush may end meanwhile.
  bool copied_at_one_moment(const fs::path& copy) const {
    const auto names = [&] {
      std::set<std::string> out;
      for (const auto& entry : fs::directory_iterator(folder / "state")) out.insert(entry.path().filename());
      return out;
    };
    const auto before = names();
    std::error_code failed;
    fs::remove_all(copy);
    fs::copy(folder / "state", copy, fs::copy_options::recursive, failed);
    return !failed && names() == before;
  }
  // What a kill -9 at this moment would leave.
  void expect_confirmed_after_a_kill() {
    const fs::path copy = folder / "copy";
    for (int tries = 0; tries < 100 && !copied_at_one_moment(copy); ++tries) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    auto opened = try_open(copy, nullptr);
    ASSERT_TRUE(opened.ok()) << opened.error().to_string();
    expect_confirmed(**opened, false);
    opened->reset();
    const auto rows = verify_state(copy.string());
    EXPECT_TRUE(rows.ok()) << rows.error().to_string();
  }
  void begin_anew() {
    state.reset();
    fs::remove_all(folder / "state");
    cursors.clear();
    reads.clear();
    recalls.clear();
    open();
  }
  fs::path folder;
  std::shared_ptr<FaultyRocksFiles> files = std::make_shared<FaultyRocksFiles>();
  std::unique_ptr<RocksState> state;
  std::uint64_t written = 0;
  int refused = 0;
  std::map<std::string, std::uint64_t> cursors, reads;
  std::vector<std::uint64_t> recalls;
};

class StateFaults : public StateFaultsTest, public testing::WithParamInterface<Call> {
 protected:
  template <class F>
  void each_fault(F test, const std::vector<Call>& not_made = {}) {
    const Call call = GetParam();
    int reached = 0;
    for (const Effect effect : {Effect::None, Effect::Done}) {
      begin_anew();
      for (std::uint64_t skip = 0; skip < 12; ++skip) {
        const ErrorCode code = (skip + static_cast<std::uint64_t>(effect)) % 2 != 0 ? ErrorCode::NoSpace : ErrorCode::Io;
        SCOPED_TRACE("skip " + std::to_string(skip) + (effect == Effect::Done ? ", with its effect" : "") +
                     (code == ErrorCode::Io ? "" : ", no space"));
        files->fail({call}, skip, code, effect, skip % 3 == 2 ? 3 : 1);
        test();
        if (HasFailure()) return;
        reached += files->reached() ? 1 : 0;
        if (!files->reached()) break;
      }
    }
    EXPECT_EQ(reached == 0, std::ranges::find(not_made, call) != not_made.end());
  }
};

class StateWrites : public StateFaults {};

TEST_P(StateWrites, WhatIsConfirmedOutlivesAKillAndWhatIsRefusedHeals) {
  each_fault([&] {
    for (int i = 0; i < 6; ++i) {
      write_one();
      expect_confirmed(*state, true);
    }
    confirm(state->sync(), [] {});
    expect_confirmed_after_a_kill();
    files->heal();
    refused = 0;
    write_one();
    write_one();
    EXPECT_EQ(refused, 0) << "it heals by itself";
    EXPECT_TRUE(state->sync().ok());
    expect_confirmed(*state, false);
    expect_confirmed_after_a_kill();
  });
}

// With so many logs of earlier lives that they are to be written into a table file.
TEST_F(StateFaultsTest, AStartThatCannotTidyItsLogsOpensAllTheSame) {
  begin_anew();
  const auto logs = [&] {
    return std::ranges::count_if(fs::directory_iterator(folder / "state"),
                                 [](const auto& entry) { return entry.path().extension() == ".log"; });
  };
  const auto no_tables = [&] {
    files->only([](std::string_view path) { return path.ends_with(".sst"); });
    files->fail({Call::NewFile, Call::Append}, 0, ErrorCode::NoSpace, Effect::None, UINT64_MAX);
  };
  for (int life = 0; life < 20; ++life) {
    write_one();
    no_tables();
    open();
    expect_confirmed(*state, false);
  }
  EXPECT_TRUE(files->reached());
  EXPECT_GT(logs(), 12);
  files->heal();
  open();
  EXPECT_LE(logs(), 12) << "they go as soon as there is room";
  expect_confirmed(*state, false);
}

// RocksDB waits a second behind each flush that failed, so these are few.
TEST_F(StateFaultsTest, AFlushThatFailsCostsNothingAndIsMadeUpFor) {
  DeviceStates::CursorWrite large{UserId("ada"), DeviceId("large"), {Epoch{1}, InboxPosition(1), {}, from_ms(5)}};
  for (int i = 0; i < 4000; ++i) large.cursor.exceptions.emplace(private_conversation("ada", "peer" + std::to_string(i)), MessageSeq(1));
  begin_anew();
  for (const char* file : {".sst", "MANIFEST-"}) {
    SCOPED_TRACE(file);
    files->only([&](std::string_view path) { return path.find(file) != path.npos; });
    if (file[0] == '.') {
      files->fail({Call::Append}, 0, ErrorCode::NoSpace, Effect::None);
    } else {
      files->fail({Call::Sync}, 0, ErrorCode::Io, Effect::Done);
    }
    for (int i = 0; i < 200 && (i < 120 || !files->reached()); ++i) {
      large.cursor.position = large.cursor.position.next();
      confirm(state->save_cursors({large}, 1), [&] { cursors["large"] = large.cursor.position.value(); });
      if (i % 30 == 0) write_one();
    }
    EXPECT_TRUE(files->reached());
    expect_confirmed(*state, true);
    expect_confirmed_after_a_kill();
    files->heal();
    for (int tries = 0; tries < 100; ++tries) {
      refused = 0;
      write_one();
      if (refused == 0) break;
    }
    EXPECT_EQ(refused, 0) << "it heals by itself";
    expect_confirmed(*state, false);
    expect_confirmed_after_a_kill();
  }
}

TEST_F(StateFaultsTest, ASyncThatFailsIsTold) {
  begin_anew();
  for (const Effect effect : {Effect::None, Effect::Done}) {
    write_one();
    EXPECT_TRUE(state->sync().ok());
    files->fail({Call::Sync}, 0, ErrorCode::Io, effect);
    EXPECT_FALSE(state->sync().ok());
    EXPECT_TRUE(files->reached());
    EXPECT_TRUE(state->sync().ok());
  }
  expect_confirmed_after_a_kill();
}

// A build of RocksDB that checks its assertions ends the process when a log is used on after a failure.
TEST_F(StateFaultsTest, NoThreadUsesALogOnThatFailedForAnother) {
  begin_anew();
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      const DeviceStates::CursorWrite cursor{
          UserId("bob"), DeviceId("d" + std::to_string(thread)), {Epoch{1}, InboxPosition(1), {}, from_ms(5)}};
      while (!stop) {
        const Status done = thread < 2 ? state->save_cursors({cursor}, 1) : state->sync();
        EXPECT_TRUE(done.ok() || is_coded(done.error())) << done.error().to_string();
      }
    });
  }
  for (std::uint64_t round = 0; round < 30; ++round) {
    files->fail({Call::Append, Call::Sync}, round % 7, round % 2 != 0 ? ErrorCode::NoSpace : ErrorCode::Io, Effect::None, 1 + round % 3);
    for (int i = 0; i < 1000 && !files->reached(); ++i) std::this_thread::sleep_for(std::chrono::microseconds(100));
    files->heal();
    write_one();
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  expect_confirmed_after_a_kill();
}

TEST_P(StateFaults, AnOpeningIsRefusedOrDoesAll) {
  each_fault(
      [&] {
        state.reset();
        auto opened = try_open(folder / "state", files->file_system());
        if (opened.ok()) {
          state = *std::move(opened);
          write_one();
          expect_confirmed(*state, true);
          files->heal();
        } else {
          EXPECT_TRUE(is_coded(opened.error())) << opened.error().to_string();
          files->heal();
          expect_confirmed_after_a_kill();
          open();
        }
        if (HasFailure()) return;
        refused = 0;
        write_one();
        EXPECT_EQ(refused, 0);
        expect_confirmed(*state, false);
        expect_confirmed_after_a_kill();
      },
      {Call::Link});
}

INSTANTIATE_TEST_SUITE_P(EachCall, StateFaults, testing::ValuesIn(FaultyRocksFiles::all_calls()));
INSTANTIATE_TEST_SUITE_P(EachCall, StateWrites, testing::Values(Call::Append, Call::Sync, Call::SyncFolder));

}  // namespace
}  // namespace dunlin::embedded
