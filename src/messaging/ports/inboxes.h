#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "messaging/ports/timelines.h"
#include "runtime/task.h"

namespace dunlin {

// "This conversation of the user has something from here to there": coalesced, so one entry may stand for many messages, and entries of
// different conversations may interleave.
struct InboxEntry {
  ConversationId conversation;
  MessageSeq first_seq;  // the entry stands for first_seq..last_seq
  MessageSeq last_seq;
  InboxPosition first_position;
  InboxPosition last_position;
};

struct InboxPage {
  std::vector<InboxEntry> entries;
  bool more = false;
  // Ascending: each record of the user's in (after, scanned_to] belongs to an entry of this page, and the next page is asked from here. An
  // entry may also stand for records at or below `after` and above scanned_to; the latter belong to an entry of a later page too. Above
  // `after` when there is `more`; without it at least the newest record that was readable when the read began.
  // Nothing else may be asked from in the middle of a page: what is coalesced how may change between two reads.
  InboxPosition scanned_to;
  bool truncated = false;  // ascending: part of the asked span was trimmed; see trimmed_through()
};

// What is new for a user, with its messages as far as one page reaches.
struct NewsQuery {
  UserId user;
  InboxPosition after;
  std::size_t max_entries = 64;  // unless more than that many reach over `after`
  // Of all ranges together; 0: the entries alone.
  std::size_t max_messages = 100;
  std::size_t max_bytes = 64 * 1024;  // of their footprint; at least one message is returned all the same
};

struct NewsRange {
  MessageSeq from;  // the entry's first_seq, or the first behind `after` where the entry begins at or below that
  // From there up to the entry's last_seq, but nothing above the page's scanned_to.
  RangePage page;
};

struct NewsPage {
  InboxPage inbox;
  // Of the first entries, in their order. It may end anywhere, at the limits or for want of a row: what is missing is asked with range().
  std::vector<NewsRange> ranges;
};

struct SeqQuery {
  UserId user;
  ConversationId conversation;
  InboxPosition position;
};

struct ConversationsPage {
  std::vector<ConversationId> conversations;  // in the store's own order
  bool more = false;
};

// Where a user's inbox ends now.
struct InboxEnd {
  InboxPosition newest;  // every record of the user's that was told is at or below it; in stores of one order, that was answered too
  // What a conversation list that is begun now may claim to know: a read position that rises without being seen in it is found by
  // DeviceStates::read_changes_since() from here.
  InboxPosition listed;
};

// In which order records of a user's conversations concern him. Positions ascend, one or more for each record; they mean something for that
// user alone, within the store's epoch. (The embedded store's are those of its log; stores with many writers count for each user.)
//
// Promises (each adapter runs messaging/ports/testing/store_suite.h):
//  - Complete: everything that is told (StoreListener::on_records) is found above the position that was told before it, from before it is
//    told: who listens first and reads then misses nothing.
//  - In order: of one conversation the order of positions is that of seqs.
//  - Told last: quiet_through() passes nothing that on_records() is still telling.
// Thread: quiet_through(), trimmed_through() and run() from any thread, never blocking; tasks from a worker, resuming on it.
class Inboxes {
 public:
  virtual ~Inboxes() = default;

  virtual Task<Result<InboxEnd>> newest(UserId user) = 0;
  // The user's conversations that have something newer than `after`, ascending by where that begins, and their messages, in one read.
  virtual Task<Result<NewsPage>> news_since(NewsQuery query) = 0;
  // Newest entries first by last_position, at or below `from`; the caller skips conversations it has seen. An entry that reaches across
  // `from` is not among them: news_since(from) gives it, as one that does, now and later.
  virtual Task<Result<InboxPage>> newest_entries(UserId user, InboxPosition from, std::size_t limit) = 0;
  // For each: the highest seq of the conversation whose position is at or below that (0 if none), in one read, in their order. Where
  // retention has trimmed, a lower bound (0 at worst): exact only from the position of the record before the first readable one.
  virtual Task<Result<std::vector<MessageSeq>>> seqs_at(std::vector<SeqQuery> queries) = 0;
  // Every conversation the user was ever part of, trimmed ones included; `after` = last one of the page before, empty at first.
  virtual Task<Result<ConversationsPage>> conversations(UserId user, ConversationId after, std::size_t limit) = 0;

  // From memory alone: nothing of the user's lies above `after` up to this position (at least `after`), and all that he is told later lies
  // above it. Nothing: something does, or memory cannot tell; news_since() says which.
  virtual std::optional<InboxPosition> quiet_through(std::string_view user, InboxPosition after) = 0;
  // From memory: everything of the user's at or below it may have been trimmed by retention.
  virtual InboxPosition trimmed_through(std::string_view user) const = 0;

  // One opening of the store, below 2^48, random, as sync_tokens tell it apart from others; 0: this store has no such thing.
  virtual std::uint64_t run() const = 0;
  // This store, in this epoch, has never named such a position of the user's, when `run` (0: not known) was going on or before: a genuine
  // one proves that the store was put back to an earlier state.
  virtual Task<Result<bool>> never_named(UserId user, InboxPosition position, std::uint64_t run) = 0;

  // seqs_at() of one.
  Task<Result<MessageSeq>> seq_at(UserId user, ConversationId conversation, InboxPosition position) {
    std::vector<SeqQuery> one;
    one.push_back({std::move(user), std::move(conversation), position});
    CO_TRY_ASSIGN(const std::vector<MessageSeq> seqs, co_await seqs_at(std::move(one)));
    if (seqs.size() != 1) co_return Error(ErrorCode::Internal, "one seq was asked for");
    co_return seqs.front();
  }
};

}  // namespace dunlin
