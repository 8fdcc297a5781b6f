#include "storage/memory/memory_timelines.h"

#include <algorithm>
#include <optional>

#include "messaging/model/conversation.h"
#include "messaging/ports/inbox_cut.h"
#include "messaging/ports/news_ranges.h"
#include "messaging/ports/one_order.h"

namespace dunlin {

void MemoryTimelines::add(const MessagePtr& message, std::uint64_t time_ms) {
  MemoryTimeline& timeline = timelines_[ConversationId(message->conversation())];
  if (timeline.head.number == 0) timeline.head.number = ++conversations_;
  const auto pair = parse_private(message->conversation());
  MessagePlace place = timeline.take_place(*message, time_ms);
  place.previous = timeline.head.last_position;
  place.position = timeline.head.last_position = last_position_ = last_position_.next();
  message->set_place(place);
  timeline.messages.push_back(message);
  log_.emplace(place.position, message);
  bytes_ += message->footprint();
  if (!pair) return;
  note(pair->first, *message);
  if (pair->second != pair->first) note(pair->second, *message);
}

void MemoryTimelines::note(std::string_view user_name, const Message& message) {
  User& user = users_[std::string(user_name)];
  const ConversationId conversation(message.conversation());
  const InboxPosition at = to_inbox(message.place().position);
  InboxEntry entry{conversation, message.seq(), message.seq(), at, at};
  InboxPosition& newest = user.newest[conversation];
  if (const auto old = user.entries.find(newest);
      old != user.entries.end() && old->second.first_position.value() / kRun == at.value() / kRun) {
    entry.first_seq = old->second.first_seq;
    entry.first_position = old->second.first_position;
    user.entries.erase(old);
  }
  newest = at;
  user.entries.emplace(entry.last_position, std::move(entry));
}

void MemoryTimelines::trim_through(LogPosition position) {
  trimmed_ = std::max(trimmed_, std::min(position, last_position_));
  log_.erase(log_.begin(), log_.upper_bound(trimmed_));
  for (auto& [id, timeline] : timelines_) {
    const auto keep =
        std::ranges::find_if(timeline.messages, [&](const MessagePtr& message) { return message->place().position > trimmed_; });
    for (auto at = timeline.messages.begin(); at != keep; ++at) bytes_ -= (*at)->footprint();
    timeline.messages.erase(timeline.messages.begin(), keep);
    timeline.head.first_readable = timeline.messages.empty() ? timeline.head.last_seq.next() : timeline.messages.front()->seq();
    timeline.recalled.erase(timeline.recalled.begin(), timeline.recalled.lower_bound(timeline.head.first_readable));
  }
  for (auto& [name, user] : users_) user.entries.erase(user.entries.begin(), user.entries.upper_bound(to_inbox(trimmed_)));
}

bool MemoryTimelines::recall(const ConversationId& conversation, MessageSeq seq) {
  const auto at = timelines_.find(conversation);
  if (at == timelines_.end()) return false;
  MessagePtr gone;
  if (!at->second.recall(seq, gone)) return false;
  if (gone) {
    bytes_ -= gone->footprint() - at->second.at(seq)->footprint();
    log_[gone->place().position] = MessagePtr();
  }
  return true;
}

ConversationHead MemoryTimelines::head(const ConversationId& conversation) {
  ++rows_read_;
  const auto at = timelines_.find(conversation);
  return at == timelines_.end() ? ConversationHead{} : at->second.head;
}

RangePage MemoryTimelines::range(const RangeQuery& query) {
  const auto at = timelines_.find(query.conversation);
  if (at == timelines_.end()) return {};
  const MemoryTimeline& timeline = at->second;
  MessageSeq to = std::min(query.to, timeline.head.last_seq);
  if (query.within) {
    const auto above = std::ranges::upper_bound(timeline.messages, to_log(query.within->position), {},
                                                [](const MessagePtr& message) { return message->place().position; });
    if (above != timeline.messages.end()) to = std::min(to, (*above)->seq().prev());
  }
  RangePage page = timeline.read(query, to);
  rows_read_ += page.messages.size();
  timeline.hide(page, query.newest_first);
  return page;
}

MessageSeq MemoryTimelines::seq_at(const ConversationId& conversation, InboxPosition at_most) {
  const auto at = timelines_.find(conversation);
  if (at == timelines_.end()) return MessageSeq(0);
  ++rows_read_;
  const LogPosition position(at_most.value());
  const MemoryTimeline& timeline = at->second;
  if (position >= timeline.head.last_position) return timeline.head.last_seq;
  const auto& messages = timeline.messages;
  const auto above = std::ranges::upper_bound(messages, position, {}, [](const MessagePtr& message) { return message->place().position; });
  if (above != messages.begin()) return (*std::prev(above))->seq();
  if (above != messages.end() && position >= (*above)->place().previous) return (*above)->seq().prev();
  return MessageSeq(0);
}

InboxPage MemoryTimelines::entries_since(const UserId& user_id, InboxPosition after, std::size_t limit) {
  InboxPage page;
  page.truncated = after < to_inbox(trimmed_);
  page.scanned_to = std::max(after, to_inbox(last_position_));
  const auto user = users_.find(user_id.str());
  if (user == users_.end()) return page;
  const auto& entries = user->second.entries;
  for (auto at = entries.upper_bound(after); at != entries.end(); ++at) {
    // An entry lies within one run, so none that follows begins in a run before.
    const bool next_run = !page.entries.empty() && at->first.value() / kRun != page.entries.back().last_position.value() / kRun;
    if (next_run && page.entries.size() >= limit) {
      page.more = true;
      page.scanned_to = page.entries.back().last_position;
      break;
    }
    ++rows_read_;
    page.entries.push_back(at->second);
  }
  cut_entries(page, after, limit);
  return page;
}

NewsPage MemoryTimelines::news_since(const NewsQuery& query) {
  NewsPage out;
  out.inbox = entries_since(query.user, query.after, query.max_entries);
  read_news_ranges(
      out.inbox.entries, query.after, query, out.ranges,
      [&](const ConversationId& conversation) { return std::optional(seq_at(conversation, query.after)); },
      [&](const InboxEntry&, RangeQuery part, bool) {
        part.within = InboxPlace{query.user, out.inbox.scanned_to};
        return std::optional(range(part));
      });
  return out;
}

InboxPage MemoryTimelines::newest_entries(const UserId& user_id, InboxPosition from, std::size_t limit) {
  InboxPage page;
  const auto user = users_.find(user_id.str());
  if (user == users_.end()) return page;
  const auto& entries = user->second.entries;
  auto at = entries.upper_bound(from);
  while (at != entries.begin() && page.entries.size() < limit) {
    --at;
    ++rows_read_;
    page.entries.push_back(at->second);
  }
  page.more = at != entries.begin();
  return page;
}

bool MemoryTimelines::active_since(std::string_view user_name, InboxPosition after) const {
  const auto user = users_.find(std::string(user_name));
  return user != users_.end() && user->second.entries.upper_bound(after) != user->second.entries.end();
}

ConversationsPage MemoryTimelines::conversations(const UserId& user_id, const ConversationId& after, std::size_t limit) {
  ConversationsPage page;
  const auto user = users_.find(user_id.str());
  if (user == users_.end()) return page;
  const auto& all = user->second.newest;
  auto at = after.empty() ? all.begin() : all.upper_bound(after);
  for (; at != all.end() && page.conversations.size() < limit; ++at) {
    ++rows_read_;
    page.conversations.push_back(at->first);
  }
  page.more = at != all.end();
  return page;
}

FeedPage MemoryTimelines::feed(LogPosition after, std::size_t max_messages) {
  FeedPage page;
  page.reset = after < trimmed_;
  page.next = std::max(after, trimmed_);
  for (auto at = log_.upper_bound(page.next); at != log_.end() && page.messages.size() < max_messages; ++at) {
    if (at->second) page.messages.push_back(at->second);
    page.next = at->first;
  }
  return page;
}

}  // namespace dunlin
