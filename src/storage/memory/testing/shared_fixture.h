#pragma once

#include <memory>
#include <span>
#include <string_view>

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
  return options;
}

// One node. The engine's threads complete calls in any order, do some notes twice and late, and leave some answers out.
class SharedFixture : public StoreFixture {
 public:
  explicit SharedFixture(SharedEngineOptions options) : engine_(timed(options)) {}
  ~SharedFixture() override { engine_.stop(); }

  Timelines& timelines() override { return store_; }
  Inboxes& inboxes() override { return store_; }
  bool one_order() const override { return false; }
  void refuse_appends(bool refuse) override { engine_.refuse_appends(refuse); }
  bool trim(std::span<const AppendOutcome>) override {
    engine_.trim();
    return true;
  }

 private:
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
};

class SharedStateFixture final : public DeviceStatesFixture {
 public:
  DeviceStates& store() override { return store_; }
  void stand_at(InboxPosition position) override { engine_.stand_at(position); }

 private:
  SystemClock clock_;
  SharedEngine engine_{SharedEngineOptions{.clock = &clock_}};
  MemoryStateStore store_{[this](const UserId& user) { return engine_.newest(user); }};
};

}  // namespace dunlin
