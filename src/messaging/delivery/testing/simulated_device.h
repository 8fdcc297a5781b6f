#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "messaging/delivery/session_delivery.h"
#include "messaging/delivery/sync_token.h"

namespace dunlin {

// What really happened, against which devices and cursors are judged.
struct Truth {
  struct Record {
    InboxPosition position;
    std::string client_msg_id;
    std::string device;  // user/device that sent it
  };
  std::map<ConversationId, std::vector<Record>> timelines;  // seq - 1

  std::uint64_t seq_at(const ConversationId& conversation, InboxPosition position) const {
    const auto at = timelines.find(conversation);
    if (at == timelines.end()) return 0;
    const auto above = std::ranges::upper_bound(at->second, position, {}, &Record::position);
    return static_cast<std::uint64_t>(above - at->second.begin());
  }
};

// One client device: what it has, what it has acked. Checks the order of everything it receives.
struct SimDevice {
  struct Known {
    std::uint64_t baseline = 0;    // at or below it the device never asked for anything
    std::set<std::uint64_t> seqs;  // received, or covered by a gap
    std::uint64_t acked = 0;       // by acks that reached the server
    // Of a life of the store that was undone: it has other messages under these seqs, and drops what comes as known.
    std::set<std::uint64_t> undone;
    bool dropped = false;
  };
  UserId user;
  DeviceId device;
  std::string name;  // user/device
  bool met = false;  // has ever connected
  std::map<ConversationId, Known> conversations;
  std::optional<SyncToken> token;  // the newest that it got
  std::uint64_t sent = 0;
  std::optional<std::size_t> last_node;

  bool own(const Truth& truth, const ConversationId& conversation, std::uint64_t seq) const {
    const auto at = truth.timelines.find(conversation);
    return at != truth.timelines.end() && seq <= at->second.size() && at->second[seq - 1].device == name;
  }
  bool has(const Truth& truth, const ConversationId& conversation, std::uint64_t seq) {
    Known& known = conversations[conversation];
    return seq <= known.baseline || known.seqs.contains(seq) || own(truth, conversation, seq);
  }
  // Highest seq up to which it has everything.
  std::uint64_t contiguous(const Truth& truth, const ConversationId& conversation) {
    std::uint64_t seq = conversations[conversation].baseline;
    while (has(truth, conversation, seq + 1)) ++seq;
    return seq;
  }
  // Highest seq up to which everything is acked, own, or from before its time.
  std::uint64_t covered(const Truth& truth, const ConversationId& conversation) {
    const Known& known = conversations[conversation];
    std::uint64_t seq = std::max(known.baseline, known.acked);
    while (own(truth, conversation, seq + 1)) ++seq;
    return seq;
  }
};

// A live connection: a bounded write queue in front of the client.
class SimSession final : public DeliverySink {
 public:
  struct Gap {
    ConversationId conversation;
    SeqGap gap;
  };
  using Packet = std::variant<MessagePtr, Gap>;

  SimSession(SimDevice& of, ConnectionRef ref, DeliveryContext& context, std::size_t bound)
      : device(of), connection(ref), session_key(SessionKey::random()), queue_bound(bound), delivery(context, *this) {}

  Pushed push_message(const MessagePtr& message) override { return take(message); }
  Pushed push_gap(const ConversationId& conversation, const SeqGap& gap) override { return take(Gap{conversation, gap}); }
  const UserId& user() const override { return device.user; }
  const SessionKey& key() const override { return session_key; }

  SimDevice& device;
  const ConnectionRef connection;
  const SessionKey session_key;
  const std::size_t queue_bound;
  std::deque<Packet> queue;
  bool was_at_bound = false;
  std::set<ConversationId> to_ack;  // what came since it was last acked
  bool attached = false;
  Epoch epoch;
  std::size_t node = 0;
  std::uint64_t sent = 0;
  SessionDelivery delivery;

 private:
  Pushed take(Packet packet) {
    if (queue.size() >= queue_bound) {
      was_at_bound = true;
      return Pushed::AtBound;
    }
    queue.push_back(std::move(packet));
    return Pushed::Queued;
  }
};

}  // namespace dunlin
