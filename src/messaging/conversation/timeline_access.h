#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "messaging/ports/device_states.h"
#include "messaging/ports/timelines.h"
#include "runtime/task.h"

namespace dunlin {

struct HistoryQuery {
  UserId user;
  ConversationId conversation;
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
  MessageSeq read_seq;  // what holds now
  UserId peer;
  bool beyond_head = false;  // there is no such seq: nothing was raised
};

// What a user may read of a conversation, and his read position. Stateless; any worker.
// Who may: the two users of a private conversation. Whether it exists is never told to others: an id that names other users is
// Forbidden and one that names nobody NotFound, both from its text alone. A user's own conversation without messages is empty.
class TimelineAccess {
 public:
  TimelineAccess(Timelines& timelines, DeviceStates& devices) : timelines_(timelines), devices_(devices) {}

  // The one authorisation rule of private conversations.
  static Status authorise(std::string_view user, std::string_view conversation);

  Task<Result<HistoryPage>> history(HistoryQuery query);
  // Raises the read position. Repeats and lower seqs change nothing and succeed.
  Task<Result<ReadEffect>> read(UserId user, ConversationId conversation, MessageSeq seq);

 private:
  Timelines& timelines_;
  DeviceStates& devices_;
};

}  // namespace dunlin
