#include "messaging/conversation/conversation_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

namespace dunlin {
namespace {

constexpr std::size_t kMaxBytes = 64 * 1024;  // of last messages in one page
constexpr std::size_t kStep = 32;             // entries asked for at a time, at most
constexpr std::size_t kAhead = 256;           // the same where all of them were listed before
constexpr std::size_t kMaxHeads = 1024;       // asked for to learn that nothing is left

}  // namespace

// Where a page begins. Text: phase, epoch, begun, covered, since, position, through and the conversation of the first line.
struct ConversationList::PageCursor {
  enum class Phase : char { Newest = 'n', Across = 'a', Changed = 'c', ReadChanged = 'r', ReadLately = 'l' };
  Phase phase = Phase::Newest;
  InboxPosition begun;    // the list names what had something new up to here
  InboxPosition covered;  // the list's snapshot
  InboxPosition since;
  InboxPosition position;  // Newest: go on at or below it; Changed: the window's begin; ReadChanged: of the change
  InboxPosition through;   // Changed: the window's end, 0 when it is still to be read
  ConversationId conversation;

  std::string text(const Epoch& epoch) const {
    return fmt::format("{}.{:x}.{:x}.{:x}.{:x}.{:x}.{:x}.{}", static_cast<char>(phase), epoch.value, begun.value(), covered.value(),
                       since.value(), position.value(), through.value(), conversation.view());
  }

  static std::optional<PageCursor> parse(std::string_view text, const Epoch& epoch, std::string_view user) {
    PageCursor out;
    if (text.size() < 2 || std::string_view("nacrl").find(text[0]) == std::string_view::npos || text[1] != '.') return std::nullopt;
    out.phase = static_cast<Phase>(text[0]);
    text.remove_prefix(2);
    std::uint64_t numbers[6] = {};
    for (std::uint64_t& number : numbers) {
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
      if (error != std::errc() || end == text.data() + text.size() || *end != '.') return std::nullopt;
      text.remove_prefix(static_cast<std::size_t>(end - text.data()) + 1);
    }
    if (numbers[0] != epoch.value) return std::nullopt;
    out.begun = InboxPosition(numbers[1]);
    out.covered = InboxPosition(numbers[2]);
    out.since = InboxPosition(numbers[3]);
    out.position = InboxPosition(numbers[4]);
    out.through = InboxPosition(numbers[5]);
    out.conversation = ConversationId(text);
    if (!authorise(user, out.conversation).ok() || out.through > out.begun) return std::nullopt;
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
  std::size_t room() const { return full() ? 0 : std::max<std::size_t>(lines_left(), 1); }
  bool paged() const { return query.named.empty(); }
  // One above what there is room for tells whether there is a next page.
  std::size_t step() const { return std::min(room() + 1, kStep); }
  void add(ConversationSummary line) {
    if (line.last_message) bytes += line.last_message->footprint();
    page.conversations.push_back(std::move(line));
  }
};

// A stretch of the inbox, (position, through], and those conversations whose first record behind `since` lies in it, by id: that is fixed,
// however the entries are coalesced when it is read again.
struct ConversationList::Window {
  InboxPosition through;
  std::vector<ConversationId> conversations;
};

Task<Result<ConversationListPage>> ConversationList::list(ConversationListQuery query) {
  using Phase = PageCursor::Phase;
  ConversationListPage page;
  Filling filling{query, page};
  PageCursor cursor;
  if (!query.named.empty()) {
    query.limit = query.named.size();
    std::vector<ConversationId> named;
    for (const ConversationAccess& access : query.named) named.push_back(access.conversation());
    CO_TRY(co_await add(filling, cursor, std::move(named)));
    co_return page;
  }
  if (query.page.empty()) {
    CO_TRY_ASSIGN(const InboxEnd end, co_await inboxes_.newest(query.user));
    cursor.covered = end.listed;
    cursor.begun = end.newest;
    cursor.phase = query.since ? Phase::Changed : Phase::Newest;
    cursor.since = query.since.value_or(InboxPosition(0));
    cursor.position = query.since.value_or(cursor.begun);
  } else if (auto parsed = PageCursor::parse(query.page, timelines_.epoch(), query.user.view())) {
    cursor = *std::move(parsed);
    // It is what a client says, and a token that is made of it must not claim what is not there yet.
    CO_TRY_ASSIGN(const InboxEnd end, co_await inboxes_.newest(query.user));
    cursor.covered = std::min(cursor.covered, end.newest);
    CO_TRY(co_await add(filling, cursor, std::vector<ConversationId>(1, cursor.conversation)));
    if (cursor.phase == Phase::Newest) cursor.position = cursor.position.prev();
  } else {
    co_return Error(ErrorCode::BadRequest, "cursor is not one that this server gave");
  }
  page.snapshot = cursor.covered;
  // Below the trim nobody can tell what changed: everything is listed.
  if (cursor.phase == Phase::Changed && cursor.position < inboxes_.trimmed_through(query.user.view())) {
    cursor.phase = Phase::Newest;
    cursor.position = cursor.begun;
  }
  switch (cursor.phase) {
    case Phase::Newest: CO_TRY(co_await newest(filling, cursor)); break;
    case Phase::Across: CO_TRY(co_await across(filling, cursor)); break;
    case Phase::Changed: CO_TRY(co_await changed(filling, cursor)); break;
    case Phase::ReadChanged: CO_TRY(co_await read_changed(filling, cursor)); break;
    case Phase::ReadLately: CO_TRY(co_await read_lately(filling, cursor)); break;
  }
  co_return page;
}

// As many of the lines as there is room for. The first that has none begins the next page.
Task<Status> ConversationList::add(Filling& filling, std::vector<Line> lines) {
  if (lines.size() > filling.room()) {
    filling.page.more = true;
    filling.page.next = std::move(lines[filling.room()].cursor);
    lines.resize(filling.room());
  }
  if (lines.empty()) co_return Status();
  std::vector<std::string> cursors;
  for (Line& line : lines) cursors.push_back(std::move(line.cursor));
  CO_TRY_ASSIGN(std::vector<ConversationSummary> summaries, co_await this->summaries(filling.query.user, std::move(lines)));
  for (std::size_t i = 0; i < summaries.size(); ++i) {
    summaries[i].cursor = std::move(cursors[i]);
    filling.add(std::move(summaries[i]));
  }
  co_return Status();
}

// Those of the conversations that have had a message, in their order. The cursor is what it is but for the conversation.
Task<Status> ConversationList::add(Filling& filling, PageCursor& cursor, std::vector<ConversationId> conversations) {
  for (std::size_t done = 0; done < conversations.size() && !filling.page.more;) {
    const auto from = conversations.begin() + static_cast<std::ptrdiff_t>(done);
    std::vector<ConversationId> step(from, from + static_cast<std::ptrdiff_t>(std::min(filling.step(), conversations.size() - done)));
    CO_TRY_ASSIGN(std::vector<TimelineEnd> ends, co_await timelines_.ends(std::move(step), filling.bytes_left()));
    std::vector<Line> lines;
    for (TimelineEnd& end : ends) {
      cursor.conversation = std::move(conversations[done++]);
      if (end.head.last_seq == MessageSeq(0)) continue;
      lines.push_back({cursor.conversation, std::move(end), filling.paged() ? cursor.text(timelines_.epoch()) : std::string()});
    }
    CO_TRY(co_await add(filling, std::move(lines)));
  }
  co_return Status();
}

// Each conversation where its newest record at or below `begun` stands.
Task<Status> ConversationList::newest(Filling& filling, PageCursor& cursor) {
  std::set<ConversationId> seen;
  std::size_t ahead = 1;  // grows while nothing but older entries of those that were listed is found
  bool asked = false;     // whether there is anything left
  for (bool more = true; more; ahead = std::min(2 * ahead, kAhead)) {
    const bool full = filling.full();
    const std::size_t step = std::max(filling.step(), ahead);
    const std::size_t most = std::min(step, kStep);
    CO_TRY_ASSIGN(const InboxPage page, co_await inboxes_.newest_entries(filling.query.user, cursor.position, step));
    if (page.entries.empty()) break;
    std::vector<ConversationId> conversations;
    std::vector<const InboxEntry*> entries;
    cursor.position = page.entries.back().last_position.prev();
    more = page.more;
    for (const InboxEntry& entry : page.entries) {
      if (seen.contains(entry.conversation) || std::ranges::find(conversations, entry.conversation) != conversations.end()) continue;
      if (conversations.size() == most) {
        cursor.position = entry.last_position;
        more = true;
        break;
      }
      conversations.push_back(entry.conversation);
      entries.push_back(&entry);
    }
    if (conversations.empty()) {
      // A user of few conversations may have years of entries in them: is there anything left to find?
      if (ahead == kAhead && !asked) {
        asked = true;
        CO_TRY_ASSIGN(const bool left, co_await any_left(filling.query.user, cursor, seen));
        if (!left) break;
      }
      continue;
    }
    CO_TRY_ASSIGN(std::vector<TimelineEnd> ends,
                  co_await timelines_.ends(std::move(conversations), full ? kMaxBytes : filling.bytes_left()));
    if (ends.size() < entries.size()) {
      cursor.position = entries[ends.size()]->last_position;
      more = true;
    }
    // One that does not end with the newest record of all may end with the newest there was.
    std::vector<SeqQuery> moved;
    for (std::size_t i = 0; i < ends.size(); ++i) {
      if (ends[i].head.last_seq != entries[i]->last_seq) moved.push_back({filling.query.user, entries[i]->conversation, cursor.begun});
    }
    CO_TRY_ASSIGN(const std::vector<MessageSeq> seqs, co_await inboxes_.seqs_at(std::move(moved)));
    std::vector<Line> lines;
    PageCursor at = cursor;
    for (std::size_t i = 0, next = 0; i < ends.size(); ++i) {
      const InboxEntry& entry = *entries[i];
      const MessageSeq last = ends[i].head.last_seq != entry.last_seq ? seqs[next++] : entry.last_seq;
      seen.insert(entry.conversation);
      if (entry.last_seq != last) continue;  // it stands further up, and was listed before
      at.position = entry.last_position;
      at.conversation = entry.conversation;
      lines.push_back({entry.conversation, std::move(ends[i]), at.text(timelines_.epoch())});
    }
    if (!lines.empty()) ahead = 1;
    CO_TRY(co_await add(filling, std::move(lines)));
    if (filling.page.more) co_return Status();
  }
  cursor.phase = PageCursor::Phase::Across;
  cursor.conversation = ConversationId();
  co_return co_await across(filling, cursor);
}

// Whether the user has a conversation whose newest record at or below `begun` lies at or below the cursor's position, by looking at all but
// those that were seen. True for a user of very many: then the inbox tells it sooner.
Task<Result<bool>> ConversationList::any_left(UserId user, const PageCursor& cursor, const std::set<ConversationId>& seen) {
  std::size_t asked = 0;
  ConversationId after;
  for (bool more = true; more;) {
    CO_TRY_ASSIGN(ConversationsPage page, co_await inboxes_.conversations(user, after, kAhead));
    std::vector<SeqQuery> places;
    for (const ConversationId& conversation : page.conversations) {
      if (seen.contains(conversation)) continue;
      if (++asked > kMaxHeads) co_return true;
      for (const InboxPosition position : {cursor.position, cursor.begun}) places.push_back({user, conversation, position});
    }
    CO_TRY_ASSIGN(const std::vector<MessageSeq> seqs, co_await inboxes_.seqs_at(std::move(places)));
    for (std::size_t n = 0; n < seqs.size(); n += 2) {
      if (seqs[n] == seqs[n + 1] && seqs[n] > MessageSeq(0)) co_return true;
    }
    more = page.more && !page.conversations.empty();
    if (more) after = page.conversations.back();
  }
  co_return false;
}

// Entries that reach across `begun` do not stand where the conversation's newest record below it does, and may have been made after the
// list was begun. They stand at the head of what is newer.
Task<Status> ConversationList::across(Filling& filling, PageCursor& cursor) {
  CO_TRY_ASSIGN(const InboxPage page, co_await entries_since(filling.query.user, cursor.begun, 1));
  std::set<ConversationId> conversations;
  for (const InboxEntry& entry : page.entries) {
    if (entry.first_position <= cursor.begun && entry.conversation > cursor.conversation) conversations.insert(entry.conversation);
  }
  co_return co_await add(filling, cursor, std::vector<ConversationId>(conversations.begin(), conversations.end()));
}

// Without the messages.
Task<Result<InboxPage>> ConversationList::entries_since(UserId user, InboxPosition after, std::size_t limit) {
  NewsQuery query{std::move(user), after, limit, 0, 0};
  CO_TRY_ASSIGN(NewsPage page, co_await inboxes_.news_since(std::move(query)));
  co_return std::move(page.inbox);
}

Task<Result<ConversationList::Window>> ConversationList::window(UserId user, const PageCursor& cursor, std::size_t step) {
  Window out{cursor.through, {}};
  std::map<ConversationId, bool> found;  // whether an entry tells that it has a record there
  std::vector<InboxEntry> entries;
  InboxPosition scanned = cursor.position;
  do {
    CO_TRY_ASSIGN(InboxPage page, co_await entries_since(user, scanned, step));
    scanned = page.more ? std::min(page.scanned_to, cursor.begun) : cursor.begun;
    std::ranges::move(page.entries, std::back_inserter(entries));
  } while (scanned < out.through);
  if (out.through == InboxPosition(0)) out.through = scanned;
  for (const InboxEntry& entry : entries) {
    found[entry.conversation] |= entry.first_position > cursor.position && entry.first_position <= out.through;
  }
  // Seqs are exact from the trim on, and what lies below it is not asked for any more.
  const InboxPosition since = std::max(cursor.since, inboxes_.trimmed_through(user.view()));
  std::vector<SeqQuery> places;
  const auto to_ask = [&](bool inside) { return !inside || cursor.position > since; };
  for (const auto& [conversation, inside] : found) {
    if (!to_ask(inside)) continue;
    for (const InboxPosition position : {since, cursor.position, out.through}) places.push_back({user, conversation, position});
  }
  CO_TRY_ASSIGN(const std::vector<MessageSeq> seqs, co_await inboxes_.seqs_at(std::move(places)));
  const bool exact = inboxes_.trimmed_through(user.view()) <= since;
  for (std::size_t n = 0; const auto& [conversation, inside] : found) {
    if (to_ask(inside)) {
      const bool first = seqs[n] == seqs[n + 1] && seqs[n + 1] < seqs[n + 2];
      n += 3;
      if (exact && !first) continue;
    }
    out.conversations.push_back(conversation);
  }
  co_return out;
}

Task<Status> ConversationList::changed(Filling& filling, PageCursor& cursor) {
  while (cursor.position < cursor.begun) {
    CO_TRY_ASSIGN(Window window, co_await this->window(filling.query.user, cursor, filling.full() ? kStep : filling.step()));
    cursor.through = window.through;
    std::erase_if(window.conversations, [&](const ConversationId& conversation) { return conversation <= cursor.conversation; });
    CO_TRY(co_await add(filling, cursor, std::move(window.conversations)));
    if (filling.page.more) co_return Status();
    cursor.position = cursor.through;
    cursor.through = InboxPosition(0);
    cursor.conversation = ConversationId();
  }
  cursor.phase = PageCursor::Phase::ReadChanged;
  cursor.position = cursor.since;
  cursor.conversation = ConversationId();
  co_return co_await read_changed(filling, cursor);
}

// Those that rose before the list was begun, in that order. One that rises again leaves it, and is found by read_lately().
Task<Status> ConversationList::read_changed(Filling& filling, PageCursor& cursor) {
  for (std::size_t limit = kStep;;) {
    CO_TRY_ASSIGN(ReadChangePage page, co_await devices_.read_changes_since(filling.query.user, cursor.position, limit));
    std::vector<ReadChange>& changes = page.changes;
    if (page.more) {
      // The last position may be cut in two, and the order within one is the store's: leave it to the next page.
      const InboxPosition last = changes.back().at;
      if (changes.front().at == last) {
        limit *= 2;
        continue;
      }
      std::erase_if(changes, [&](const ReadChange& change) { return change.at == last; });
    }
    const bool over = !page.more || changes.back().at >= cursor.covered;
    std::ranges::sort(
        changes, [](const ReadChange& a, const ReadChange& b) { return std::tie(a.at, a.conversation) < std::tie(b.at, b.conversation); });
    std::erase_if(changes, [&](const ReadChange& change) {
      return change.at >= cursor.covered || std::tie(change.at, change.conversation) <= std::tie(cursor.position, cursor.conversation);
    });
    CO_TRY(co_await add(filling, cursor, std::move(changes)));
    if (filling.page.more) co_return Status();
    if (over) break;
    limit = kStep;
    // All of this position is done: the dropped ones lie above it.
    cursor.position = cursor.position.next();
    cursor.conversation = ConversationId();
  }
  cursor.phase = PageCursor::Phase::ReadLately;
  cursor.conversation = ConversationId();
  co_return co_await read_lately(filling, cursor);
}

// Those that rose when the list was begun or later, by id: what is among them stays among them, however often it rises again.
Task<Status> ConversationList::read_lately(Filling& filling, PageCursor& cursor) {
  ReadChangePage page;
  for (std::size_t limit = kStep; limit == kStep || page.more; limit *= 4) {
    CO_TRY_ASSIGN(page, co_await devices_.read_changes_since(filling.query.user, std::max(cursor.covered, cursor.since), limit));
  }
  std::ranges::sort(page.changes, {}, &ReadChange::conversation);
  std::erase_if(page.changes, [&](const ReadChange& change) { return change.conversation <= cursor.conversation; });
  co_return co_await add(filling, cursor, std::move(page.changes));
}

// Those of the changes whose conversations have not been listed for their messages.
Task<Status> ConversationList::add(Filling& filling, PageCursor& cursor, std::vector<ReadChange> changes) {
  for (std::size_t done = 0; done < changes.size() && !filling.page.more;) {
    std::vector<ConversationId> conversations;
    for (std::size_t i = done; i < std::min(changes.size(), done + filling.step()); ++i) conversations.push_back(changes[i].conversation);
    CO_TRY_ASSIGN(std::vector<TimelineEnd> ends, co_await timelines_.ends(std::move(conversations), filling.bytes_left()));
    std::vector<SeqQuery> places;
    for (std::size_t i = 0; i < ends.size(); ++i) {
      for (const InboxPosition position : {cursor.since, cursor.begun}) {
        places.push_back({filling.query.user, changes[done + i].conversation, position});
      }
    }
    CO_TRY_ASSIGN(const std::vector<MessageSeq> seqs, co_await inboxes_.seqs_at(std::move(places)));
    const bool exact = inboxes_.trimmed_through(filling.query.user.view()) <= cursor.since;
    std::vector<Line> lines;
    for (std::size_t i = 0; i < ends.size(); ++i) {
      cursor.position = changes[done].at;
      cursor.conversation = std::move(changes[done++].conversation);
      const bool listed = seqs[2 * i] < seqs[2 * i + 1];
      if (exact && listed) continue;
      lines.push_back({cursor.conversation, std::move(ends[i]), cursor.text(timelines_.epoch())});
    }
    CO_TRY(co_await add(filling, std::move(lines)));
  }
  co_return Status();
}

}  // namespace dunlin
