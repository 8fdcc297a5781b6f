#include "storage/embedded/state/embedded_state_store.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "messaging/ports/testing/device_states_suite.h"
#include "runtime/offload.h"
#include "runtime/spawn.h"
#include "storage/embedded/history/testing/history_scribe.h"

namespace dunlin::embedded {
namespace {

namespace fs = std::filesystem;

// A store in a folder of its own. reopen() opens a copy of the folder as the files are, with the old store still running: what a
// kill would leave.
class StateFolder final : public DeviceStatesFixture {
 public:
  StateFolder() {
    static int next = 0;
    folder_ = fs::temp_directory_path() / ("dunlin-state-" + std::to_string(getpid()) + "-" + std::to_string(next++));
    path_ = folder_ / "0";
    fs::create_directories(folder_);
    open();
  }
  ~StateFolder() override {
    stop();
    fs::remove_all(folder_);
  }
  DeviceStates& store() override { return *store_; }
  EmbeddedStateStore& embedded() { return *store_; }
  void stand_at(InboxPosition position) override { position_ = position; }
  bool reopen() override {
    const fs::path copy = folder_ / std::to_string(++copies_);
    fs::copy(path_, copy, fs::copy_options::recursive);
    stop();
    path_ = copy;
    return open();
  }
  bool open() {
    pool_ = std::make_unique<OffloadPool>(OffloadPool::Options{});
    auto opened = EmbeddedStateStore::open({path_.string(), pool_.get(), &raises_});
    if (opened.ok()) {
      store_ = std::move(*opened);
    } else {
      error_ = opened.error();
    }
    return opened.ok();
  }
  void stop() {
    pool_->stop();
    store_.reset();
  }
  const fs::path& path() const { return path_; }
  const Error& error() const { return error_; }

 private:
  fs::path folder_;
  fs::path path_;
  int copies_ = 0;
  InboxPosition position_;
  ReadRaises raises_{[this] { return position_; }};
  std::unique_ptr<OffloadPool> pool_;
  std::unique_ptr<EmbeddedStateStore> store_;
  Error error_{ErrorCode::Internal};
};

DeviceStates::CursorWrite cursor(std::string_view user, std::string_view device, std::uint64_t position) {
  return {UserId(user), DeviceId(device), {Epoch{1}, InboxPosition(position), {}, from_ms(5)}};
}

TEST(EmbeddedStateStoreTest, KeepsConfirmedRowsThroughAKilledProcess) {
  const fs::path path = fs::temp_directory_path() / ("dunlin-state-kill-" + std::to_string(getpid()));
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    OffloadPool pool{OffloadPool::Options{}};
    auto store = EmbeddedStateStore::open({path.string(), &pool});
    if (!store.ok()) _exit(1);
    for (std::uint64_t i = 1; i <= 100; ++i) {
      if (!block_on((*store)->save_cursors({cursor("ada", "phone", i)})).ok()) _exit(2);
    }
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  OffloadPool pool{OffloadPool::Options{}};
  {
    auto store = EmbeddedStateStore::open({path.string(), &pool});
    ASSERT_TRUE(store.ok());
    const auto devices = block_on((*store)->devices(UserId("ada")));
    ASSERT_EQ(devices->size(), 1u);
    EXPECT_EQ(devices->front().cursor.position, InboxPosition(100));
    pool.stop();
  }
  fs::remove_all(path);
}

// After kills and after clean ends, with rows and without any.
TEST(EmbeddedStateStoreTest, ItsFilesDoNotGrowWithTheNumberOfStarts) {
  for (const bool writes : {true, false}) {
    StateFolder state;
    std::size_t most = 0;
    for (std::uint64_t life = 1; life <= 50; ++life) {
      if (writes) {
        ASSERT_TRUE(block_on(state.store().save_cursors({cursor("ada", "d" + std::to_string(life), life)})).ok());
      }
      if (life % 2 == 0) {
        ASSERT_TRUE(state.reopen()) << state.error().to_string();
      } else {
        state.stop();
        ASSERT_TRUE(state.open()) << state.error().to_string();
      }
      const auto files = static_cast<std::size_t>(std::distance(fs::directory_iterator(state.path()), fs::directory_iterator()));
      most = std::max(most, files);
    }
    EXPECT_LE(most, 25U) << (writes ? "with rows" : "without");
    EXPECT_EQ(block_on(state.store().devices(UserId("ada")))->size(), writes ? 50U : 0U);
  }
}

TEST(EmbeddedStateStoreTest, LogsWithoutCurrentAreDamageAndNotANewStore) {
  StateFolder state;
  ASSERT_TRUE(block_on(state.store().save_cursors({cursor("ada", "phone", 1)})).ok());
  state.stop();
  fs::remove(state.path() / "CURRENT");
  EXPECT_FALSE(state.open());
  EXPECT_EQ(state.error().code(), ErrorCode::Corrupt);
}

TEST(EmbeddedStateStoreTest, CopiesItselfWhileOpen) {
  StateFolder state;
  ASSERT_TRUE(block_on(state.store().save_cursors({cursor("ada", "phone", 7)})).ok());
  ASSERT_TRUE(state.embedded().sync().ok());
  const std::string copy = state.path().string() + "-copy";
  ASSERT_TRUE(state.embedded().checkpoint(copy).ok());
  OffloadPool pool{OffloadPool::Options{}};
  auto copied = EmbeddedStateStore::open({copy, &pool});
  ASSERT_TRUE(copied.ok());
  EXPECT_EQ(block_on((*copied)->devices(UserId("ada")))->size(), 1u);
  pool.stop();
  copied->reset();
  EXPECT_EQ(*verify_state(copy), 1u);
}

TEST(EmbeddedStateStoreTest, VerificationFindsDamageInTablesAndLogsButNoTornTail) {
  StateFolder state;
  for (std::uint64_t i = 1; i <= 50; ++i) {
    ASSERT_TRUE(block_on(state.store().save_cursors({cursor("ada", "phone-" + std::to_string(i), i)})).ok());
  }
  state.stop();
  const std::string path = state.path().string();
  ASSERT_EQ(*verify_state(path), 50u);
  fs::path log;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.path().extension() == ".log" && fs::file_size(entry) > 0) log = entry.path();
  }
  ASSERT_FALSE(log.empty());
  fs::resize_file(log, fs::file_size(log) - 3);
  EXPECT_EQ(*verify_state(path), 49u) << "a torn tail is what a crash leaves";
  std::ostringstream bytes;
  bytes << std::ifstream(log, std::ios::binary).rdbuf();
  std::string damage = bytes.str();
  damage.at(damage.find("phone-25") + 2) ^= 1;
  std::ofstream(log, std::ios::binary) << damage;
  const auto damaged = verify_state(path);
  ASSERT_FALSE(damaged.ok());
  EXPECT_EQ(damaged.error().code(), ErrorCode::Corrupt) << damaged.error().to_string();
  fs::remove(fs::path(path) / "CURRENT");
  ASSERT_FALSE(verify_state(path).ok());
  EXPECT_EQ(verify_state(path).error().code(), ErrorCode::Corrupt);
}

TEST(EmbeddedStateStoreTest, IsOpenOnlyOnce) {
  StateFolder state;
  OffloadPool pool{OffloadPool::Options{}};
  const auto second = EmbeddedStateStore::open({state.path().string(), &pool});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), ErrorCode::Busy);
}

TEST(EmbeddedStateStoreTest, NamesTheRestoreCommandWhenItsMetadataIsDamaged) {
  StateFolder state;
  ASSERT_TRUE(block_on(state.store().save_cursors({cursor("ada", "phone", 7)})).ok());
  state.stop();
  std::ofstream(state.path() / "CURRENT") << "MANIFEST-999999\n";
  ASSERT_FALSE(state.open());
  EXPECT_EQ(state.error().code(), ErrorCode::Corrupt);
  EXPECT_NE(state.error().context().find("dunlin restore"), std::string::npos);
}

TEST(EmbeddedStateStoreTest, KeepsOneIndexRowForAConversationHoweverOftenItIsRead) {
  StateFolder state;
  for (std::uint64_t i = 1; i <= 50; ++i) {
    ReadRaise raise{UserId("ada"), private_conversation("ada", "bob"), MessageSeq(i), {UserId("bob")}};
    state.stand_at(InboxPosition(i * 3));
    ASSERT_EQ(*block_on(state.store().raise_read(raise)), MessageSeq(i));
  }
  EXPECT_EQ(*verify_state(state.path().string()), 4u);  // a read row and an index row for each of the two
}

TEST(EmbeddedStateStoreTest, EndsNoPageBetweenChangesOfOnePosition) {
  StateFolder state;
  for (int i = 0; i < 9; ++i) {
    ReadRaise raise{UserId("ada"), private_conversation("ada", "p" + std::to_string(i)), MessageSeq(1), {}};
    state.stand_at(InboxPosition(i < 7 ? 5 : 6));
    ASSERT_TRUE(block_on(state.store().raise_read(raise)).ok());
  }
  const auto page = block_on(state.store().read_changes_since(UserId("ada"), InboxPosition(0), 3));
  EXPECT_EQ(page->changes.size(), 7u);
  EXPECT_TRUE(page->more);
  EXPECT_EQ(block_on(state.store().read_changes_since(UserId("ada"), InboxPosition(6), 3))->changes.size(), 2u);
}

TEST(EmbeddedStateStoreTest, HealsAfterTheDiskRefusedAWrite) {
  StateFolder state;
  DeviceStates::CursorWrite large = cursor("ada", "phone", 1);
  for (int i = 0; i < 100; ++i) large.cursor.exceptions.emplace(private_conversation("ada", "peer" + std::to_string(i)), MessageSeq(1));
  std::uint64_t confirmed = 0;
  {
    const SmallFiles full(64 << 10);
    for (bool refused = false; !refused;) {
      large.cursor.position = InboxPosition(confirmed + 1);
      const Status status = block_on(state.store().save_cursors({large}));
      refused = !status.ok();
      if (refused) {
        EXPECT_EQ(wire_code(status.error().code()), ErrorCode::StoreUnavailable);
      } else {
        ++confirmed;
      }
      ASSERT_LT(confirmed, 1000u);
    }
    EXPECT_FALSE(block_on(state.store().save_cursors({large})).ok()) << "still full";
    const auto devices = block_on(state.store().devices(UserId("ada")));
    ASSERT_TRUE(devices.ok()) << "reads go on";
    EXPECT_EQ(devices->front().cursor.position, InboxPosition(confirmed));
  }
  ASSERT_TRUE(state.embedded().sync().ok());
  EXPECT_EQ(block_on(state.store().devices(UserId("ada")))->front().cursor.position, InboxPosition(confirmed));
  ASSERT_TRUE(block_on(state.store().save_cursors({cursor("ada", "laptop", 9)})).ok());
  ASSERT_TRUE(state.reopen());
  const auto devices = block_on(state.store().devices(UserId("ada")));
  ASSERT_EQ(devices->size(), 2u);
  EXPECT_EQ(devices->front().cursor.position, InboxPosition(9));
  EXPECT_EQ(devices->back().cursor.position, InboxPosition(confirmed));
}

TEST(EmbeddedStateStoreTest, RefusesCallsOnceThePoolIsStopped) {
  StateFolder state;
  OffloadPool pool{OffloadPool::Options{}};
  auto store = EmbeddedStateStore::open({state.path().string() + "-other", &pool});
  ASSERT_TRUE(store.ok());
  pool.stop();
  EXPECT_FALSE(block_on((*store)->devices(UserId("ada"))).ok());
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Embedded, DeviceStatesSuite, testing::Values(DeviceStatesFactory([] { return std::make_unique<StateFolder>(); })));
INSTANTIATE_TEST_SUITE_P(Embedded, DurableDeviceStatesSuite,
                         testing::Values(DeviceStatesFactory([] { return std::make_unique<StateFolder>(); })));

}  // namespace dunlin::embedded
