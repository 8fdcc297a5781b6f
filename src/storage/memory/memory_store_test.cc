#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "messaging/ports/testing/device_states_suite.h"
#include "messaging/ports/testing/store_suite.h"
#include "storage/memory/memory_message_store.h"
#include "storage/memory/memory_state_store.h"
#include "storage/memory/testing/shared_fixture.h"

namespace dunlin {
namespace {

class PlainFixture : public StoreFixture {
 public:
  explicit PlainFixture(const MemoryStoreOptions& options = {.durability = Durability::Fsync}) : store_(timed(options)) {}
  Timelines& timelines() override { return store_; }
  Inboxes& inboxes() override { return store_; }
  Feed* feed() override { return &store_; }
  void refuse_appends(bool refuse) override { store_.refuse_appends(refuse); }
  bool trim(std::span<const AppendOutcome> old) override {
    store_.trim_through(old.back().message->place().position);
    return true;
  }

 protected:
  MemoryStoreOptions timed(MemoryStoreOptions options) const {
    options.clock = &clock_;
    return options;
  }
  SystemClock clock_;
  MemoryMessageStore store_;
};

// The same store with delays, so that appends and reads of different conversations overtake each other.
class DelayedFixture final : public PlainFixture {
 public:
  DelayedFixture()
      : PlainFixture({.seed = 99, .append_delay = Milliseconds(2), .read_delay = Milliseconds(1)}), pump_([this] {
          while (!stop_) {
            if (!store_.pump()) std::this_thread::sleep_for(std::chrono::microseconds(200));
          }
        }) {}
  ~DelayedFixture() override {
    stop_ = true;
    pump_.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::thread pump_;
};

class MemoryStateFixture final : public DeviceStatesFixture {
 public:
  DeviceStates& store() override { return store_; }
  void stand_at(InboxPosition position) override { position_ = position; }

 private:
  InboxPosition position_;
  ReadRaises raises_{[this] { return position_; }};
  MemoryStateStore store_{raises_};
};

const auto kPlain = testing::Values(StoreFactory([] { return std::make_unique<PlainFixture>(); }));
const auto kDelayed = testing::Values(StoreFactory([] { return std::make_unique<DelayedFixture>(); }));
INSTANTIATE_TEST_SUITE_P(Memory, TimelinesSuite, kPlain);
INSTANTIATE_TEST_SUITE_P(Memory, InboxesSuite, kPlain);
INSTANTIATE_TEST_SUITE_P(Memory, FeedSuite, kPlain);
INSTANTIATE_TEST_SUITE_P(DelayedMemory, TimelinesSuite, kDelayed);
INSTANTIATE_TEST_SUITE_P(DelayedMemory, InboxesSuite, kDelayed);
INSTANTIATE_TEST_SUITE_P(DelayedMemory, FeedSuite, kDelayed);
INSTANTIATE_TEST_SUITE_P(Memory, DeviceStatesSuite,
                         testing::Values(DeviceStatesFactory([] { return std::make_unique<MemoryStateFixture>(); })));

const auto kShared = testing::Values(StoreFactory([] { return std::make_unique<SharedFixture>(SharedEngineOptions{}); }));
const auto kSharedOnThreads = testing::Values(StoreFactory([] {
  return std::make_unique<SharedFixture>(
      SharedEngineOptions{.threads = 3, .unanswered = 0.1, .lost = 0.1, .notes_are_answered = true, .repeated = 0.3});
}));
INSTANTIATE_TEST_SUITE_P(Shared, TimelinesSuite, kShared);
INSTANTIATE_TEST_SUITE_P(Shared, InboxesSuite, kShared);
INSTANTIATE_TEST_SUITE_P(SharedOnThreads, TimelinesSuite, kSharedOnThreads);
INSTANTIATE_TEST_SUITE_P(SharedOnThreads, InboxesSuite, kSharedOnThreads);
INSTANTIATE_TEST_SUITE_P(Shared, DeviceStatesSuite,
                         testing::Values(DeviceStatesFactory([] { return std::make_unique<SharedStateFixture>(); })));

}  // namespace
}  // namespace dunlin
