#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "messaging/ports/bus.h"
#include "messaging/ports/inboxes.h"
#include "messaging/ports/session_directory.h"
#include "messaging/ports/timelines.h"
#include "storage/shared/engine.h"

namespace dunlin::shared {

struct SharedOptions {
  NodeId node;
  std::uint64_t node_epoch = 0;  // random, of this life of the node
  std::uint32_t buckets = 1024;  // of conversations; the same on all nodes
  std::size_t max_batch = 512;
  std::size_t max_batch_bytes = 4 << 20;  // or one send
  // Of sends that wait, are on their way, or are stored and not told yet; beyond it Overloaded.
  std::size_t max_held_bytes = 64 << 20;
  std::size_t max_unnoted = 10'000;  // records of a bucket that are stored and not told yet; beyond it Overloaded
  // Of an append whose fate the engine leaves open: then its senders are told that it is not known. It is tried on all the same.
  int unknown_after = 3;
  int note_attempts = 8;  // then it is left to redo()
  Milliseconds clear_after{1'000};
  Milliseconds redo_after{5'000};
};

// The part of a shared store that is the same for every engine: a node's sends become batches of buckets, and what is stored is noted in
// inboxes and told to nodes.
//
//   append ─► bucket: send order, one batch at a time ─► engine.append ─► on_answers
//                                                              ▼
//             bucket: one note at a time ─► engine.note ─► directory ─► on_records here, bus to the others ─► due no more
//
// Invariants:
//  1. A bucket has one append under way; after one whose fate is open the same batch goes again before any other, until the engine says
//     how it ended. So batches of a node do not overtake each other, and nothing is stored twice.
//  2. What an append has stored is due in the engine, in the same step, until it is noted in every inbox concerned and those who have
//     sessions were told. If this node does not get there, another one's redo() does.
//  3. Notes and tells of a bucket follow each other: a node tells its own records of a conversation in seq order. Other nodes' come
//     between.
//
// Pauses between attempts double, from 10 ms to 1 s; they end in tick(). While a bucket's batch is open and its senders were told so, what
// else is sent to the bucket is refused at once.
//
// Owner: the composition root: end() (or the destructor), then the listener may go; engine, directory and bus when the threads have stopped
// on which they resume. What is under way then ends without touching this object (Core). Threads: any, several at once; one mutex a bucket,
// one for sessions, one for what ends: leaves, not held over calls.
class SharedStore : public Timelines, public Inboxes, public BusReceiver {
 public:
  SharedStore(SharedOptions options, Engine& engine, SessionDirectory& directory, Bus& bus, const Clock& clock);
  ~SharedStore() override { end(); }
  // When it returns nobody is told anything any more, and nobody waits for a session's end. What is under way ends at its next step; what
  // is sent from then on is not stored. Not from within the listener, for whose calls it waits.
  void end();

  Epoch epoch() const override;
  Task<Result<bool>> renew_epoch(Epoch ended) override;
  Durability durability() const override;
  void set_listener(StoreListener* listener) override;
  void begin_session(SessionKey session) override;
  Task<void> end_session(SessionKey session) override;
  void append(std::span<AppendRequest> requests) override;
  Task<Result<ConversationHead>> head(ConversationId conversation) override;
  Task<Result<std::vector<RangePage>>> ranges(std::vector<RangeQuery> queries) override;
  std::optional<RangePage> range_in_memory(const RangeQuery&) override { return std::nullopt; }
  Task<Result<std::vector<TimelineEnd>>> ends(std::vector<ConversationId> conversations, std::size_t max_bytes) override;
  Task<Status> recall(ConversationId conversation, MessageSeq seq) override;
  StoreHealth health() const override;

  Task<Result<InboxEnd>> newest(UserId user) override;
  Task<Result<NewsPage>> news_since(NewsQuery query) override;
  Task<Result<InboxPage>> newest_entries(UserId user, InboxPosition from, std::size_t limit) override;
  Task<Result<std::vector<MessageSeq>>> seqs_at(std::vector<SeqQuery> queries) override;
  Task<Result<ConversationsPage>> conversations(UserId user, ConversationId after, std::size_t limit) override;
  // A node does not know what others write: only the engine can tell.
  std::optional<InboxPosition> quiet_through(std::string_view, InboxPosition) override { return std::nullopt; }
  InboxPosition trimmed_through(std::string_view user) const override;
  std::uint64_t run() const override { return 0; }
  Task<Result<bool>> never_named(UserId user, InboxPosition position, std::uint64_t run) override;

  void receive(std::vector<BusNews> news) override;

  // About every 100 ms: ends the pauses that are over, and clears what has waited for the next append for too long.
  void tick();
  // Notes and tells again what has been due for too long in the buckets from..to-1, whoever was to do it. A bucket that fails does not keep
  // the others; it is left alone for a pause that doubles, from 1 s to 60 s. The first error. One pass at a time.
  Task<Status> redo(std::uint32_t from, std::uint32_t to);

 private:
  struct Core;
  struct Bucket;
  static Task<void> append_loop(std::shared_ptr<Core> core, std::uint32_t bucket);
  static Task<void> note_loop(std::shared_ptr<Core> core, std::uint32_t bucket);
  struct Telling;
  static Task<Status> tell(std::shared_ptr<Core> core, std::vector<Telling> tellings);
  static Task<Status> redo_bucket(std::shared_ptr<Core> core, std::uint32_t bucket);

  const std::shared_ptr<Core> core_;
};

}  // namespace dunlin::shared
