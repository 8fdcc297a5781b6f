#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>

#include "messaging/delivery/dispatcher.h"

namespace dunlin {

// Gathers what users have received and read, and tells it to the peer once an interval: a thousand acks become one receipt.
// Owner: the worker; single-threaded. Bound: kMaxDirty conversations, then it tells at once. What gets lost is repaired by sync.
class Receipts {
 public:
  static constexpr std::size_t kMaxDirty = 4096;

  explicit Receipts(Dispatcher& dispatcher) : dispatcher_(dispatcher) {}

  // A device of `user` has acked up to `seq`. Told to the peer of a private conversation, not for one with oneself.
  void delivered(std::string_view conversation, std::string_view user, MessageSeq seq);
  // `user` has read up to `seq` on `connection`: told to the peer and to the user's other devices.
  void read(std::string_view conversation, std::string_view user, MessageSeq seq, ConnectionRef connection);
  // Every receipt interval.
  void flush();

  std::size_t dirty() const { return dirty_.size(); }

 private:
  struct Dirty {
    std::string user;
    MessageSeq delivered;
    MessageSeq read;
    ConnectionRef reader = 0;
  };
  Dirty& entry(std::string_view conversation, std::string_view user);

  Dispatcher& dispatcher_;
  std::unordered_map<std::string, Dirty> dirty_;  // by user and conversation
};

}  // namespace dunlin
