#pragma once

#include <atomic>
#include <optional>

#include "storage/embedded/history/history.h"
#include "storage/embedded/log/conversations.h"
#include "storage/embedded/log/intake.h"
#include "storage/embedded/log/kept_log.h"
#include "storage/embedded/log/window.h"
#include "storage/embedded/recalls.h"

namespace dunlin::embedded {

// Answers reads from window and history together. Each pins the window, then fixes what it sees of history, then asks both: what history
// lacked by then stays in the window until the read ends, so nothing falls between. What was recalled is hidden last, whichever copy was
// met: each public call that gives messages holds a Recalls::Reading. The *_in_memory calls never block; the others read disk (offload pool
// only).
class TimelineReader {
 public:
  TimelineReader(Conversations& conversations, Window& window, History& history, Intake& intake, KeptLog& kept, Recalls& recalls)
      : conversations_(conversations), window_(window), history_(history), intake_(intake), kept_(kept), recalls_(recalls) {}

  // One view of it all, with one set of iterators, for a read of several things: each call below that takes one is answered as of it or
  // newer. Its parts stand in the order that makes it whole.
  struct Look {
    explicit Look(TimelineReader& reader) : reading(reader.recalls_), pin(reader.window_.pin()), history(reader.history_.begin_read()) {}
    const Recalls::Reading reading;
    const Window::Pin pin;
    const std::unique_ptr<HistoryRead> history;
  };

  std::optional<ConversationHead> head_in_memory(const ConversationId& conversation);
  Result<ConversationHead> head(const ConversationId& conversation);
  Result<ConversationHead> head(Look& look, const ConversationId& conversation);

  std::optional<RangePage> range_in_memory(const RangeQuery& query);
  Result<RangePage> range(const RangeQuery& query);
  Result<RangePage> range(Look& look, const RangeQuery& query);
  // Where a message that has content stands; nothing when it has none any more.
  Result<std::optional<MessagePlace>> place_of(const ConversationId& conversation, MessageSeq seq);

  std::optional<MessageSeq> seq_at_in_memory(const ConversationId& conversation, LogPosition position);
  Result<MessageSeq> seq_at(const ConversationId& conversation, LogPosition position);
  Result<MessageSeq> seq_at(Look& look, const ConversationId& conversation, LogPosition position);

  std::optional<bool> active_since_in_memory(std::string_view user, LogPosition after);
  // When history has nothing newer than `after`: what a heartbeat or a quick reconnect asks.
  std::optional<ActivityPage> activity_since_in_memory(std::string_view user, LogPosition after, std::size_t limit);
  Result<ActivityPage> activity_since(const UserId& user, LogPosition after, std::size_t limit);
  // The ranges of one page are read in one go, with one set of iterators.
  std::optional<News> news_since_in_memory(const NewsQuery& query);
  Result<News> news_since(const NewsQuery& query);
  Result<ActivityPage> activity_newest(const UserId& user, LogPosition from, std::size_t limit);
  Result<ConversationsPage> conversations(const UserId& user, const ConversationId& after, std::size_t limit);
  Result<FeedPage> feed(LogPosition after, std::size_t max_messages);

  // What memory has given: heads, records, places, activity. History counts its own.
  std::uint64_t rows_read() const { return rows_read_.load(std::memory_order_relaxed); }

 private:
  // What memory knows of a conversation: its head, and the messages of the query that the window holds (in the asked direction, as
  // many as the limits allow; null for a lost one).
  struct Snapshot {
    bool known = false;           // else memory knows nothing
    bool readable_known = false;  // head.first_readable is right
    ConversationHead head;
    MessageSeq window_first;  // first seq that the window holds; last_seq + 1 when none
    std::vector<std::pair<MessageSeq, MessagePtr>> messages;
  };
  // These show what was recalled.
  std::optional<RangePage> all_range_in_memory(const RangeQuery& query);
  Result<RangePage> all_range(Look& look, const RangeQuery& query, LogPosition newer_than);
  Result<FeedPage> all_feed(LogPosition after, std::size_t max_messages);

  Result<ActivityPage> activity_since(Look& look, const UserId& user, LogPosition after, std::size_t limit);
  // `trimmed_through`: as of which watermark the caller looks.
  Snapshot snapshot(const ConversationId& conversation, const RangeQuery* query, LogPosition trimmed_through);
  void remember_readable(const ConversationId& conversation, MessageSeq first_readable, LogPosition trimmed_through);

  void count_rows(std::size_t rows) { rows_read_.fetch_add(rows, std::memory_order_relaxed); }

  std::atomic<std::uint64_t> rows_read_{0};
  Conversations& conversations_;
  Window& window_;
  History& history_;
  Intake& intake_;
  KeptLog& kept_;
  Recalls& recalls_;
};

}  // namespace dunlin::embedded
