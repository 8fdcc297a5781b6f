#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/siphash.h"
#include "messaging/model/message.h"
#include "storage/memory/memory_timeline.h"
#include "storage/shared/engine.h"

namespace dunlin {

// The rows of a shared store in memory, and its atomic steps. No locks, no faults, no waits.
// Entries of an inbox are coalesced: what is noted of one conversation one after the other, and as long as nothing else comes between.
class SharedRows {
 public:
  explicit SharedRows(Durability durability = Durability::Fsync);  // what it claims of each record

  std::vector<shared::Appended> append(const shared::Append& batch, std::uint64_t now_ms);
  shared::Noted note(const shared::Note& note);
  std::vector<shared::Due> due(std::uint32_t bucket, std::uint64_t before_ms, const ConversationId& after, std::size_t limit) const;
  void clear_due(std::uint32_t bucket, const std::vector<shared::Due>& noted);
  void forget_old_ids(std::uint64_t before_ms);

  ConversationHead head(const ConversationId& conversation) const;
  RangePage range(const RangeQuery& query) const;
  MessageSeq seq_at(const UserId& user, const ConversationId& conversation, InboxPosition position) const;
  InboxPage entries_since(const UserId& user, InboxPosition after, std::size_t limit) const;
  NewsPage news_since(const NewsQuery& query) const;
  InboxPage newest_entries(const UserId& user, InboxPosition from, std::size_t limit) const;
  ConversationsPage conversations(const UserId& user, const ConversationId& after, std::size_t limit) const;
  InboxPosition newest(std::string_view user) const;
  InboxPosition highest_given(std::string_view user) const;
  InboxPosition trimmed_through(std::string_view user) const;
  // False: there is no such seq.
  bool recall(const ConversationId& conversation, MessageSeq seq);

  // Retention takes everything.
  void trim();
  // Inboxes lose what was noted last, each up to `most` positions, as after a failover. Every one of them goes on far above what it has
  // given; what is lost of them stays due.
  void lose_tails(std::mt19937_64& random, std::uint64_t most) {
    ++generation_;
    for (auto& [name, user] : users_) lose_tail(user, random() % (most + 1));
  }
  bool any_due() const;
  std::function<void(const Message&)> on_stored;  // in the step that stores it
  // For tests that want inboxes to stand somewhere: nobody's newest position is below it.
  void stand_at(InboxPosition position) { floor_ = position; }

 private:
  static constexpr std::uint64_t kJump = std::uint64_t{1} << 20;  // for each generation

  struct Timeline : MemoryTimeline {
    std::uint32_t bucket = 0;
  };
  struct Original {
    MessagePlace place;
    std::uint64_t digest = 0;
    std::uint64_t node_epoch = 0;  // whose batch has stored it
    std::uint64_t number = 0;
    std::size_t index = 0;  // in that
  };
  struct DueRow {
    MessageSeq seq;
    std::uint64_t since_ms = 0;
    std::uint64_t generation = 0;
  };
  struct User {
    InboxPosition newest;
    std::uint64_t generation = 0;
    InboxPosition highest;  // ever given
    InboxPosition trimmed;
    std::map<InboxPosition, InboxEntry> entries;  // by last_position
    std::map<ConversationId, MessageSeq> noted;
  };

  const User* find(std::string_view user) const;
  void lose_tail(User& user, std::uint64_t most);

  const SipKey digest_key_;
  const Durability durability_;
  std::uint64_t generation_ = 0;
  InboxPosition floor_;
  std::uint64_t conversations_ = 0;
  std::map<ConversationId, Timeline> timelines_;
  std::map<std::string, User, std::less<>> users_;
  std::unordered_map<std::string, Original> ids_;
  std::deque<std::pair<std::uint64_t, std::string>> ids_by_time_;
  std::map<std::uint32_t, std::map<ConversationId, DueRow>> due_;
};

}  // namespace dunlin
