#include "storage/embedded/timeline_reader.h"

#include <algorithm>

#include "storage/embedded/history/page_builder.h"

namespace dunlin::embedded {
namespace {

// The asked interval within what exists.
RangeQuery clamp(const RangeQuery& query, const ConversationHead& head) {
  RangeQuery out = query;
  out.from = std::max(query.from, MessageSeq(1));
  out.to = std::min(query.to, head.last_seq);
  return out;
}

// Whether the copied run ends where the asked interval or the window does, not at a limit of the page.
bool copied_all(const std::vector<std::pair<MessageSeq, MessagePtr>>& messages, const RangeQuery& asked, MessageSeq window_first) {
  if (messages.empty()) return true;
  const MessageSeq last = messages.back().first;
  return asked.newest_first ? last <= std::max(asked.from, window_first) : last >= asked.to;
}

void add_all(PageBuilder& page, std::vector<std::pair<MessageSeq, MessagePtr>>& messages) {
  for (auto& [seq, message] : messages) {
    if (page.done()) return;
    if (message) page.add(std::move(message));
  }
}

// The part of history, both in the asked direction. Gaps of what is missing come by themselves.
void add_part(PageBuilder& page, const RangeQuery& asked, RangePage& part) {
  auto gap = part.gaps.begin();
  const auto hide_before = [&](const MessageSeq* seq) {
    for (; gap != part.gaps.end() && !page.done(); ++gap) {
      if (gap->reason != SeqGap::Reason::NotVisible) continue;
      if (seq != nullptr && (asked.newest_first ? gap->to < *seq : gap->from > *seq)) return;
      page.hide(gap->from, gap->to);
    }
  };
  for (MessagePtr& message : part.messages) {
    const MessageSeq seq = message->seq();
    hide_before(&seq);
    if (page.done()) return;
    page.add(std::move(message));
  }
  hide_before(nullptr);
}

// The part of the window. Lost ones at its end are told too, so that a page of nothing else leads on all the same.
void add_window(PageBuilder& page, std::vector<std::pair<MessageSeq, MessagePtr>>& messages) {
  if (messages.empty()) return;
  const auto last = messages.back();
  add_all(page, messages);
  if (!last.second && !page.done()) page.missing_to(last.first);
}

}  // namespace

TimelineReader::Snapshot TimelineReader::snapshot(const ConversationId& id, const RangeQuery* query) {
  Snapshot out;
  const std::size_t hash = Conversations::hash_of(id.view());
  Conversations::Shard& shard = conversations_.shard_of(hash);
  const std::uint64_t version = intake_.trim_version();
  MutexLock lock(shard.mutex);
  Conversation* c = Conversations::find(shard, hash, id.view());
  if (c == nullptr || !c->loaded) return out;
  c->used = true;
  out.known = true;
  out.head = c->head;
  out.readable_known = c->readable_version == version;
  const SeqRun& run = c->run;
  out.window_first = run.empty() ? c->head.last_seq.next() : run.first();
  if (query == nullptr || run.empty()) return out;
  const RangeQuery asked = clamp(*query, c->head);
  MessageSeq from = std::max(asked.from, run.first());
  if (from > asked.to) return out;
  std::size_t bytes = 0;
  for (std::uint64_t i = 0; i <= asked.to.value() - from.value() && out.messages.size() <= asked.max_messages; ++i) {
    const MessageSeq seq(asked.newest_first ? asked.to.value() - i : from.value() + i);
    const MessagePtr& message = run.at(seq);
    out.messages.emplace_back(seq, message);
    if (message) bytes += message->footprint();
    if (bytes > asked.max_bytes && out.messages.size() > 1) break;
  }
  return out;
}

void TimelineReader::remember_readable(const ConversationId& id, MessageSeq first_readable, std::uint64_t version) {
  const std::size_t hash = Conversations::hash_of(id.view());
  Conversations::Shard& shard = conversations_.shard_of(hash);
  MutexLock lock(shard.mutex);
  Conversation* c = Conversations::find(shard, hash, id.view());
  if (c == nullptr || !c->loaded) return;
  c->head.first_readable = std::max(c->head.first_readable, first_readable);
  c->readable_version = version;
}

std::optional<ConversationHead> TimelineReader::head_in_memory(const ConversationId& id) {
  const Snapshot memory = snapshot(id, nullptr);
  if (memory.known && memory.readable_known) return memory.head;
  if (!memory.known && history_.position() == LogPosition()) return ConversationHead();
  return std::nullopt;
}

Result<ConversationHead> TimelineReader::head(const ConversationId& id) {
  Look look(*this);
  return head(look, id);
}

Result<ConversationHead> TimelineReader::head(Look& look, const ConversationId& id) {
  const Snapshot memory = snapshot(id, nullptr);
  if (memory.known && memory.readable_known) return memory.head;
  TRY_ASSIGN(const auto stored, look.history->head(id));
  if (!memory.known) return stored.value_or(ConversationHead());
  ConversationHead head = memory.head;
  if (stored) head.first_readable = stored->first_readable;
  remember_readable(id, head.first_readable, look.trim_version);
  return head;
}

std::optional<RangePage> TimelineReader::range_in_memory(const RangeQuery& query) {
  const Recalls::Reading reading(recalls_);
  auto page = all_range_in_memory(query);
  if (page) reading.hide(*page, query.newest_first);
  return page;
}

std::optional<RangePage> TimelineReader::all_range_in_memory(const RangeQuery& query) {
  Snapshot memory = snapshot(query.conversation, &query);
  if (!memory.known || !memory.readable_known) return std::nullopt;
  const RangeQuery asked = clamp(query, memory.head);
  PageBuilder page(asked, memory.head.first_readable);
  const MessageSeq needed = std::max(asked.from, memory.head.first_readable);  // below it nothing can be read anyway
  if (needed < memory.window_first && asked.from <= asked.to) {
    // Memory lacks the lower part: enough only if the page ends before it.
    if (!asked.newest_first) return std::nullopt;
    add_window(page, memory.messages);
    if (!page.done()) return std::nullopt;
  } else {
    add_window(page, memory.messages);
    if (!page.done() && !copied_all(memory.messages, asked, memory.window_first)) return std::nullopt;  // lost ones took the limits up
    page.missing_rest();
  }
  RangePage out = std::move(page).finish();
  out.head = memory.head;
  return out;
}

Result<RangePage> TimelineReader::range(const RangeQuery& query) {
  Look look(*this);
  return range(look, query);
}

Result<RangePage> TimelineReader::range(Look& look, const RangeQuery& query) {
  TRY_ASSIGN(RangePage page, all_range(look, query, LogPosition(0)));
  look.reading.hide(page, query.newest_first);
  return page;
}

Result<std::optional<MessagePlace>> TimelineReader::place_of(const ConversationId& conversation, MessageSeq seq) {
  Look look(*this);
  TRY_ASSIGN(const RangePage page, all_range(look, {conversation, seq, seq, 1, 1, false}, LogPosition(0)));
  return page.messages.empty() ? std::optional<MessagePlace>() : page.messages.front()->place();
}

Result<RangePage> TimelineReader::all_range(Look& look, const RangeQuery& query, LogPosition newer_than) {
  Snapshot memory = snapshot(query.conversation, &query);
  std::optional<ConversationHead> stored;
  // What memory knows needs no row, but where rows have been trimmed: what it knows of that may be older than this look.
  if (memory.known && memory.readable_known && look.history->trimmed_through() == LogPosition(0)) {
    stored = memory.head;
  } else {
    TRY_ASSIGN(stored, look.history->head(query.conversation));
    if (!memory.known) {
      if (!stored) return RangePage{};
      memory.head = *stored;
      memory.window_first = stored->last_seq.next();
    } else if (stored) {
      memory.head.first_readable = stored->first_readable;
      remember_readable(query.conversation, stored->first_readable, look.trim_version);
    }
  }
  const RangeQuery asked = clamp(query, memory.head);
  PageBuilder page(asked, memory.head.first_readable);
  if (asked.newest_first) add_window(page, memory.messages);
  if (stored && !page.done() && asked.from < memory.window_first && asked.from <= asked.to) {
    RangeQuery older = asked;
    if (asked.newest_first) {
      older.to = std::min(page.next(), memory.window_first.prev());
    } else {
      older.to = std::min(asked.to, memory.window_first.prev());
    }
    if (older.from <= older.to) {
      TRY_ASSIGN(RangePage part, look.history->range(*stored, older, newer_than));
      MessageSeq edge = older.newest_first ? older.to.next() : older.from.prev();  // how far the part reaches
      if (!part.messages.empty()) edge = part.messages.back()->seq();
      for (const SeqGap& gap : part.gaps) edge = older.newest_first ? std::min(edge, gap.from) : std::max(edge, gap.to);
      add_part(page, asked, part);
      const bool behind = older.newest_first ? edge <= page.next() && edge >= older.from : edge >= page.next() && edge <= older.to;
      if (!page.done() && behind) page.missing_to(edge);
      if (part.more) {
        RangePage out = std::move(page).finish();
        out.head = memory.head;
        out.more = true;
        return out;
      }
    }
  }
  if (!asked.newest_first) add_window(page, memory.messages);
  // The window was copied only as far as the limits reach: what is left behind that is "more", not missing.
  if (copied_all(memory.messages, asked, memory.window_first)) page.missing_rest();
  RangePage out = std::move(page).finish();
  out.head = memory.head;
  return out;
}

std::optional<MessageSeq> TimelineReader::seq_at_in_memory(const ConversationId& id, LogPosition position) {
  const std::size_t hash = Conversations::hash_of(id.view());
  Conversations::Shard& shard = conversations_.shard_of(hash);
  MutexLock lock(shard.mutex);
  const Conversation* c = Conversations::find(shard, hash, id.view());
  if (c == nullptr || !c->loaded) return std::nullopt;
  return Window::seq_at(*c, position);
}

Result<MessageSeq> TimelineReader::seq_at(const ConversationId& id, LogPosition position) {
  Look look(*this);
  return seq_at(look, id, position);
}

Result<MessageSeq> TimelineReader::seq_at(Look& look, const ConversationId& id, LogPosition position) {
  if (const auto seq = seq_at_in_memory(id, position)) return *seq;
  TRY_ASSIGN(const auto stored, look.history->head(id));
  if (!stored) return MessageSeq();
  return look.history->seq_at(*stored, position);
}

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
    if (page.more && !page.entries.empty()) return page;
  }
  ActivityPage recent = window_.activity_since(user.view(), std::max(after, stored), limit - page.entries.size());
  for (auto& entry : recent.entries) page.entries.push_back(std::move(entry));
  page.more = recent.more;
  page.scanned_to = recent.scanned_to;
  return page;
}

namespace {

// Reads the ranges of the first entries, one after the other, until the limits or the first that `range` and `seq_at` (optional or Result)
// do not give.
template <class SeqAt, class Range>
bool add_ranges(NewsPage& news, const NewsQuery& query, SeqAt seq_at, Range range) {
  std::size_t messages = query.max_messages;
  std::size_t bytes = query.max_bytes;
  news.ranges.reserve(std::min(news.activity.entries.size(), messages));
  for (const ActivityEntry& entry : news.activity.entries) {
    if (messages == 0 || bytes == 0) return true;
    MessageSeq from = entry.first_seq;
    LogPosition newer_than = query.known;
    if (entry.first_position <= query.known) {
      newer_than = LogPosition(0);  // where retention has trimmed, the seq is only a lower bound
      const auto last_known = seq_at(entry.conversation, query.known);
      if (!last_known) return false;
      from = last_known->next();
    }
    auto page = range(RangeQuery{entry.conversation, from, entry.last_seq, messages, bytes, false}, newer_than);
    if (!page) return false;
    messages -= std::min(messages, page->messages.size());
    for (const MessagePtr& message : page->messages) bytes -= std::min(bytes, message->footprint());
    news.ranges.push_back({from, *std::move(page)});
    if (news.ranges.back().page.more) return true;
  }
  return true;
}

template <class T>
std::optional<T> if_ok(Result<T> result) {
  return result.ok() ? std::optional<T>(*std::move(result)) : std::nullopt;
}

}  // namespace

std::optional<NewsPage> TimelineReader::news_since_in_memory(const NewsQuery& query) {
  auto activity = activity_since_in_memory(query.user.view(), query.after, query.max_entries);
  if (!activity) return std::nullopt;
  const Recalls::Reading reading(recalls_);
  NewsPage out{*std::move(activity), {}};
  const bool all = add_ranges(
      out, query, [&](const ConversationId& id, LogPosition known) { return seq_at_in_memory(id, known); },
      [&](const RangeQuery& part, LogPosition) { return all_range_in_memory(part); });
  if (!all) return std::nullopt;
  for (NewsRange& range : out.ranges) reading.hide(range.page, false);
  return out;
}

Result<NewsPage> TimelineReader::news_since(const NewsQuery& query) {
  Look look(*this);
  NewsPage out;
  TRY_ASSIGN(out.activity, activity_since(look, query.user, query.after, query.max_entries));
  // A range that fails is left to the caller's own range(), which gets the error.
  add_ranges(
      out, query, [&](const ConversationId& id, LogPosition known) { return if_ok(seq_at(look, id, known)); },
      [&](const RangeQuery& part, LogPosition newer_than) { return if_ok(all_range(look, part, newer_than)); });
  for (NewsRange& range : out.ranges) look.reading.hide(range.page, false);
  return out;
}

Result<ActivityPage> TimelineReader::activity_newest(const UserId& user, LogPosition from, std::size_t limit) {
  const Window::Pin pin = window_.pin();
  const LogPosition stored = history_.position();
  ActivityPage page = window_.activity_newest(user.view(), stored, from, limit);
  if (page.more) return page;
  if (page.entries.size() == limit) {
    page.more = stored != LogPosition();
    return page;
  }
  if (stored == LogPosition()) return page;
  TRY_ASSIGN(ActivityPage older, history_.activity_newest(user, std::min(from, stored), limit - page.entries.size()));
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
