#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "messaging/model/message.h"
#include "messaging/ports/feed.h"
#include "messaging/ports/inboxes.h"
#include "messaging/ports/timelines.h"
#include "storage/memory/memory_timeline.h"

namespace dunlin {

// The data of MemoryMessageStore: all messages by conversation and by position, and who they concern. No locks, no faults, no waits. There
// is one order: a position in anybody's inbox is the record's position in the log. Entries are coalesced: a run of records of one
// conversation within kRun positions is one entry, as stores that work in segments do it, so that entries of different conversations
// interleave.
class MemoryTimelines {
 public:
  static constexpr std::uint64_t kRun = 16;

  // Gives the message its place and keeps it.
  void add(const MessagePtr& message, std::uint64_t time_ms);
  void trim_through(LogPosition position);
  // False: there is no such seq.
  bool recall(const ConversationId& conversation, MessageSeq seq);

  LogPosition last_position() const { return last_position_; }
  LogPosition trimmed_through() const { return trimmed_; }
  std::size_t bytes() const { return bytes_; }
  std::uint64_t rows_read() const { return rows_read_; }

  ConversationHead head(const ConversationId& conversation);
  RangePage range(const RangeQuery& query);
  MessageSeq seq_at(const ConversationId& conversation, InboxPosition position);
  InboxPage entries_since(const UserId& user, InboxPosition after, std::size_t limit);
  NewsPage news_since(const NewsQuery& query);
  InboxPage newest_entries(const UserId& user, InboxPosition from, std::size_t limit);
  bool active_since(std::string_view user, InboxPosition after) const;
  ConversationsPage conversations(const UserId& user, const ConversationId& after, std::size_t limit);
  FeedPage feed(LogPosition after, std::size_t max_messages);

 private:
  struct User {
    std::map<InboxPosition, InboxEntry> entries;     // by last_position
    std::map<ConversationId, InboxPosition> newest;  // every conversation ever → last_position of its newest entry
  };

  void note(std::string_view user, const Message& message);

  std::unordered_map<ConversationId, MemoryTimeline> timelines_;
  std::unordered_map<std::string, User> users_;
  std::map<LogPosition, MessagePtr> log_;  // null: recalled
  std::uint64_t conversations_ = 0;
  LogPosition last_position_;
  LogPosition trimmed_;
  std::size_t bytes_ = 0;
  std::uint64_t rows_read_ = 0;
};

}  // namespace dunlin
