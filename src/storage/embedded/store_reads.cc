// The part of StoreParts that reads: from memory at once where that can tell, else on the offload pool.
#include <algorithm>

#include "messaging/ports/one_order.h"
#include "storage/embedded/bulk_reads.h"
#include "storage/embedded/store_parts.h"

namespace dunlin::embedded {
namespace {

void cut_ranges(std::span<const RangeQuery> queries, std::vector<RangePage>& pages) {
  for (std::size_t i = 0; i < pages.size(); ++i) {
    if (queries[i].within) cut_range(pages[i], to_log(queries[i].within->position));
  }
}

NewsPage to_port(News news) {
  return {to_page(std::move(news.activity)), std::move(news.ranges)};
}

}  // namespace

// -- Timelines

Task<Result<ConversationHead>> StoreParts::head(ConversationId conversation) {
  if (auto known = reader_->head_in_memory(conversation)) return ready(*known);
  return on_disk([this, id = std::move(conversation)] { return reader_->head(id); });
}

Task<Result<std::vector<RangePage>>> StoreParts::ranges(std::vector<RangeQuery> queries) {
  if (auto known = ranges_in_memory(*reader_, queries)) {
    cut_ranges(queries, *known);
    return ready(*std::move(known));
  }
  return on_disk([this, queries = std::move(queries)]() -> Result<std::vector<RangePage>> {
    TRY_ASSIGN(std::vector<RangePage> pages, read_ranges(*reader_, queries));
    cut_ranges(queries, pages);
    return pages;
  });
}

std::optional<RangePage> StoreParts::range_in_memory(const RangeQuery& query) {
  auto page = reader_->range_in_memory(query);
  if (page && query.within) cut_range(*page, to_log(query.within->position));
  return page;
}

Task<Result<std::vector<TimelineEnd>>> StoreParts::ends(std::vector<ConversationId> conversations, std::size_t max_bytes) {
  if (auto known = ends_in_memory(*reader_, conversations, max_bytes)) return ready(*std::move(known));
  return on_disk([this, all = std::move(conversations), max_bytes] { return read_ends(*reader_, all, max_bytes); });
}

// -- Inboxes

Task<Result<InboxEnd>> StoreParts::newest(UserId user) {
  const InboxPosition listed = read_raises_.listed();
  const LogPosition settled = committer_->settled();
  // What is told last is in the window.
  const auto in_window = window_->users().newest(user.view());
  if (in_window && *in_window > settled) return ready(InboxEnd{to_inbox(*in_window), listed});
  if (reader_->active_since_in_memory(user.view(), settled) == false) return ready(InboxEnd{to_inbox(settled), listed});
  return on_disk([this, user = std::move(user), settled, listed]() -> Result<InboxEnd> {
    TRY_ASSIGN(const InboxPosition newest, newest_now(user, settled));
    return InboxEnd{newest, listed};
  });
}

// A record may be answered before it is settled, and who was answered expects it in his list. Whoever has seen a record finds all below it
// from then on.
Result<InboxPosition> StoreParts::newest_now(const UserId& user, LogPosition settled) {
  TRY_ASSIGN(const ActivityPage page, reader_->activity_newest(user, LogPosition(UINT64_MAX), 1));
  return to_inbox(page.entries.empty() ? settled : std::max(settled, page.entries.front().last_position));
}

Task<Result<NewsPage>> StoreParts::news_since(NewsQuery query) {
  query.max_entries = std::max<std::size_t>(query.max_entries, 1);
  if (auto news = reader_->news_since_in_memory(query)) return ready(to_port(*std::move(news)));
  return on_disk([this, query = std::move(query)]() -> Result<NewsPage> {
    TRY_ASSIGN(News news, reader_->news_since(query));
    return to_port(std::move(news));
  });
}

Task<Result<InboxPage>> StoreParts::newest_entries(UserId user, InboxPosition from, std::size_t limit) {
  return on_disk([this, user = std::move(user), from, limit]() -> Result<InboxPage> {
    TRY_ASSIGN(ActivityPage page, reader_->activity_newest(user, to_log(from), std::max<std::size_t>(limit, 1)));
    return to_page(std::move(page));
  });
}

Task<Result<std::vector<MessageSeq>>> StoreParts::seqs_at(std::vector<SeqQuery> queries) {
  std::vector<PlaceQuery> places;
  places.reserve(queries.size());
  for (SeqQuery& query : queries) places.push_back({std::move(query.conversation), to_log(query.position)});
  if (auto known = seqs_in_memory(*reader_, places)) return ready(*std::move(known));
  return on_disk([this, places = std::move(places)] { return read_seqs(*reader_, places); });
}

Task<Result<ConversationsPage>> StoreParts::conversations(UserId user, ConversationId after, std::size_t limit) {
  return on_disk([this, user = std::move(user), after = std::move(after), limit] {
    return reader_->conversations(user, after, std::max<std::size_t>(limit, 1));
  });
}

std::optional<InboxPosition> StoreParts::quiet_through(std::string_view user, InboxPosition after) {
  if (to_log(after) >= std::max(window_->published(), committer_->settled())) return after;  // usual where little is sent: no lock
  QuietLook look;
  look.settled = to_inbox(committer_->settled());
  if (const StoreListener* const listener = committer_->listener()) look.told = listener->told(user);
  look.active = reader_->active_since_in_memory(user, to_log(after));
  look.began_at = to_inbox(run_.began_at);
  look.trimmed = trimmed_through(user);
  return quiet_in_one_order(after, look);
}

Task<Result<bool>> StoreParts::never_named(UserId, InboxPosition position, std::uint64_t run) {
  const bool of_earlier_run = run != 0 && run != run_.id;
  const LogPosition newest = of_earlier_run ? run_.began_at : std::max(window_->published(), committer_->settled());
  return ready(to_log(position) > newest);
}

}  // namespace dunlin::embedded
