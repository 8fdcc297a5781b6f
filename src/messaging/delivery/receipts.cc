#include "messaging/delivery/receipts.h"

#include <algorithm>
#include <memory>

#include "messaging/model/conversation.h"

namespace dunlin {

Receipts::Dirty& Receipts::entry(std::string_view conversation, std::string_view user) {
  if (dirty_.size() >= kMaxDirty) flush();
  std::string key(user);
  key.push_back('\0');
  key.append(conversation);
  return dirty_[std::move(key)];
}

void Receipts::delivered(std::string_view conversation, std::string_view user, MessageSeq seq) {
  const auto pair = parse_private(conversation);
  if (!pair || pair->first == pair->second) return;  // nobody else to tell
  Dirty& dirty = entry(conversation, user);
  dirty.delivered = std::max(dirty.delivered, seq);
}

void Receipts::read(std::string_view conversation, std::string_view user, MessageSeq seq, ConnectionRef connection) {
  if (!parse_private(conversation)) return;
  Dirty& dirty = entry(conversation, user);
  // Two readers in one interval: both are told, which costs them nothing.
  dirty.reader = dirty.read.value() == 0 || dirty.reader == connection ? connection : 0;
  dirty.read = std::max(dirty.read, seq);
}

void Receipts::flush() {
  for (const auto& [key, dirty] : dirty_) {
    const std::size_t cut = key.find('\0');
    const UserId user(std::string_view(key).substr(0, cut));
    const ConversationId conversation(std::string_view(key).substr(cut + 1));
    const auto pair = parse_private(conversation.view());
    if (pair->first != pair->second) {
      dispatcher_.route(pair->peer_of(user.view()),
                        std::make_shared<const Signal>(ReceiptSignal{conversation, user, dirty.delivered, dirty.read}));
    }
    if (dirty.read.value() == 0) continue;
    dispatcher_.route(user.view(), std::make_shared<const Signal>(ReceiptSignal{conversation, user, MessageSeq(0), dirty.read}),
                      dirty.reader);
  }
  dirty_.clear();
}

}  // namespace dunlin
