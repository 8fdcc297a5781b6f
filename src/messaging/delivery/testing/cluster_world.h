#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "messaging/delivery/testing/sim_world.h"
#include "messaging/ports/bus.h"
#include "messaging/ports/session_directory.h"
#include "storage/memory/memory_state_store.h"
#include "storage/memory/testing/shared_engine.h"
#include "storage/shared/shared_store.h"

namespace dunlin {

// Three nodes over one shared store. Between them entries get lost, come twice and in another order; the engine answers late or not at all,
// notes twice, and loses the end of inboxes; nodes die with everything that they have in memory.
class ClusterWorld final : public SimWorld {
 public:
  static constexpr std::size_t kNodes = 3;
  struct ClusterFaults {
    double lose_entry = 0;
    double repeat_entry = 0;
    Milliseconds bus_delay{0};  // at most; so entries overtake each other
    double unanswered = 0;      // of writes to the engine
    double lost = 0;
    double repeated = 0;
    double deaths = 0;  // of steps
    double tails = 0;   // of steps
    double directory_fails = 0;
    double directory_stale = 0;  // of its answers about a user and a node
    bool knows_trims = true;     // the engine, without asking
  };

  ClusterWorld(std::uint64_t seed, const Faults& faults, const ClusterFaults& cluster_faults)
      : SimWorld(seed, faults), cluster_faults_(cluster_faults), engine_(engine_options(seed)) {
    engine_.on_stored([this](const Message& message) {
      auto& records = truth_.timelines[ConversationId(message.conversation())];
      EXPECT_EQ(message.seq().value(), records.size() + 1);
      records.push_back({{}, std::string(message.client_msg_id()), std::string(message.body())});
    });
    send_share_ = 1 + chance(8);  // every read takes its time, so that more would be a backlog for ever
    nodes_.resize(kNodes);
    lives_.resize(kNodes);
    for (std::size_t number = 0; number < kNodes; ++number) begin_life(number);
    epoch_ = engine_.epoch();
  }
  ~ClusterWorld() override {
    sessions_.clear();
    for (auto& life : lives_) life->end();
  }

 private:
  static constexpr std::uint32_t kBuckets = 4;

  // One life of a node: its way to the engine, the bus and the directory, and its part of the store.
  struct Life final : public SessionDirectory, public Bus {
    Life(ClusterWorld& of, NodeId self, std::uint64_t epoch)
        : world(of),
          connection(of.engine_.connect()),
          store(of.bounds_, options(std::move(self), epoch), *connection, static_cast<SessionDirectory&>(*this), static_cast<Bus&>(*this),
                of.clock_) {}

    static shared::SharedOptions options(NodeId self, std::uint64_t epoch) {
      shared::SharedOptions out;
      out.node = std::move(self);
      out.node_epoch = epoch;
      out.buckets = kBuckets;
      out.max_batch = 4;
      return out;
    }
    Task<Result<std::vector<std::vector<NodeId>>>> nodes_of(std::vector<UserId> users) override {
      if (world.happens(world.cluster_faults_.directory_fails)) {
        ++world.bounds_.directory;
        co_return Error(ErrorCode::Timeout, "a fault for tests");
      }
      std::vector<std::vector<NodeId>> out(users.size());
      for (std::size_t i = 0; i < users.size(); ++i) {
        for (std::size_t number = 0; number < kNodes; ++number) {
          const bool stale = world.happens(world.cluster_faults_.directory_stale);
          if (stale) ++world.bounds_.directory;
          if (world.nodes_[number]->registry.online(users[i].view()) != stale) out[i].push_back(id_of(number));
        }
      }
      co_return out;
    }
    void send(const NodeId& to, std::vector<BusNews> news) override { world.post(to, std::move(news)); }

    void end() {
      store.end();
      connection->cut();
    }

    ClusterWorld& world;
    std::unique_ptr<SharedEngine::Connection> connection;
    Counting<shared::SharedStore> store;
  };

  struct Entry {
    MonotonicTime due{};
    std::uint64_t number = 0;
    std::size_t to = 0;
    std::uint64_t life = 0;  // of the receiver when it was sent
    std::vector<BusNews> news;
  };

  SharedEngineOptions engine_options(std::uint64_t seed) const {
    SharedEngineOptions out;
    out.clock = &clock_;
    out.seed = seed;
    out.delay = std::max(faults_.append_delay, faults_.read_delay);
    out.refused = faults_.read_failures;
    out.unanswered = cluster_faults_.unanswered;
    out.lost = cluster_faults_.lost;
    out.repeated = cluster_faults_.repeated;
    out.knows_trims = cluster_faults_.knows_trims;
    return out;
  }
  static NodeId id_of(std::size_t number) { return NodeId("n" + std::to_string(number)); }

  void begin_life(std::size_t number) {
    lives_[number] = std::make_unique<Life>(*this, id_of(number), ++epochs_);
    nodes_[number] = std::make_unique<Node>(*this, lives_[number]->store, lives_[number]->store, state_);
    nodes_[number]->context.early = &nodes_[number]->early;
    life_numbers_[number] = epochs_;
  }

  bool disturb() override {
    if (happens(cluster_faults_.deaths)) {
      die(static_cast<std::size_t>(chance(kNodes)));
      return true;
    }
    if (happens(cluster_faults_.tails)) {
      ++bounds_.tails_lost;
      engine_.lose_tails(1 + static_cast<std::uint64_t>(chance(12)));
      return true;
    }
    if (chance(300) != 0) return false;
    race();
    return true;
  }

  // To users who have caught up, so that hints are what brings it, several nodes send in the same conversations: what one has stored is
  // told before or after what another has.
  void race() {
    for (int round = 0; round < 2'000 && !all_live(); ++round) calm_round(Milliseconds(50), round % 10 == 9);
    const std::string from = peer();
    for (int round = 0; round < 30; ++round) {
      for (int i = chance(4); i > 0; --i) write(i % 3 == 0 ? peer() : from, pick(devices_).user);
      calm_round(Milliseconds(1 + chance(20)), false);
    }
  }

  // With everything in memory: sends, notes, hints, sessions, cursors that were not saved.
  void die(std::size_t number) {
    ++bounds_.deaths;
    std::vector<ConnectionRef> here;
    for (auto& [ref, session] : sessions_) {
      if (session->node == number) here.push_back(ref);
    }
    for (const ConnectionRef ref : here) sessions_.erase(ref);
    lives_[number]->end();  // what waits in the engine ends here
    // What waits for another node's turn finds everything of its own still there, and nobody who listens.
    buried_.emplace_back(std::move(lives_[number]), std::move(nodes_[number]));
    begin_life(number);
  }

  void post(const NodeId& to, std::vector<BusNews> news) {
    for (std::size_t number = 0; number < kNodes; ++number) {
      if (id_of(number) != to) continue;
      if (happens(cluster_faults_.lose_entry)) {
        ++bounds_.bus_lost;
        return;
      }
      const int times = happens(cluster_faults_.repeat_entry) ? 2 : 1;
      if (times == 2) ++bounds_.bus_repeated;
      for (int i = 0; i < times; ++i) {
        const auto delay = Milliseconds(chance(static_cast<int>(cluster_faults_.bus_delay.count()) + 1));
        bus_.push_back({clock_.monotonic() + delay, ++posted_, number, life_numbers_[number], news});
      }
    }
  }

  bool pump_bus() {
    std::vector<Entry> due;
    std::erase_if(bus_, [&](Entry& entry) {
      if (entry.due > clock_.monotonic()) return false;
      due.push_back(std::move(entry));
      return true;
    });
    std::ranges::sort(due, {}, [](const Entry& entry) { return std::pair(entry.due, entry.number); });
    for (Entry& entry : due) {
      if (entry.life != life_numbers_[entry.to]) continue;
      std::uint64_t& last = received_[entry.to];
      if (entry.number < last) ++bounds_.bus_swapped;
      last = std::max(last, entry.number);
      lives_[entry.to]->store.receive(std::move(entry.news));
    }
    return !due.empty();
  }

  bool pump() override {
    const bool worked = engine_.pump();
    for (auto& life : lives_) life->store.tick();
    if (clock_.monotonic() >= next_round_) {
      next_round_ = clock_.monotonic() + Milliseconds(1000);
      for (std::size_t number = 0; number < kNodes; ++number) {
        // Each has its share of the buckets.
        spawn([](Counting<shared::SharedStore>* store, std::uint32_t bucket) -> Task<void> {
          ignore(co_await store->redo(bucket, bucket + 1));
        }(&lives_[number]->store, static_cast<std::uint32_t>(number)));
        if (number + kNodes < kBuckets) {
          spawn([](Counting<shared::SharedStore>* store, std::uint32_t bucket) -> Task<void> {
            ignore(co_await store->redo(bucket, bucket + 1));
          }(&lives_[number]->store, static_cast<std::uint32_t>(number + kNodes)));
        }
      }
    }
    return pump_bus() || worked;
  }

  void answered(std::span<const AppendOutcome> outcomes) override {
    for (const AppendOutcome& outcome : outcomes) bounds_.unknown += outcome.unknown ? 1 : 0;
  }
  void telling(std::span<const InboxNews> news) override {
    for (const InboxNews& one : news) {
      if (!one.has_range) ++bounds_.without_range;
      if (one.has_range && one.records.empty()) ++bounds_.bare;
      if (one.has_range && !one.records.empty() && one.records.front().message->seq() > one.first_seq) ++bounds_.long_ranges;
    }
  }
  void heal() override {
    cluster_faults_ = ClusterFaults{};
    engine_.set_faults(0, 0, 0, 0);
  }
  bool quiet() const override {
    const auto writable = [](const auto& life) { return life->store.health().writable; };
    return !engine_.next_due() && bus_.empty() && !engine_.any_due() && std::ranges::all_of(lives_, writable);
  }
  std::uint64_t seq_at(const SimDevice& device, const ConversationId& conversation, InboxPosition position) override {
    return engine_.seq_at(device.user, conversation, position).value();
  }
  InboxPosition newest(const SimDevice& device) override { return engine_.newest(device.user); }
  bool is_trimmed(const ConversationId& conversation, MessageSeq seq) override { return seq < engine_.first_readable(conversation); }
  void trim() override {
    if (happens(faults_.trims)) engine_.trim();
  }

  ClusterFaults cluster_faults_;
  SharedEngine engine_;
  MemoryStateStore state_{[this](const UserId& user) { return engine_.highest_given(user); }};
  std::vector<std::unique_ptr<Life>> lives_;
  std::vector<std::pair<std::unique_ptr<Life>, std::unique_ptr<Node>>> buried_;
  std::array<std::uint64_t, kNodes> life_numbers_{};
  std::array<std::uint64_t, kNodes> received_{};
  std::vector<Entry> bus_;
  MonotonicTime next_round_{};
  std::uint64_t epochs_ = 0;
  std::uint64_t posted_ = 0;
};

}  // namespace dunlin
