#include "messaging/conversation/conversation_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

namespace dunlin {
namespace {

constexpr std::size_t kMaxBytes = 64 * 1024;  // of last messages in one page
constexpr std::size_t kStep = 32;             // entries asked for at a time, at most

}  // namespace

// Where a page run goes on. Text: phase, epoch, snapshot, since, position and, while read changes are listed, conversation.
struct ConversationList::PageCursor {
  enum class Phase : char { Newest = 'n', Changed = 'c', ReadChanged = 'r' };
  Phase phase = Phase::Newest;
  LogPosition snapshot;
  LogPosition since;
  LogPosition position;
  ConversationId conversation;

  std::string text(const Epoch& epoch) const {
    return fmt::format("{}.{:x}.{:x}.{:x}.{:x}.{}", static_cast<char>(phase), epoch.value, snapshot.value(), since.value(),
                       position.value(), conversation.view());
  }

  static std::optional<PageCursor> parse(std::string_view text, const Epoch& epoch) {
    PageCursor out;
    if (text.size() < 2 || std::string_view("ncr").find(text[0]) == std::string_view::npos || text[1] != '.') return std::nullopt;
    out.phase = static_cast<Phase>(text[0]);
    text.remove_prefix(2);
    std::uint64_t numbers[4] = {};
    for (std::uint64_t& number : numbers) {
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
      if (error != std::errc() || end == text.data() + text.size() || *end != '.') return std::nullopt;
      text.remove_prefix(static_cast<std::size_t>(end - text.data()) + 1);
    }
    if (numbers[0] != epoch.value) return std::nullopt;
    out.snapshot = LogPosition(numbers[1]);
    out.since = LogPosition(numbers[2]);
    out.position = LogPosition(numbers[3]);
    out.conversation = ConversationId(text);
    return out;
  }
};

// A page that is being filled, and when it is full.
struct ConversationList::Filling {
  const ConversationListQuery& query;
  ConversationListPage& page;
  std::size_t bytes = 0;

  std::size_t lines_left() const { return query.limit - std::min(query.limit, page.conversations.size()); }
  std::size_t bytes_left() const { return kMaxBytes - std::min(kMaxBytes, bytes); }
  bool full() const { return !page.conversations.empty() && (lines_left() == 0 || bytes_left() == 0); }
  // One above what there is room for tells whether there is a next page.
  std::size_t step() const { return std::min(lines_left(), kStep - 1) + 1; }
  void add(ConversationSummary line, std::string next) {
    if (line.last_message) bytes += line.last_message->footprint();
    line.next = next;
    page.next = std::move(next);
    page.conversations.push_back(std::move(line));
  }
};

Task<Result<ConversationListPage>> ConversationList::list(ConversationListQuery query) {
  using Phase = PageCursor::Phase;
  ConversationListPage page;
  if (!query.named.empty()) {
    query.limit = query.named.size();
    page.snapshot = store_.settled_position();
    Filling filling{query, page};
    CO_TRY(co_await named(filling));
    co_return page;
  }
  PageCursor cursor;
  if (query.page.empty()) {
    page.snapshot = raises_.covered(store_);
    cursor.snapshot = store_.settled_position();
    // Below the trim nobody can tell what changed: everything is listed.
    const bool incremental = query.since && *query.since >= store_.trimmed_through();
    cursor.phase = incremental ? Phase::Changed : Phase::Newest;
    cursor.since = incremental ? *query.since : LogPosition(0);
    cursor.position = incremental ? *query.since : LogPosition(UINT64_MAX);
  } else if (const auto parsed = PageCursor::parse(query.page, store_.epoch())) {
    cursor = *parsed;
    page.snapshot = cursor.snapshot;
  } else {
    co_return Error(ErrorCode::BadRequest, "cursor is not one that this server gave");
  }
  Filling filling{query, page};
  if (cursor.phase == Phase::Newest) CO_TRY(co_await newest(filling, cursor));
  if (cursor.phase == Phase::Changed) CO_TRY(co_await changed(filling, cursor));
  if (cursor.phase == Phase::ReadChanged) CO_TRY(co_await read_changed(filling, cursor));
  co_return page;
}

// As many of the lines as there is room for; with what is left the page says that there is more.
Task<Status> ConversationList::add(Filling& filling, std::vector<Line> lines) {
  if (lines.empty()) co_return Status();
  const std::size_t room = filling.full() ? 0 : std::max<std::size_t>(filling.lines_left(), 1);
  if (lines.size() > room) {
    filling.page.more = true;
    lines.resize(room);
  }
  std::vector<std::string> next;
  for (const Line& line : lines) next.push_back(line.next);
  CO_TRY_ASSIGN(std::vector<ConversationSummary> summaries, co_await this->summaries(filling.query.user, std::move(lines)));
  for (std::size_t i = 0; i < summaries.size(); ++i) filling.add(std::move(summaries[i]), std::move(next[i]));
  co_return Status();
}

namespace {

std::vector<ConversationId> conversations_of(const ActivityPage& page) {
  std::vector<ConversationId> out;
  for (const ActivityEntry& entry : page.entries) out.push_back(entry.conversation);
  return out;
}

}  // namespace

Task<Status> ConversationList::named(Filling& filling) {
  const std::vector<ConversationId>& all = filling.query.named;
  for (std::size_t done = 0; done < all.size() && !filling.page.more;) {
    if (filling.full()) {
      filling.page.more = true;
      break;
    }
    const auto from = all.begin() + static_cast<std::ptrdiff_t>(done);
    std::vector<ConversationId> step(from, from + static_cast<std::ptrdiff_t>(std::min(kStep, all.size() - done)));
    CO_TRY_ASSIGN(std::vector<TimelineEnd> ends, co_await store_.ends(std::move(step), filling.bytes_left()));
    std::vector<Line> lines;
    for (TimelineEnd& end : ends) {
      const ConversationId& conversation = all[done++];
      if (end.head.last_seq > MessageSeq(0)) lines.push_back({conversation, std::move(end), std::string()});
    }
    CO_TRY(co_await add(filling, std::move(lines)));
  }
  co_return Status();
}

Task<Status> ConversationList::newest(Filling& filling, PageCursor& cursor) {
  std::set<ConversationId> seen;
  for (bool more = true; more;) {
    CO_TRY_ASSIGN(const ActivityPage page, co_await store_.activity_newest(filling.query.user, cursor.position, filling.step()));
    if (page.entries.empty()) break;
    if (filling.full()) {
      filling.page.more = true;
      break;
    }
    std::vector<ConversationId> conversations = conversations_of(page);
    CO_TRY_ASSIGN(std::vector<TimelineEnd> ends, co_await store_.ends(std::move(conversations), filling.bytes_left()));
    std::vector<Line> lines;
    for (std::size_t i = 0; i < ends.size(); ++i) {
      const ActivityEntry& entry = page.entries[i];
      const LogPosition last = ends[i].head.last_position;
      cursor.position = entry.last_position.prev();
      // Not the newest entry of its conversation: that one was listed before.
      const bool stale = entry.last_position < last && last <= cursor.snapshot;
      if (stale || !seen.insert(entry.conversation).second) continue;
      lines.push_back({entry.conversation, std::move(ends[i]), cursor.text(store_.epoch())});
    }
    CO_TRY(co_await add(filling, std::move(lines)));
    more = !filling.page.more && (page.more || ends.size() < page.entries.size());
  }
  co_return Status();
}

// A conversation is listed where its newest record is reached: on the page of activity that holds it, in the order of these.
Task<Status> ConversationList::changed(Filling& filling, PageCursor& cursor) {
  for (bool more = true; more;) {
    CO_TRY_ASSIGN(ActivityPage page, co_await store_.activity_since(filling.query.user, cursor.position, filling.step()));
    if (page.entries.empty()) break;
    if (filling.full()) filling.page.more = true;
    if (filling.page.more) co_return Status();
    std::ranges::sort(page.entries, {}, &ActivityEntry::last_position);
    std::vector<ConversationId> conversations = conversations_of(page);
    CO_TRY_ASSIGN(std::vector<TimelineEnd> ends, co_await store_.ends(std::move(conversations), filling.bytes_left()));
    const bool whole = ends.size() == page.entries.size();
    std::vector<Line> lines;
    for (std::size_t i = 0; i < ends.size(); ++i) {
      const LogPosition last = ends[i].head.last_position;
      cursor.position = std::min(page.entries[i].last_position, page.scanned_to);
      if (cursor.position < last) continue;  // it comes again further on
      lines.push_back({page.entries[i].conversation, std::move(ends[i]), cursor.text(store_.epoch())});
    }
    CO_TRY(co_await add(filling, std::move(lines)));
    if (filling.page.more) co_return Status();
    if (whole) cursor.position = page.scanned_to;
    more = page.more || !whole;
  }
  cursor.phase = PageCursor::Phase::ReadChanged;
  cursor.position = cursor.since;
  cursor.conversation = ConversationId();
  co_return Status();
}

Task<Status> ConversationList::read_changed(Filling& filling, PageCursor& cursor) {
  for (std::size_t limit = kStep;;) {
    CO_TRY_ASSIGN(ReadChangePage page, co_await state_.read_changes_since(filling.query.user, cursor.position, limit));
    std::vector<ReadChange>& changes = page.changes;
    if (page.more) {
      // The last position may be cut in two, and the order within one is the store's: leave it to the next page.
      const LogPosition last = changes.back().at;
      if (changes.front().at == last) {
        limit *= 2;
        continue;
      }
      std::erase_if(changes, [&](const ReadChange& change) { return change.at == last; });
    }
    std::ranges::sort(
        changes, [](const ReadChange& a, const ReadChange& b) { return std::tie(a.at, a.conversation) < std::tie(b.at, b.conversation); });
    std::erase_if(changes, [&](const ReadChange& change) {
      return std::tie(change.at, change.conversation) <= std::tie(cursor.position, cursor.conversation);
    });
    for (std::size_t done = 0; done < changes.size();) {
      if (filling.full()) filling.page.more = true;
      if (filling.page.more) co_return Status();
      std::vector<ConversationId> conversations;
      for (std::size_t i = done; i < std::min(changes.size(), done + filling.step()); ++i) conversations.push_back(changes[i].conversation);
      CO_TRY_ASSIGN(std::vector<TimelineEnd> ends, co_await store_.ends(std::move(conversations), filling.bytes_left()));
      std::vector<Line> lines;
      for (TimelineEnd& end : ends) {
        cursor.position = changes[done].at;
        cursor.conversation = changes[done++].conversation;
        if (end.head.last_position > cursor.since) continue;  // listed among those with new messages
        lines.push_back({cursor.conversation, std::move(end), cursor.text(store_.epoch())});
      }
      CO_TRY(co_await add(filling, std::move(lines)));
    }
    if (filling.page.more) co_return Status();
    if (!page.more) co_return Status();
    limit = kStep;
    // All of this position is done: the dropped ones lie above it.
    cursor.position = cursor.position.next();
    cursor.conversation = ConversationId();
  }
}

}  // namespace dunlin
