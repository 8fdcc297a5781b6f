#include "messaging/delivery/send_orders.h"

#include <algorithm>
#include <utility>

namespace dunlin {

SendOrders::SendOrders() : key_(SipKey::random()) {}
SendOrders::~SendOrders() = default;

SendOrders::Order* SendOrders::find(const SessionKey& session) {
  if (session.empty()) return nullptr;
  return orders_.find(static_cast<std::size_t>(session.low), [&](const Order& order) { return order.session == session; });
}

void SendOrders::begin(const SessionKey& session) {
  if (session.empty() || find(session) != nullptr) return;
  Order order;
  order.session = session;
  orders_.add(std::move(order));
}

void SendOrders::end(const SessionKey& session) {
  if (Order* order = find(session)) orders_.erase(*order);
}

bool SendOrders::admit(const SessionKey& session, std::string_view conversation, std::string_view client_msg_id, bool abandon) {
  Order* order = find(session);
  if (order == nullptr || order->blocks == nullptr) return true;
  Blocks& blocks = *order->blocks;
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
  if (blocks.each.empty() && !blocks.others) order->blocks.reset();
  return true;
}

void SendOrders::block(const SessionKey& session, std::string_view conversation, std::string_view client_msg_id) {
  Order* order = find(session);
  if (order == nullptr) return;
  if (order->blocks == nullptr) order->blocks = std::make_unique<Blocks>();
  Blocks& blocks = *order->blocks;
  const std::uint64_t conversation_hash = siphash64(key_, conversation);
  if (std::ranges::find(blocks.each, conversation_hash, &Block::conversation) != blocks.each.end()) return;
  if (blocks.each.size() < kMaxBlocked && !blocks.others) {
    blocks.each.push_back({conversation_hash, siphash64(key_, client_msg_id)});
  } else if (!blocks.others) {
    blocks.others = siphash64(key_, client_msg_id);
  }
}

bool SendOrders::take_number(const SessionKey& sender, const std::optional<NumberedMsgId>& id) {
  if (!id) return false;
  Order* order = find(id->session);
  if (order == nullptr) return false;
  const bool is_new = id->session == sender && id->number > order->last_number;
  // Another session may use this session's name for an id: the number counts as seen all the same.
  order->last_number = std::max(order->last_number, id->number);
  return is_new;
}

}  // namespace dunlin
