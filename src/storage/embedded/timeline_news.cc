// The half of TimelineReader that answers by user and by position: activity, news, lists, the feed.
#include <algorithm>

#include "messaging/ports/news_ranges.h"
#include "messaging/ports/one_order.h"
#include "storage/embedded/timeline_reader.h"

namespace dunlin::embedded {

std::optional<bool> TimelineReader::active_since_in_memory(std::string_view user, LogPosition after) {
  const auto newest = window_.users().newest(user);
  if (newest && *newest > after) return true;
  // The floor is read last: what has left the window has raised it before.
  if (after < window_.floor()) return std::nullopt;
  return false;
}

std::optional<ActivityPage> TimelineReader::activity_since_in_memory(std::string_view user, LogPosition after, std::size_t limit) {
  if (after < window_.floor() || after < history_.trimmed_through()) return std::nullopt;
  ActivityPage page = window_.activity_since(user, after, limit);
  if (after < window_.floor()) return std::nullopt;  // as above: it may have lacked what has left meanwhile
  count_rows(page.entries.size());
  return page;
}

Result<ActivityPage> TimelineReader::activity_since(const UserId& user, LogPosition after, std::size_t limit) {
  Look look(*this);
  return activity_since(look, user, after, limit);
}

Result<ActivityPage> TimelineReader::activity_since(Look& look, const UserId& user, LogPosition after, std::size_t limit) {
  const LogPosition stored = look.history->position();
  ActivityPage page;
  if (after < stored) {
    TRY_ASSIGN(page, look.history->activity_since(user, after, limit));
    // Segments that entered meanwhile are told from the window.
    std::erase_if(page.entries, [&](const ActivityEntry& e) { return e.first_position > stored; });
    if (page.more) return page;
  }
  const std::size_t left = limit - std::min(limit, page.entries.size());
  ActivityPage recent = window_.activity_since(user.view(), std::max(after, stored), left);
  count_rows(recent.entries.size());
  for (auto& entry : recent.entries) page.entries.push_back(std::move(entry));
  page.more = recent.more;
  page.scanned_to = recent.scanned_to;
  return page;
}

namespace {

// Nothing above what the page covers.
std::optional<RangePage> cut_to(const ActivityPage& page, const ActivityEntry& entry, std::optional<RangePage> range) {
  if (range && entry.last_position > page.scanned_to) cut_range(*range, page.scanned_to);
  return range;
}

template <class T>
std::optional<T> if_ok(Result<T> result) {
  return result.ok() ? std::optional<T>(*std::move(result)) : std::nullopt;
}

}  // namespace

std::optional<News> TimelineReader::news_since_in_memory(const NewsQuery& query) {
  auto activity = activity_since_in_memory(query.user.view(), to_log(query.after), query.max_entries);
  if (!activity) return std::nullopt;
  const Recalls::Reading reading(recalls_);
  News out{*std::move(activity), {}};
  const LogPosition after = to_log(query.after);
  const bool all = read_news_ranges(
      out.activity.entries, after, query, out.ranges, [&](const ConversationId& id) { return seq_at_in_memory(id, after); },
      [&](const ActivityEntry& entry, const RangeQuery& part, bool) { return cut_to(out.activity, entry, all_range_in_memory(part)); });
  if (!all) return std::nullopt;
  for (NewsRange& range : out.ranges) reading.hide(range.page, false);
  return out;
}

Result<News> TimelineReader::news_since(const NewsQuery& query) {
  Look look(*this);
  News out;
  const LogPosition after = to_log(query.after);
  TRY_ASSIGN(out.activity, activity_since(look, query.user, after, query.max_entries));
  // A range that fails is left to the caller's own range(), which gets the error.
  read_news_ranges(
      out.activity.entries, after, query, out.ranges, [&](const ConversationId& id) { return if_ok(seq_at(look, id, after)); },
      [&](const ActivityEntry& entry, const RangeQuery& part, bool begins_behind) {
        // Else, where retention has trimmed, its seq is only a lower bound.
        const LogPosition newer_than = begins_behind ? after : LogPosition(0);
        return cut_to(out.activity, entry, if_ok(all_range(look, part, newer_than)));
      });
  for (NewsRange& range : out.ranges) look.reading.hide(range.page, false);
  return out;
}

// The window answers for as long as it has the records, also of what is in history already, as activity_since_in_memory() does: it cuts
// entries exactly. A row of history that reaches across a position in the middle would be left out here and not be met there.
Result<ActivityPage> TimelineReader::activity_newest(const UserId& user, LogPosition from, std::size_t limit) {
  const Window::Pin pin = window_.pin();
  ActivityPage page;
  LogPosition floor;
  do {
    floor = window_.floor();
    page = window_.activity_newest(user.view(), floor, from, limit);
  } while (window_.floor() != floor);  // it may have lacked what has left meanwhile; the pin bounds how much can
  count_rows(page.entries.size());
  if (page.more) return page;
  if (page.entries.size() == limit) {
    page.more = floor != LogPosition();
    return page;
  }
  if (floor == LogPosition()) return page;
  TRY_ASSIGN(ActivityPage older, history_.activity_newest(user, std::min(from, floor), limit - page.entries.size()));
  for (auto& entry : older.entries) page.entries.push_back(std::move(entry));
  page.more = older.more;
  page.truncated = older.truncated;
  return page;
}

Result<ConversationsPage> TimelineReader::conversations(const UserId& user, const ConversationId& after, std::size_t limit) {
  const Window::Pin pin = window_.pin();
  ConversationsPage page;
  if (history_.position() != LogPosition()) {
    TRY_ASSIGN(page, history_.conversations(user, after, limit));
  }
  std::vector<ConversationId> recent = window_.conversations_of(user.view(), after.view());
  if (page.more && !page.conversations.empty()) {
    const ConversationId& last = page.conversations.back();
    std::erase_if(recent, [&](const ConversationId& id) { return id > last; });  // they come with a later page
  }
  std::vector<ConversationId> merged;
  std::set_union(page.conversations.begin(), page.conversations.end(), recent.begin(), recent.end(), std::back_inserter(merged));
  if (merged.size() > limit) {
    merged.resize(limit);
    page.more = true;
  }
  page.conversations = std::move(merged);
  return page;
}

Result<FeedPage> TimelineReader::feed(LogPosition after, std::size_t max_messages) {
  const Recalls::Reading reading(recalls_);
  while (true) {
    TRY_ASSIGN(FeedPage page, all_feed(after, max_messages));
    reading.hide(page);
    // A page of nothing but what may not be told would look like the end.
    if (!page.messages.empty() || page.reset || page.next <= after) return page;
    after = page.next;
  }
}

Result<FeedPage> TimelineReader::all_feed(LogPosition after, std::size_t max_messages) {
  const Window::Pin pin = window_.pin();
  const LogPosition stored = history_.position();  // once: the pin keeps all above it, and no more, in the window
  if (after < stored) {
    if (auto page = kept_.read(after, max_messages)) return *std::move(page);
    TRY_ASSIGN(FeedPage page, history_.feed(after, max_messages));
    if (!page.messages.empty() || page.reset || page.next > after) return page;
  }
  return window_.feed(std::max(after, stored), max_messages);
}

}  // namespace dunlin::embedded
