#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "messaging/ports/testing/message_store_suite.h"
#include "messaging/ports/testing/state_store_suite.h"
#include "storage/memory/memory_message_store.h"
#include "storage/memory/memory_state_store.h"

namespace dunlin {
namespace {

class PlainFixture : public MessageStoreFixture {
 public:
  explicit PlainFixture(const MemoryStoreOptions& options = {.durability = Durability::Fsync}) : store_(timed(options)) {}
  MessageStore& store() override { return store_; }
  void refuse_appends(bool refuse) override { store_.refuse_appends(refuse); }
  bool trim_through(LogPosition position) override {
    store_.trim_through(position);
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

class MemoryStateFixture final : public StateStoreFixture {
 public:
  StateStore& store() override { return store_; }

 private:
  MemoryStateStore store_;
};

INSTANTIATE_TEST_SUITE_P(Memory, MessageStoreSuite, testing::Values(MessageStoreFactory([] { return std::make_unique<PlainFixture>(); })));
INSTANTIATE_TEST_SUITE_P(DelayedMemory, MessageStoreSuite,
                         testing::Values(MessageStoreFactory([] { return std::make_unique<DelayedFixture>(); })));
INSTANTIATE_TEST_SUITE_P(Memory, StateStoreSuite,
                         testing::Values(StateStoreFactory([] { return std::make_unique<MemoryStateFixture>(); })));

}  // namespace
}  // namespace dunlin
