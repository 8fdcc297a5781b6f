#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/ids.h"
#include "base/protocol_terms.h"
#include "base/result.h"
#include "messaging/model/message.h"
#include "messaging/model/session_key.h"

namespace dunlin {

// Where the answer of an append goes. Opaque to the store: the dispatcher made it and reads it back.
struct ReplyAddress {
  std::uint64_t connection = 0;  // packed net ConnectionHandle (worker, slot, generation)
  std::uint64_t request = 0;     // index of the pending send in its session
};

struct AppendRequest {
  MessagePtr message;  // without place; the store sets it when it stores the message
  Durability durability = Durability::Fsync;
  SessionKey session;               // the session that sends: one send order
  std::optional<NumberedMsgId> id;  // when client_msg_id has the form <session>-<n>, of whichever session
  bool abandon = false;             // lift a retry_in_order refusal of this session and conversation, then store this
  ReplyAddress reply;
};

// How one append ended. Exactly one comes for every request that append() took.
struct AppendOutcome {
  ReplyAddress reply;
  // StoreUnavailable, Overloaded, RetryInOrder, ClientMsgIdConflict, TooLarge: nothing was stored, unless `unknown` is set.
  std::optional<ErrorCode> refused;
  // With StoreUnavailable: the store did not say in time whether it is stored. The same client_msg_id again is safe, and is what later
  // sends of that session and conversation wait for, as after a refusal.
  bool unknown = false;
  bool duplicate = false;  // stored before: seq and time are the original's, message is the refused repeat
  MessagePtr message;      // with its place when stored now
  MessageSeq seq;
  std::uint64_t time_ms = 0;
  Durability durability = Durability::Fsync;  // the level that holds now, at least the one asked for

  bool stored_now() const { return !refused && !duplicate; }
};

// A record as it is told: it and who has sent it.
struct ToldRecord {
  MessagePtr message;
  std::uint64_t sender = 0;  // connection on this node, 0: none of this node
};

// What one user is told of one conversation of his. With a range, the inbox has got the conversation's seqs first_seq..seq, the last of
// them at `at`; `records` are those of them that the batch has stored which told this, ascending, perhaps not all. Without one, somebody
// else has told the range, or is going to: the records fill it. Views are good during the call.
struct InboxNews {
  std::string_view user;
  std::span<const ToldRecord> records;
  bool has_range = true;
  InboxPosition at;
  // The user's position before the range. Nothing: the store has one order and tells everything here, so whoever hears it all knows.
  std::optional<InboxPosition> previous;
  MessageSeq first_seq;
  MessageSeq seq;
};

// Receives what a store has done, on threads of the store. Must not block.
//  - on_answers: for those who sent. Before on_records of the same records.
//  - on_records: for those whom it concerns. Each only when it is as durable as its answer says and reads already show it. Records of one
//    conversation come in seq order; nothing is promised across conversations, and several threads may call at once. What is told may get
//    lost on its way: InboxNews::previous shows it.
class StoreListener {
 public:
  virtual ~StoreListener() = default;
  virtual void on_answers(std::span<AppendOutcome> answers) = 0;
  virtual void on_records(std::span<const InboxNews> news) = 0;
  // Both at once, as stores of one order have them.
  virtual void on_commit(std::span<AppendOutcome> answers, std::span<const InboxNews> news) {
    on_answers(answers);
    on_records(news);
  }

  // The newest position that on_records() has named of the user since this listener began, or more. Nothing: nobody here listens for him.
  // For a store of one order, which keeps no count of users itself (Inboxes::quiet_through). Any thread.
  virtual std::optional<InboxPosition> told(std::string_view) const { return std::nullopt; }
};

}  // namespace dunlin
