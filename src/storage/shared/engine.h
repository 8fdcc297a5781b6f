#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "messaging/ports/inboxes.h"
#include "messaging/ports/timelines.h"
#include "runtime/task.h"

namespace dunlin::shared {

// Up to `seq` a record of the conversation concerns users in whose inboxes it may not be noted yet.
struct Due {
  ConversationId conversation;
  MessageSeq seq;
  // When it is done: the generation in which it was noted. Rows that have lost their end since make it due again.
  std::uint64_t generation = 0;
};
// Of a Due that is done and was to be noted in no inbox.
constexpr std::uint64_t kAnyGeneration = ~std::uint64_t{0};

struct Send {
  MessagePtr message;  // the engine reads it while the call lasts, and does not change it
  Durability durability = Durability::Fsync;
};

// A batch of sends to the conversations of one bucket, in their order.
struct Append {
  std::uint32_t bucket = 0;
  // Of the node's life, and ascending in it for each bucket. The same again: the engine answers what it has stored already.
  std::uint64_t node_epoch = 0;
  std::uint64_t number = 0;
  std::vector<Send> sends;
  std::vector<Due> noted;  // is due no more
};

// How one send of a batch ended.
struct Appended {
  enum class Kind : std::uint8_t { Stored, Duplicate, Conflict };
  Kind kind = Kind::Stored;
  MessagePlace place;                         // of a duplicate: the original's, of which seq and time count
  Durability durability = Durability::Fsync;  // that holds now, at least the one asked for
};

struct Note {
  UserId user;
  ConversationId conversation;
  MessageSeq seq;
};

// What a note has added to the user's inbox: first_seq .. the note's seq, the last at `newest`. Or nothing, when all of it was noted.
struct Noted {
  bool added = false;
  MessageSeq first_seq;
  InboxPosition previous;        // the user's position before
  InboxPosition newest;          // his position now
  std::uint64_t generation = 0;  // of the engine's rows: rises when some of them lose their end
};

// The call may have had its effect.
inline bool leaves_open(const Error& error) {
  return error.code() == ErrorCode::Timeout || error.code() == ErrorCode::Cancelled;
}

// What a store that several nodes write must be able to do: atomic steps on the rows of one bucket or one user, and reads. It knows no
// nodes, no sessions and no listener; what it makes of a send, and who is told, is SharedStore's.
//
// Errors: Timeout and Cancelled leave open whether a write has happened, and it may still happen later; every other error says that it has
// not, and will not. Overloaded: too much is due, or under way. Positions and seqs ascend by one, but for a user whose rows have lost their
// end: his next position is far above all that were ever given.
// Deadlines: every task ends within 10 s, with Timeout if need be. The engine sees to it, nobody else does: a bucket waits for its append.
// Thread: tasks from any thread. A task that was awaited on a worker resumes there; what was awaited elsewhere, on a thread of the engine.
class Engine {
 public:
  virtual ~Engine() = default;

  virtual Task<Result<std::vector<Appended>>> append(Append batch) = 0;
  // One step for each user, which fails or not by itself; answers in the order of the notes, as many. Several notes of one conversation may
  // be done in any order, and twice.
  virtual Task<std::vector<Result<Noted>>> note(std::vector<Note> notes) = 0;
  // Of a bucket, what has been due for that long, ascending from behind that conversation. A conversation is due since the first record
  // that is not cleared was stored: one that is always busy is not overdue for that.
  virtual Task<Result<std::vector<Due>>> due(std::uint32_t bucket, Milliseconds at_least, ConversationId after, std::size_t limit) = 0;
  // What is due up to the seqs of these is due no more; what is above them stays.
  virtual Task<Status> clear_due(std::uint32_t bucket, std::vector<Due> noted) = 0;

  virtual Epoch epoch() const = 0;
  virtual Task<Result<bool>> renew_epoch(Epoch ended) = 0;
  virtual Durability durability() const = 0;  // the strongest level it can give; at once

  // As the calls of Timelines and Inboxes with these names.
  virtual Task<Result<ConversationHead>> head(ConversationId conversation) = 0;
  virtual Task<Result<std::vector<RangePage>>> ranges(std::vector<RangeQuery> queries) = 0;
  virtual Task<Result<std::vector<TimelineEnd>>> ends(std::vector<ConversationId> conversations, std::size_t max_bytes) = 0;
  virtual Task<Status> recall(ConversationId conversation, MessageSeq seq) = 0;
  virtual Task<Result<InboxPosition>> newest(UserId user) = 0;
  virtual Task<Result<NewsPage>> news_since(NewsQuery query) = 0;
  virtual Task<Result<InboxPage>> newest_entries(UserId user, InboxPosition from, std::size_t limit) = 0;
  virtual Task<Result<std::vector<MessageSeq>>> seqs_at(std::vector<SeqQuery> queries) = 0;
  virtual Task<Result<ConversationsPage>> conversations(UserId user, ConversationId after, std::size_t limit) = 0;
  // What it knows without asking: a lower bound, 0 where it knows nothing. NewsPage.truncated says it to whoever reads.
  virtual InboxPosition trimmed_through(std::string_view user) const = 0;
  // No position of the user's above it was ever given, in this epoch.
  virtual Task<Result<InboxPosition>> highest_given(UserId user) = 0;
};

}  // namespace dunlin::shared
