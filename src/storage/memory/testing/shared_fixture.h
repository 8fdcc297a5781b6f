#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <span>
#include <string_view>
#include <thread>

#include "messaging/delivery/testing/one_node.h"
#include "messaging/ports/testing/device_states_suite.h"
#include "messaging/ports/testing/store_suite.h"
#include "storage/memory/memory_state_store.h"
#include "storage/memory/testing/shared_engine.h"
#include "storage/shared/shared_store.h"

// The shared algorithm over an engine in memory, for the suites of the ports.
namespace dunlin {

inline shared::SharedOptions node_options(std::string_view name, std::uint64_t epoch) {
  shared::SharedOptions options;
  options.node = NodeId(name);
  options.node_epoch = epoch;
  options.buckets = 8;
  options.max_batch = 16;
  // The suites know nothing of sends whose fate is not known: shared_store_test.cc does.
  options.unknown_after = 1'000'000;
  return options;
}

// One node. The engine's threads complete calls in any order, do some notes twice and late, and leave some answers out.
class SharedFixture : public StoreFixture {
 public:
  explicit SharedFixture(SharedEngineOptions options)
      : engine_(timed(options)), ticks_([this] {
          while (!ended_) {
            store_.tick();
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          }
        }) {}
  ~SharedFixture() override {
    ended_ = true;
    ticks_.join();
    store_.end();
    engine_.stop();
  }

  Timelines& timelines() override { return store_; }
  Inboxes& inboxes() override { return store_; }
  bool one_order() const override { return false; }
  void refuse_appends(bool refuse) override { engine_.refuse_appends(refuse); }
  bool trim(std::span<const AppendOutcome> old) override {
    for (const AppendOutcome& outcome : old) wait_until_noted(*outcome.message);
    engine_.trim();
    return true;
  }

 private:
  // Retention is later than that by hours.
  void wait_until_noted(const Message& message) const {
    const auto pair = parse_private(message.conversation());
    for (const std::string_view user : {pair->first, pair->second}) {
      for (int i = 0; i < 20'000; ++i) {
        const InboxPosition newest = engine_.newest(UserId(user));
        if (engine_.seq_at(UserId(user), ConversationId(message.conversation()), newest) >= message.seq()) break;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  }
  SharedEngineOptions timed(SharedEngineOptions options) const {
    options.clock = &clock_;
    return options;
  }
  SystemClock clock_;
  SharedEngine engine_;
  std::unique_ptr<SharedEngine::Connection> connection_ = engine_.connect();
  SessionRegistry registry_;
  OneNodeDirectory directory_{NodeId("n1"), registry_};
  OneNodeBus bus_;
  shared::SharedStore store_{node_options("n1", 1), *connection_, directory_, bus_, clock_};
  std::atomic<bool> ended_{false};
  std::thread ticks_;  // the last: it uses the others
};

class SharedStateFixture final : public DeviceStatesFixture {
 public:
  DeviceStates& store() override { return store_; }
  void stand_at(InboxPosition position) override { engine_.stand_at(position); }

 private:
  SystemClock clock_;
  SharedEngine engine_{SharedEngineOptions{.clock = &clock_}};
  MemoryStateStore store_{[this](const UserId& user) { return engine_.highest_given(user); }};
};

}  // namespace dunlin
