#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/ids.h"

namespace dunlin {

class MessagePtr;

// What the sender gives. Views are copied by Message::create.
struct MessageDraft {
  std::string_view conversation;
  std::string_view sender;
  std::string_view client_msg_id;
  std::string_view content_type;  // empty = application/json
  std::string_view body;          // JSON text (verbatim, one line) when content_type is empty, else any bytes
  MonotonicTime accepted{};       // when the send was decoded, for the send→deliver histogram; not stored
};

// What the store gives: the message's place. Set once by the committer, before the message is shared.
struct MessagePlace {
  MessageSeq seq;  // in the conversation, dense from 1
  // In the log of this epoch, and of the conversation's record before this one (0 for the first): of a store that has one log, for itself
  // and its feed. Where a message stands for a user says his inbox (messaging/ports/inboxes.h), not the message.
  LogPosition position;
  LogPosition previous;
  std::uint64_t time_ms = 0;              // wall clock at commit, for display
  std::uint64_t conversation_number = 0;  // the store's internal key of the conversation
  // How many of the conversation's messages up to and including this one were sent by its first user (PrivatePair::first):
  // unread = (head - read) - (own at head - own at read) needs two rows, not a scan.
  std::uint64_t first_user_count = 0;
};

// One message on its way through the server: made by the sender's worker, given its place by the committer, then immutable and
// shared by window, hints and readers on any thread. One allocation holds header and strings (about 80 bytes + the text).
class Message {
 public:
  static MessagePtr create(const MessageDraft& draft);
  // Without a place.
  static MessagePtr copy(const Message& message);
  // What is left of a message whose content was recalled: its place and who sent it, without content type and body.
  static MessagePtr recalled(const Message& message);

  std::string_view conversation() const { return {text(), conversation_size_}; }
  std::string_view sender() const { return {text() + conversation_size_, sender_size_}; }
  std::string_view client_msg_id() const { return {text() + conversation_size_ + sender_size_, client_msg_id_size_}; }
  std::string_view content_type() const { return {text() + conversation_size_ + sender_size_ + client_msg_id_size_, content_type_size_}; }
  std::string_view body() const {
    return {text() + conversation_size_ + sender_size_ + client_msg_id_size_ + content_type_size_, body_size_};
  }

  // Its content was taken out of the store: readers get a gap (`not_visible`) in its place.
  bool is_recalled() const { return recalled_; }

  const MessagePlace& place() const { return place_; }
  MessageSeq seq() const { return place_.seq; }

  // By the store only, before any other thread can see this message.
  void set_place(const MessagePlace& place) { place_ = place; }

  // Zero for messages read back from the store.
  MonotonicTime accepted() const { return accepted_; }

  // Bytes that this message occupies in memory, for the bounds of whoever holds it.
  std::size_t footprint() const {
    return sizeof(Message) + conversation_size_ + sender_size_ + client_msg_id_size_ + content_type_size_ + body_size_;
  }

 private:
  friend class MessagePtr;
  Message() = default;
  const char* text() const { return reinterpret_cast<const char*>(this + 1); }

  mutable std::atomic<std::uint32_t> references_{1};
  std::uint32_t body_size_ = 0;
  MonotonicTime accepted_{};
  MessagePlace place_;
  std::uint16_t conversation_size_ = 0;
  std::uint16_t content_type_size_ = 0;
  std::uint8_t sender_size_ = 0;
  std::uint8_t client_msg_id_size_ = 0;
  bool recalled_ = false;
};

// Shared ownership of a Message: one word, one atomic count.
class MessagePtr {
 public:
  MessagePtr() = default;
  explicit MessagePtr(Message* adopted) : message_(adopted) {}
  MessagePtr(const MessagePtr& other) : message_(other.message_) {
    if (message_) message_->references_.fetch_add(1, std::memory_order_relaxed);
  }
  MessagePtr(MessagePtr&& other) noexcept : message_(std::exchange(other.message_, nullptr)) {}
  MessagePtr& operator=(MessagePtr other) noexcept {
    std::swap(message_, other.message_);
    return *this;
  }
  ~MessagePtr();

  Message* operator->() const { return message_; }
  Message& operator*() const { return *message_; }
  Message* get() const { return message_; }
  explicit operator bool() const { return message_ != nullptr; }

 private:
  Message* message_ = nullptr;
};

}  // namespace dunlin
