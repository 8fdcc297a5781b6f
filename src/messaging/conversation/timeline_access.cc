#include "messaging/conversation/timeline_access.h"

#include <algorithm>

#include "messaging/model/conversation.h"

namespace dunlin {

Status TimelineAccess::authorise(std::string_view user, std::string_view conversation) {
  const auto pair = parse_private(conversation);
  if (!pair) return Error(ErrorCode::NotFound, "no such conversation");
  if (!pair->has(user)) return Error(ErrorCode::Forbidden, "not a member of this conversation");
  return {};
}

Task<Result<HistoryPage>> TimelineAccess::history(HistoryQuery query) {
  CO_TRY(authorise(query.user.view(), query.conversation.view()));
  RangeQuery range;
  range.conversation = query.conversation;
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

Task<Result<ReadEffect>> TimelineAccess::read(UserId user, ConversationId conversation, MessageSeq seq) {
  CO_TRY(authorise(user.view(), conversation.view()));
  const auto pair = parse_private(conversation.view());
  ReadEffect out;
  out.peer = UserId(pair->peer_of(user.view()));
  CO_TRY_ASSIGN(const ConversationHead head, co_await timelines_.head(conversation));
  if (seq > head.last_seq) {
    out.beyond_head = true;
    co_return out;
  }
  ReadRaise raise{user, conversation, seq, {}};
  if (out.peer != user) raise.watchers.push_back(out.peer);
  CO_TRY_ASSIGN(out.read_seq, co_await devices_.raise_read(std::move(raise)));
  co_return out;
}

}  // namespace dunlin
