#pragma once

#include <memory>
#include <set>
#include <utility>

#include "messaging/delivery/testing/sim_world.h"
#include "messaging/ports/one_order.h"
#include "storage/memory/memory_message_store.h"
#include "storage/memory/memory_state_store.h"

namespace dunlin {

// One node and its store of one order.
class DeliveryWorld final : public SimWorld {
 public:
  DeliveryWorld(std::uint64_t seed, const Faults& faults) : SimWorld(seed, faults), store_(bounds_, store_options(seed, faults)) {
    begin_process();
    epoch_ = store_.epoch();
  }
  ~DeliveryWorld() override { sessions_.clear(); }  // what still waits in the store finds nobody

  // A copy of the data folder, and what was true when it was made.
  struct Folder {
    std::shared_ptr<const MemoryMessageStore::Copy> messages;
    std::shared_ptr<const MemoryStateStore::Copy> state;
    Truth truth;
    std::set<const SimDevice*> met;
  };
  Folder copy_folder() {
    Folder out{store_.copy(), state_.copy(), truth_, {}};
    for (const SimDevice& device : devices_) {
      if (device.met) out.met.insert(&device);
    }
    return out;
  }

  // The server ends without a word and begins again on that copy. What it held in memory is gone; devices keep what they have.
  void put_back(const Folder& folder) {
    for (auto& [ref, session] : sessions_) session->attached = false;
    sessions_.clear();
    store_.put_back(*folder.messages);
    state_.put_back(*folder.state);
    begin_process();
    marked_.clear();
    epoch_ = store_.epoch();
    put_back_ = true;
    witness_ = false;
    const Truth before = std::exchange(truth_, folder.truth);
    for (SimDevice& device : devices_) {
      device.met = folder.met.contains(&device);  // else it is a new one there
      if (device.token && device.token->epoch == epoch_ && device.token->position > to_inbox(store_.began_at())) witness_ = true;
      for (const auto& [conversation, records] : before.timelines) {
        const std::uint64_t kept = truth_.timelines[conversation].size();
        SimDevice::Known& known = device.conversations[conversation];
        for (std::uint64_t seq = kept + 1; seq <= records.size(); ++seq) {
          // Replies to sends have told the seqs of its own.
          if (known.seqs.contains(seq) || records[seq - 1].device == device.name) {
            known.seqs.insert(seq);
            known.undone.insert(seq);
          }
        }
        known.baseline = std::min(known.baseline, kept);
        known.acked = std::min(known.acked, kept);
      }
    }
  }

  // Who dropped a message as known and was not told to forget: only where nothing could tell.
  std::uint64_t unnoticed() const {
    std::uint64_t out = 0;
    for (const SimDevice& device : devices_) {
      for (const auto& [conversation, known] : device.conversations) out += known.dropped ? 1 : 0;
    }
    return out;
  }
  bool has_witness() const { return witness_; }
  std::uint64_t resets() const { return resets_; }

 private:
  MemoryStoreOptions store_options(std::uint64_t seed, const Faults& faults) const {
    MemoryStoreOptions out;
    out.clock = &clock_;
    out.seed = seed;
    out.append_delay = faults.append_delay;
    out.read_delay = faults.read_delay;
    out.read_failures = faults.read_failures;
    return out;
  }
  void begin_process() {
    nodes_.clear();
    nodes_.push_back(std::make_unique<Node>(*this, store_, store_, state_));
  }

  void answered(std::span<const AppendOutcome> outcomes) override {
    for (const AppendOutcome& outcome : outcomes) {
      if (!outcome.stored_now()) continue;
      auto& records = truth_.timelines[ConversationId(outcome.message->conversation())];
      EXPECT_EQ(outcome.seq.value(), records.size() + 1);
      const InboxPosition at = to_inbox(outcome.message->place().position);
      records.push_back({at, std::string(outcome.message->client_msg_id()), std::string(outcome.message->body())});
    }
  }
  void heal() override { store_.set_read_failures(0); }
  bool pump() override { return store_.pump(); }
  bool quiet() const override { return !store_.next_due(); }
  std::uint64_t seq_at(const SimDevice&, const ConversationId& conversation, InboxPosition position) override {
    return truth_.seq_at(conversation, position);
  }
  InboxPosition newest(const SimDevice&) override { return to_inbox(store_.feed_end()); }
  bool is_trimmed(const ConversationId& conversation, MessageSeq seq) override {
    return truth_.timelines[conversation][seq.value() - 1].position <= to_inbox(store_.trimmed_position());
  }
  void trim() override {
    if (!happens(faults_.trims)) return;
    const std::uint64_t from = store_.trimmed_position().value();
    const std::uint64_t to = (from + store_.feed_end().value()) / 2;  // what is newer is still to be delivered
    if (to > from) store_.trim_through(LogPosition(from + static_cast<std::uint64_t>(chance(static_cast<int>(to - from) + 1))));
  }

  Counting<MemoryMessageStore> store_;
  MemoryStateStore state_{store_};
  bool witness_ = false;  // somebody had a token of what was undone
};

}  // namespace dunlin
