#include "messaging/conversation/timeline_access.h"

#include <algorithm>

namespace dunlin {

Task<Result<HistoryPage>> TimelineAccess::history(HistoryQuery query) {
  RangeQuery range;
  range.conversation = query.access.conversation();
  range.from = query.after ? query.after->next() : MessageSeq(1);
  range.to = query.before ? MessageSeq(std::max<std::uint64_t>(query.before->value(), 1) - 1) : MessageSeq(UINT64_MAX);
  range.max_messages = std::max<std::size_t>(query.limit, 1);
  range.max_bytes = query.max_bytes;
  range.newest_first = !query.after;
  const bool overflow = query.after && query.after->value() == UINT64_MAX;
  if (range.from > range.to || overflow) co_return HistoryPage();
  CO_TRY_ASSIGN(RangePage page, co_await timelines_.range(std::move(range)));
  HistoryPage out{std::move(page.messages), std::move(page.gaps), page.more};
  if (!query.after) std::ranges::reverse(out.messages);
  std::ranges::sort(out.gaps, {}, &SeqGap::from);
  co_return out;
}

Task<Result<ReadEffect>> TimelineAccess::read(ConversationAccess access, MessageSeq seq) {
  ReadEffect out;
  CO_TRY_ASSIGN(const ConversationHead head, co_await timelines_.head(access.conversation()));
  if (seq > head.last_seq) {
    out.beyond_head = true;
    co_return out;
  }
  ReadRaise raise{UserId(access.user()), access.conversation(), seq, {}};
  if (access.peer() != access.user()) raise.watchers.emplace_back(access.peer());
  CO_TRY_ASSIGN(out.read_seq, co_await devices_.raise_read(std::move(raise)));
  co_return out;
}

}  // namespace dunlin
