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

  bool full() const { return !page.conversations.empty() && (page.conversations.size() >= query.limit || bytes >= kMaxBytes); }
  // One above what there is room for tells whether there is a next page.
  std::size_t step() const { return std::min(query.limit - std::min(query.limit, page.conversations.size()), kStep - 1) + 1; }
  void add(ConversationSummary line, std::string next) {
    if (line.last_message) bytes += line.last_message->footprint();
    line.next = next;
    page.next = std::move(next);
    page.conversations.push_back(std::move(line));
  }
};

Task<Result<ConversationListPage>> ConversationList::list(ConversationListQuery query) {
  using Phase = PageCursor::Phase;
  PageCursor cursor;
  if (query.page.empty()) {
    cursor.snapshot = store_.settled_position();
    // Below the trim nobody can tell what changed: everything is listed.
    const bool incremental = query.since && *query.since >= store_.trimmed_through();
    cursor.phase = incremental ? Phase::Changed : Phase::Newest;
    cursor.since = incremental ? *query.since : LogPosition(0);
    cursor.position = incremental ? *query.since : LogPosition(UINT64_MAX);
  } else if (const auto parsed = PageCursor::parse(query.page, store_.epoch())) {
    cursor = *parsed;
  } else {
    co_return Error(ErrorCode::BadRequest, "cursor is not one that this server gave");
  }
  ConversationListPage page;
  page.snapshot = cursor.snapshot;
  Filling filling{query, page};
  if (cursor.phase == Phase::Newest) CO_TRY(co_await newest(filling, cursor));
  if (cursor.phase == Phase::Changed) CO_TRY(co_await changed(filling, cursor));
  if (cursor.phase == Phase::ReadChanged) CO_TRY(co_await read_changed(filling, cursor));
  co_return page;
}

Task<Status> ConversationList::newest(Filling& filling, PageCursor& cursor) {
  std::set<ConversationId> seen;
  for (bool more = true; more;) {
    CO_TRY_ASSIGN(const ActivityPage page, co_await store_.activity_newest(filling.query.user, cursor.position, filling.step()));
    for (const ActivityEntry& entry : page.entries) {
      if (filling.full()) {
        filling.page.more = true;
        co_return Status();
      }
      cursor.position = entry.last_position.prev();
      CO_TRY_ASSIGN(const ConversationHead head, co_await store_.head(entry.conversation));
      // Not the newest entry of its conversation: that one was listed before.
      const bool stale = entry.last_position < head.last_position && head.last_position <= cursor.snapshot;
      if (stale || !seen.insert(entry.conversation).second) continue;
      CO_TRY_ASSIGN(ConversationSummary line, co_await summary(filling.query.user, entry.conversation, head));
      filling.add(std::move(line), cursor.text(store_.epoch()));
    }
    more = page.more && !page.entries.empty();
  }
  co_return Status();
}

Task<Status> ConversationList::changed(Filling& filling, PageCursor& cursor) {
  for (bool more = true; more;) {
    CO_TRY_ASSIGN(const ActivityPage page, co_await store_.activity_since(filling.query.user, cursor.position, filling.step()));
    for (const ActivityEntry& entry : page.entries) {
      if (filling.full()) {
        filling.page.more = true;
        co_return Status();
      }
      cursor.position = entry.last_position;
      CO_TRY_ASSIGN(const ConversationHead head, co_await store_.head(entry.conversation));
      if (entry.last_position < head.last_position) continue;  // it comes again further on
      CO_TRY_ASSIGN(ConversationSummary line, co_await summary(filling.query.user, entry.conversation, head));
      filling.add(std::move(line), cursor.text(store_.epoch()));
    }
    more = page.more && !page.entries.empty();
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
    for (const ReadChange& change : changes) {
      if (std::tie(change.at, change.conversation) <= std::tie(cursor.position, cursor.conversation)) continue;
      if (filling.full()) {
        filling.page.more = true;
        co_return Status();
      }
      cursor.position = change.at;
      cursor.conversation = change.conversation;
      CO_TRY_ASSIGN(const ConversationHead head, co_await store_.head(change.conversation));
      if (head.last_position > cursor.since) continue;  // listed among those with new messages
      CO_TRY_ASSIGN(ConversationSummary line, co_await summary(filling.query.user, change.conversation, head));
      filling.add(std::move(line), cursor.text(store_.epoch()));
    }
    if (!page.more) co_return Status();
    limit = kStep;
    // All of this position is done: the dropped ones lie above it.
    cursor.position = cursor.position.next();
    cursor.conversation = ConversationId();
  }
}

}  // namespace dunlin
