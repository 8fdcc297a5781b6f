#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/protocol_terms.h"
#include "base/result.h"
#include "messaging/model/epoch.h"
#include "messaging/model/message.h"
#include "messaging/model/session_key.h"
#include "runtime/task.h"

namespace dunlin {

// Where the answer of an append goes. Opaque to the store: the dispatcher made it and reads it back.
struct ReplyAddress {
  std::uint64_t connection = 0;  // packed net ConnectionHandle (worker, slot, generation)
  std::uint64_t request = 0;     // index of the pending send in its session
};

struct AppendRequest {
  MessagePtr message;  // without place; the store sets it when it stores the message
  Durability durability = Durability::Fsync;
  SessionKey session;               // the session that sends: one lane
  std::optional<NumberedMsgId> id;  // when client_msg_id has the form <session>-<n>, of whichever session
  bool abandon = false;             // lift a retry_in_order refusal of this session and conversation, then store this
  ReplyAddress reply;
};

// How one append ended. Exactly one comes for every request that append() took.
struct AppendOutcome {
  ReplyAddress reply;
  std::optional<ErrorCode> refused;  // StoreUnavailable, Overloaded, RetryInOrder, ClientMsgIdConflict; nothing was stored
  bool duplicate = false;            // stored before: seq and time are the original's, message is the refused repeat
  MessagePtr message;                // with its place when stored now
  MessageSeq seq;
  std::uint64_t time_ms = 0;
  Durability durability = Durability::Fsync;  // the level that holds now, at least the one asked for
};

// Receives outcomes on a thread of the store, one call at a time. Stored ones (neither refused nor duplicate) come in the order of their
// positions, over all conversations and calls, each only when it is as durable as it says and reads already show it. Must not block.
// `settled_through`: every stored record up to it has been handed to this listener (this call included).
class CommitListener {
 public:
  virtual ~CommitListener() = default;
  virtual void on_outcomes(std::span<AppendOutcome> outcomes, LogPosition settled_through) = 0;
};

struct ConversationHead {
  std::uint64_t number = 0;  // the store's internal key
  MessageSeq last_seq;       // 0: no message was ever stored
  LogPosition last_position;
  std::uint64_t first_user_count = 0;  // see MessagePlace
  MessageSeq first_readable{1};        // lower seqs were trimmed by retention; last_seq + 1 when all were
};

// Seqs that cannot be read. Delivered to clients as `gap`.
struct SeqGap {
  MessageSeq from;
  MessageSeq to;
  GapReason reason = GapReason::Truncated;
};

struct RangeQuery {
  ConversationId conversation;
  MessageSeq from;  // inclusive
  MessageSeq to;    // inclusive; beyond the head is allowed and means the head
  std::size_t max_messages = 100;
  std::size_t max_bytes = 64 * 1024;  // of footprint; at least one message is returned all the same
  bool newest_first = false;          // start at `to` and go down
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

struct PlaceQuery {
  ConversationId conversation;
  LogPosition position;
};

// "This conversation of the user has something from here to there": coalesced, so one entry may stand for many messages, and entries of
// different conversations may interleave.
struct ActivityEntry {
  ConversationId conversation;
  MessageSeq first_seq;  // the entry stands for first_seq..last_seq
  MessageSeq last_seq;
  LogPosition first_position;
  LogPosition last_position;
};

struct ActivityPage {
  std::vector<ActivityEntry> entries;
  bool more = false;
  // Ascending: each record of the user's in (after, scanned_to] belongs to an entry of this page, and the next page is asked from here. An
  // entry may also stand for records at or below `after` and above scanned_to; the latter belong to an entry of a later page too. Above
  // `after` when there is `more`; without it at least the newest record that was readable when the read began.
  // Nothing else may be asked from in the middle of a page: what is coalesced how may change between two reads.
  LogPosition scanned_to;
  bool truncated = false;  // ascending: part of the asked span was trimmed; see trimmed_through()
};

// What is new for a user, with its messages as far as one page reaches.
struct NewsQuery {
  UserId user;
  LogPosition after;  // as in activity_since(); what an entry has at or below it is left out of its range
  std::size_t max_entries = 64;
  std::size_t max_messages = 100;     // of all ranges together
  std::size_t max_bytes = 64 * 1024;  // of their footprint; at least one message is returned all the same
};

struct NewsRange {
  MessageSeq from;  // the entry's first_seq, or the first behind `after` where the entry begins at or below that
  RangePage page;   // what range() gives from there up to the entry's last_seq
};

struct NewsPage {
  ActivityPage activity;
  // Of the first entries, in their order. It may end anywhere, at the limits or for want of a row: what is missing is asked with range().
  std::vector<NewsRange> ranges;
};

struct ConversationsPage {
  std::vector<ConversationId> conversations;  // in the store's own order
  bool more = false;
};

struct FeedPage {
  std::vector<MessagePtr> messages;  // in position order
  LogPosition next;                  // ask on from here
  bool reset = false;                // `after` is older than what the feed still has
};

// A named reader of the feed whose position is durable: search, outbox, push.
struct Follower {
  std::string name;
  LogPosition position;  // it has everything up to here
  bool reset = false;    // the log was no longer kept for it: what is behind its position must be made anew from elsewhere
};
inline constexpr std::size_t kMaxFollowers = 16;
inline constexpr std::size_t kMaxFollowerName = 32;  // of a-z, 0-9 and '-'

// One opening of the store, as sync_tokens tell it apart from others.
struct StoreRun {
  std::uint64_t id = 0;  // below 2^48, not 0, random; 0: this store has no such thing
  LogPosition began_at;  // of the newest record that it found; positions that an earlier run has told are at or below it
};

struct StoreHealth {
  bool writable = true;
  bool readable = true;
  std::string reason;  // for operators, when either is false
};

// The timeline of every conversation: the only copy of every message.
//
// Promises (each adapter runs messaging/ports/testing/message_store_suite.h):
//  - Store first: an outcome without `refused` is durable at its level; seqs are dense per conversation and never given twice in
//    an epoch, whatever fails.
//  - Idempotent: (conversation, sender, client_msg_id) is stored once within 24 h; a repeat gets the original seq and time,
//    `duplicate`; a repeat with another content_type or body gets ClientMsgIdConflict.
//  - Order: requests of one session to one conversation commit in the order of append() calls. After a temporary refusal of one
//    (StoreUnavailable, Overloaded), later ones of that session and conversation are refused RetryInOrder until that
//    client_msg_id comes again or one comes with `abandon`.
//  - Reads, duplicates' answers, activity and settled_through show only what is durable at the message's level, and they see
//    everything that an outcome has told (read-your-writes), from before the listener is called with it.
//  - Recalled: what recall() has taken away no read gives any more, by whichever way; order, counts, cursors and dedup stay what they were.
//  - Bounded: what waits to be committed is bounded in bytes; beyond it append() refuses with Overloaded through the listener.
// Thread: append(), the two *_in_memory calls and the plain getters from any thread, never blocking; tasks from a worker, resuming on it.
class MessageStore {
 public:
  virtual ~MessageStore() = default;

  virtual Epoch epoch() const = 0;
  virtual StoreRun run() const = 0;
  // Something that only this store can have made proves that it was put back to an earlier state, or has lost its end: what `ended` stood
  // for means nothing from now on. When the task has ended, epoch() is another, durably, and followers are marked reset. True: this call
  // has done it. False: `ended` was over already. What fails has changed nothing.
  virtual Task<Result<bool>> renew_epoch(Epoch ended) = 0;
  virtual Durability durability() const = 0;                // the strongest level it can give
  virtual void set_listener(CommitListener* listener) = 0;  // once, before the first append

  // Before the session's first append; one that never sends needs neither call. end_session() completes when every append of that session
  // taken before is settled.
  virtual void begin_session(SessionKey session) = 0;
  virtual Task<void> end_session(SessionKey session) = 0;

  // Takes the requests (moves from them). Every one is answered through the listener.
  virtual void append(std::span<AppendRequest> requests) = 0;

  // Highest position for which every record up to it is durable and was handed to the listener. It is raised after the listener has
  // returned: who reads it first and then finds no trace of a record up to it knows that the listener has not passed one on.
  virtual LogPosition settled_position() const = 0;
  // Of the newest record that any read has shown: at or above the settled position, and at or above every position that anybody was told.
  virtual LogPosition newest_position() const = 0;
  // Everything at or below this position may have been trimmed by retention.
  virtual LogPosition trimmed_through() const = 0;

  virtual Task<Result<ConversationHead>> head(ConversationId conversation) = 0;
  virtual Task<Result<RangePage>> range(RangeQuery query) = 0;
  // The answer when memory alone can give it, without a wait.
  virtual std::optional<RangePage> range_in_memory(const RangeQuery& query) = 0;
  // Highest seq of the conversation whose position is at or below `position` (0 if none). Where retention has trimmed, a lower bound (0 at
  // worst): exact only from the position of the record before the first readable one.
  virtual Task<Result<MessageSeq>> seq_at(ConversationId conversation, LogPosition position) = 0;

  // The same for several at once, answers in the order of the questions: a list of conversations asks these, a page at a time.
  // Of the first conversations only, as far as `max_bytes` of last messages reach; at least one.
  virtual Task<Result<std::vector<TimelineEnd>>> ends(std::vector<ConversationId> conversations, std::size_t max_bytes) = 0;
  virtual Task<Result<std::vector<RangePage>>> ranges(std::vector<RangeQuery> queries) = 0;
  virtual Task<Result<std::vector<MessageSeq>>> seqs_at(std::vector<PlaceQuery> queries) = 0;

  // The user's conversations that have something newer than `after`, ascending by where that begins: see ActivityPage. At most `limit`
  // entries, unless more than that many reach over `after`.
  virtual Task<Result<ActivityPage>> activity_since(UserId user, LogPosition after, std::size_t limit) = 0;
  // The same with the messages that the entries stand for, in one read: what a device that comes back needs.
  virtual Task<Result<NewsPage>> news_since(NewsQuery query) = 0;
  // Newest entries first by last_position, at or below `from`; the caller skips conversations it has seen. An entry that reaches across
  // `from` is not among them: activity_since(from) gives it, as one that does, now and later.
  virtual Task<Result<ActivityPage>> activity_newest(UserId user, LogPosition from, std::size_t limit) = 0;
  // False: nothing of the user's is newer than `after`. Nothing: memory alone cannot tell.
  virtual std::optional<bool> active_since_in_memory(std::string_view user, LogPosition after) = 0;
  // Every conversation the user was ever part of, trimmed ones included; `after` = last one of the page before, empty at first.
  virtual Task<Result<ConversationsPage>> conversations(UserId user, ConversationId after, std::size_t limit) = 0;

  // Takes the content of a stored message away. Once the task has ended each read shows a gap NotVisible in its place and the feed leaves
  // it out, also after a crash; its bytes leave the store's files later. Fine for one that is recalled, trimmed or lost already. NotFound:
  // the conversation has no such seq. Overloaded: too many wait to leave the files.
  virtual Task<Status> recall(ConversationId conversation, MessageSeq seq) = 0;

  // Records after a position in log order, for followers. The end is where `next` does not move on.
  virtual Task<Result<FeedPage>> feed(LogPosition after, std::size_t max_messages) = 0;

  // Followers. The feed keeps what a registered one has not passed, up to a bound; one that is further behind is marked `reset`, durably,
  // and begins anew by unregistering. Each change is durable when the task ends: move on once for many records.
  // Gives the follower as it stands; one that is new begins behind `from`. BadRequest: not a name, or `from` is beyond
  // settled_position(); Overloaded: there are kMaxFollowers.
  virtual Task<Result<Follower>> register_follower(std::string name, LogPosition from) = 0;
  // Forwards only, at most to settled_position(): else BadRequest. WrongState: it is marked reset. NotFound: no such follower.
  virtual Task<Status> advance_follower(std::string name, LogPosition position) = 0;
  virtual Task<Status> unregister_follower(std::string name) = 0;  // NotFound
  virtual std::vector<Follower> followers() const = 0;             // by name

  virtual StoreHealth health() const = 0;
};

}  // namespace dunlin
