#pragma once

#include "base/check.h"
#include "messaging/delivery/session_registry.h"
#include "messaging/ports/bus.h"
#include "messaging/ports/session_directory.h"

// The directory and the bus of a node that is alone: all sessions are here, and there is nobody to tell.
namespace dunlin {

class OneNodeDirectory final : public SessionDirectory {
 public:
  OneNodeDirectory(NodeId self, const SessionRegistry& registry) : self_(std::move(self)), registry_(registry) {}

  Task<Result<std::vector<std::vector<NodeId>>>> nodes_of(std::vector<UserId> users) override {
    std::vector<std::vector<NodeId>> out(users.size());
    for (std::size_t i = 0; i < users.size(); ++i) {
      if (registry_.online(users[i].view())) out[i].push_back(self_);
    }
    co_return out;
  }

 private:
  const NodeId self_;
  const SessionRegistry& registry_;
};

class OneNodeBus final : public Bus {
 public:
  void send(const NodeId&, std::vector<BusNews>) override { CHECK(false); }
};

}  // namespace dunlin
