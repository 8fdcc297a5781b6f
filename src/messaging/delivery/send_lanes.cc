#include "messaging/delivery/send_lanes.h"

#include <algorithm>
#include <utility>

namespace dunlin {
namespace {
constexpr std::size_t kFirstSlots = 16;
}

SendLanes::SendLanes() : key_(SipKey::random()), lanes_(kFirstSlots) {}
SendLanes::~SendLanes() = default;

SendLanes::Lane* SendLanes::find(const SessionKey& session) {
  if (session.empty()) return nullptr;
  const std::size_t mask = lanes_.size() - 1;
  for (std::size_t i = home(session);; i = (i + 1) & mask) {
    if (lanes_[i].session == session) return &lanes_[i];
    if (lanes_[i].session.empty()) return nullptr;
  }
}

void SendLanes::begin(const SessionKey& session) {
  if (session.empty() || find(session) != nullptr) return;
  if ((used_ + 1) * 8 > lanes_.size() * 7) grow();
  const std::size_t mask = lanes_.size() - 1;
  std::size_t i = home(session);
  while (!lanes_[i].session.empty()) i = (i + 1) & mask;
  lanes_[i].session = session;
  ++used_;
}

void SendLanes::grow() {
  std::vector<Lane> old(lanes_.size() * 2);
  old.swap(lanes_);
  const std::size_t mask = lanes_.size() - 1;
  for (Lane& lane : old) {
    if (lane.session.empty()) continue;
    std::size_t i = home(lane.session);
    while (!lanes_[i].session.empty()) i = (i + 1) & mask;
    lanes_[i] = std::move(lane);
  }
}

void SendLanes::end(const SessionKey& session) {
  Lane* lane = find(session);
  if (lane == nullptr) return;
  const std::size_t mask = lanes_.size() - 1;
  std::size_t hole = static_cast<std::size_t>(lane - lanes_.data());
  // Entries behind the hole that may stand in it move up, so that no probe ends early (Knuth, algorithm 6.4 R).
  for (std::size_t i = (hole + 1) & mask; !lanes_[i].session.empty(); i = (i + 1) & mask) {
    if (((i - home(lanes_[i].session)) & mask) < ((i - hole) & mask)) continue;
    lanes_[hole] = std::move(lanes_[i]);
    hole = i;
  }
  lanes_[hole] = Lane{};
  --used_;
}

bool SendLanes::admit(const SessionKey& session, std::string_view conversation, std::string_view client_msg_id, bool abandon) {
  Lane* lane = find(session);
  if (lane == nullptr || lane->blocks == nullptr) return true;
  Blocks& blocks = *lane->blocks;
  const std::uint64_t conversation_hash = siphash64(key_, conversation);
  const std::uint64_t id_hash = siphash64(key_, client_msg_id);
  const auto at = std::ranges::find(blocks.each, conversation_hash, &Block::conversation);
  if (at != blocks.each.end()) {
    if (!abandon && at->client_msg_id != id_hash) return false;
    *at = blocks.each.back();
    blocks.each.pop_back();
  } else if (blocks.others) {
    if (!abandon && *blocks.others != id_hash) return false;
    blocks.others.reset();
  }
  if (blocks.each.empty() && !blocks.others) lane->blocks.reset();
  return true;
}

void SendLanes::block(const SessionKey& session, std::string_view conversation, std::string_view client_msg_id) {
  Lane* lane = find(session);
  if (lane == nullptr) return;
  if (lane->blocks == nullptr) lane->blocks = std::make_unique<Blocks>();
  Blocks& blocks = *lane->blocks;
  const std::uint64_t conversation_hash = siphash64(key_, conversation);
  if (std::ranges::find(blocks.each, conversation_hash, &Block::conversation) != blocks.each.end()) return;
  if (blocks.each.size() < kMaxBlocked && !blocks.others) {
    blocks.each.push_back({conversation_hash, siphash64(key_, client_msg_id)});
  } else if (!blocks.others) {
    blocks.others = siphash64(key_, client_msg_id);
  }
}

bool SendLanes::take_number(const SessionKey& sender, const std::optional<NumberedMsgId>& id) {
  if (!id) return false;
  Lane* lane = find(id->session);
  if (lane == nullptr) return false;
  const bool is_new = id->session == sender && id->number > lane->last_number;
  // Another session may use this session's name for an id: the number counts as seen all the same.
  lane->last_number = std::max(lane->last_number, id->number);
  return is_new;
}

}  // namespace dunlin
