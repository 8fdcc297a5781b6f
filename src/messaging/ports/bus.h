#pragma once

#include <optional>
#include <vector>

#include "base/ids.h"
#include "messaging/model/message.h"
#include "messaging/ports/session_directory.h"

namespace dunlin {

// What one node tells another: see InboxNews, of which this is the part that travels.
struct BusNews {
  UserId user;
  std::vector<MessagePtr> records;
  bool has_range = true;
  InboxPosition at;
  InboxPosition previous;
  MessageSeq first_seq;
  MessageSeq seq;
};

class BusReceiver {
 public:
  virtual ~BusReceiver() = default;
  virtual void receive(std::vector<BusNews> news) = 0;  // any thread
};

// From node to node, best effort: an entry may get lost, come twice, or before one that was sent earlier. What it says can always be read
// from the store instead. Any thread; never blocks.
class Bus {
 public:
  virtual ~Bus() = default;
  virtual void send(const NodeId& to, std::vector<BusNews> news) = 0;
};

}  // namespace dunlin
