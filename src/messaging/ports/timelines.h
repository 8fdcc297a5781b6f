#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/protocol_terms.h"
#include "base/result.h"
#include "messaging/model/epoch.h"
#include "messaging/model/message.h"
#include "messaging/model/session_key.h"
#include "messaging/ports/outcomes.h"
#include "runtime/task.h"

namespace dunlin {

struct ConversationHead {
  std::uint64_t number = 0;            // the store's internal key
  MessageSeq last_seq;                 // 0: no message was ever stored
  LogPosition last_position;           // of a store with a log, for itself; means nothing to others
  std::uint64_t first_user_count = 0;  // see MessagePlace
  MessageSeq first_readable{1};        // lower seqs were trimmed by retention; last_seq + 1 when all were
};

// Seqs that cannot be read. Delivered to clients as `gap`.
struct SeqGap {
  MessageSeq from;
  MessageSeq to;
  GapReason reason = GapReason::Truncated;
};

// A place in one user's inbox.
struct InboxPlace {
  UserId user;
  InboxPosition position;
};

struct RangeQuery {
  ConversationId conversation;
  MessageSeq from;  // inclusive
  MessageSeq to;    // inclusive; beyond the head is allowed and means the head
  std::size_t max_messages = 100;
  std::size_t max_bytes = 64 * 1024;  // of footprint; at least one message is returned all the same
  bool newest_first = false;          // start at `to` and go down
  // Ascending only: the page ends before the first message that lies above it. Where a gap lies is not known: one may reach above.
  std::optional<InboxPlace> within = {};
};

// Messages and gaps together cover the asked interval without a hole, from the side where the read began up to where it was cut. Both stand
// in the asked direction. A page may hold gaps alone and still be cut.
struct RangePage {
  ConversationHead head;
  std::vector<MessagePtr> messages;  // in the asked direction
  std::vector<SeqGap> gaps;
  bool more = false;  // cut by a limit: ask on from behind the last seq that messages and gaps cover
};

// Where a conversation stands.
struct TimelineEnd {
  ConversationHead head;
  MessagePtr last;  // null when there is none that can be read at last_seq
};

struct StoreHealth {
  bool writable = true;
  bool readable = true;
  std::string reason;  // for operators, when either is false
};

// The timeline of every conversation: the only copy of every message.
//
// Promises (each adapter runs messaging/ports/testing/store_suite.h):
//  - Store first: an outcome without `refused` is durable at its level; seqs are dense per conversation and never given twice in
//    an epoch, whatever fails.
//  - Idempotent: (conversation, sender, client_msg_id) is stored once within 24 h; a repeat gets the original seq and time,
//    `duplicate`; a repeat with another content_type or body gets ClientMsgIdConflict.
//  - Order: requests of one session to one conversation commit in the order of append() calls. After a temporary refusal of one
//    (StoreUnavailable, Overloaded, or not known), later ones of that session and conversation are refused RetryInOrder until that
//    client_msg_id comes again or one comes with `abandon`.
//  - Reads, duplicates' answers and inboxes show only what is durable at the message's level, and they see everything that an answer has
//    told (read-your-writes), from before the listener is called with it.
//  - Recalled: what recall() has taken away no read gives any more, by whichever way; order, counts, cursors and dedup stay what they were.
//  - Bounded: what waits to be committed is bounded in bytes; beyond it append() refuses with Overloaded through the listener.
// Thread: append(), range_in_memory() and the plain getters from any thread, never blocking; tasks from a worker, resuming on it.
class Timelines {
 public:
  virtual ~Timelines() = default;

  virtual Epoch epoch() const = 0;
  // Something that only this store can have made proves that it was put back to an earlier state, or has lost its end: what `ended` stood
  // for means nothing from now on. When the task has ended, epoch() is another, durably, and followers are marked reset. True: this call
  // has done it. False: `ended` was over already. What fails has changed nothing.
  virtual Task<Result<bool>> renew_epoch(Epoch ended) = 0;
  virtual Durability durability() const = 0;               // the strongest level it can give
  virtual void set_listener(StoreListener* listener) = 0;  // once, before the first append

  // Before the session's first append; one that never sends needs neither call. end_session() completes when every append of that session
  // taken before is settled.
  virtual void begin_session(SessionKey session) = 0;
  virtual Task<void> end_session(SessionKey session) = 0;

  // Takes the requests (moves from them). Every one is answered through the listener.
  virtual void append(std::span<AppendRequest> requests) = 0;

  virtual Task<Result<ConversationHead>> head(ConversationId conversation) = 0;
  // All in one read, answers in the order of the questions. `within` of a query is of a user of its conversation.
  virtual Task<Result<std::vector<RangePage>>> ranges(std::vector<RangeQuery> queries) = 0;
  // The answer when memory alone can give it, without a wait.
  virtual std::optional<RangePage> range_in_memory(const RangeQuery& query) = 0;
  // Of the first conversations only, as far as `max_bytes` of last messages reach; at least one.
  virtual Task<Result<std::vector<TimelineEnd>>> ends(std::vector<ConversationId> conversations, std::size_t max_bytes) = 0;

  // Takes the content of a stored message away. Once the task has ended each read shows a gap NotVisible in its place and the feed leaves
  // it out, also after a crash; its bytes leave the store's files later. Fine for one that is recalled, trimmed or lost already. NotFound:
  // the conversation has no such seq. Overloaded: too many wait to leave the files.
  virtual Task<Status> recall(ConversationId conversation, MessageSeq seq) = 0;

  virtual StoreHealth health() const = 0;

  // ranges() of one.
  Task<Result<RangePage>> range(RangeQuery query) {
    std::vector<RangeQuery> one;
    one.push_back(std::move(query));
    CO_TRY_ASSIGN(std::vector<RangePage> pages, co_await ranges(std::move(one)));
    if (pages.size() != 1) co_return Error(ErrorCode::Internal, "one range was asked for");
    co_return std::move(pages.front());
  }
};

}  // namespace dunlin
