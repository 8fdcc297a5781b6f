#pragma once

#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "messaging/conversation/conversation_access.h"
#include "messaging/ports/device_states.h"
#include "messaging/ports/timelines.h"
#include "runtime/task.h"

namespace dunlin {

struct HistoryQuery {
  ConversationAccess access;
  std::optional<MessageSeq> before;  // the newest `limit` below it
  std::optional<MessageSeq> after;   // the oldest `limit` above it; neither: the newest of all
  std::size_t limit = 50;
  std::size_t max_bytes = 64 * 1024;
};

struct HistoryPage {
  std::vector<MessagePtr> messages;  // always ascending
  std::vector<SeqGap> gaps;          // ascending; with the messages they leave no hole
  bool more = false;                 // further ones in the direction of the question
};

struct ReadEffect {
  MessageSeq read_seq;       // what holds now
  bool beyond_head = false;  // there is no such seq: nothing was raised
};

// What a user reads of a conversation, and his read position. That he may is proved by who calls. A user's own conversation without
// messages is empty. Stateless; any worker.
class TimelineAccess {
 public:
  TimelineAccess(Timelines& timelines, DeviceStates& devices) : timelines_(timelines), devices_(devices) {}

  Task<Result<HistoryPage>> history(HistoryQuery query);
  // Raises the read position. Repeats and lower seqs change nothing and succeed.
  Task<Result<ReadEffect>> read(ConversationAccess access, MessageSeq seq);

 private:
  Timelines& timelines_;
  DeviceStates& devices_;
};

}  // namespace dunlin
