#pragma once

#include <memory>
#include <string>
#include <variant>

#include "base/ids.h"
#include "messaging/delivery/session_registry.h"

namespace dunlin {

// How far `user` has got in a conversation; 0 = not told. Receivers keep the maximum, so order and loss do not matter.
struct ReceiptSignal {
  ConversationId conversation;
  UserId user;
  MessageSeq delivered_seq;
  MessageSeq read_seq;
};

struct TypingSignal {
  ConversationId conversation;
  UserId user;
  bool active = true;  // false: has stopped
};

// A transient message: never stored, no seq.
struct TransientSignal {
  ConversationId conversation;
  UserId user;
  std::string client_msg_id;
  std::string content_type;
  std::string body;
};

// One of the user's devices was forgotten.
struct ForgottenSignal {
  DeviceId device;
  std::string text;  // why, for people
};

// What is told to sessions beside messages: never stored, shed first, repaired (receipts) by sync.
using Signal = std::variant<ReceiptSignal, TypingSignal, TransientSignal, ForgottenSignal>;
using SignalPtr = std::shared_ptr<const Signal>;  // shared by the pushes to all sessions, on several workers

inline std::size_t footprint(const Signal& signal) {
  const auto* transient = std::get_if<TransientSignal>(&signal);
  const auto* forgotten = std::get_if<ForgottenSignal>(&signal);
  std::size_t text = forgotten != nullptr ? forgotten->text.size() : 0;
  if (transient != nullptr) text = transient->client_msg_id.size() + transient->content_type.size() + transient->body.size();
  return sizeof(Signal) + text;
}

struct SignalPush {
  ConnectionRef connection = 0;
  SignalPtr signal;
};

}  // namespace dunlin
