#include "messaging/model/message.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "base/check.h"

namespace dunlin {

MessagePtr Message::create(const MessageDraft& draft) {
  // The session has checked these bounds; here they protect the narrow size fields.
  CHECK(draft.conversation.size() <= UINT16_MAX && draft.content_type.size() <= UINT16_MAX && draft.body.size() <= UINT32_MAX);
  CHECK(draft.sender.size() <= UINT8_MAX && draft.client_msg_id.size() <= UINT8_MAX);
  const std::string_view parts[] = {draft.conversation, draft.sender, draft.client_msg_id, draft.content_type, draft.body};
  std::size_t bytes = sizeof(Message);
  for (const auto part : parts) bytes += part.size();
  void* memory = std::malloc(bytes);
  CHECK(memory != nullptr);
  auto* message = new (memory) Message;
  message->conversation_size_ = static_cast<std::uint16_t>(draft.conversation.size());
  message->sender_size_ = static_cast<std::uint8_t>(draft.sender.size());
  message->client_msg_id_size_ = static_cast<std::uint8_t>(draft.client_msg_id.size());
  message->content_type_size_ = static_cast<std::uint16_t>(draft.content_type.size());
  message->body_size_ = static_cast<std::uint32_t>(draft.body.size());
  message->accepted_ = draft.accepted;
  char* out = reinterpret_cast<char*>(message + 1);
  for (const auto part : parts) {
    if (!part.empty()) std::memcpy(out, part.data(), part.size());
    out += part.size();
  }
  return MessagePtr(message);
}

MessagePtr Message::copy(const Message& message) {
  return create(
      {message.conversation(), message.sender(), message.client_msg_id(), message.content_type(), message.body(), message.accepted()});
}

MessagePtr Message::recalled(const Message& message) {
  MessageDraft draft;
  draft.conversation = message.conversation();
  draft.sender = message.sender();
  draft.client_msg_id = message.client_msg_id();
  draft.accepted = message.accepted();
  MessagePtr left = create(draft);
  left->place_ = message.place_;
  left->recalled_ = true;
  return left;
}

MessagePtr::~MessagePtr() {
  if (message_ && message_->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    message_->~Message();
    std::free(message_);
  }
}

}  // namespace dunlin
