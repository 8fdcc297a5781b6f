#include <algorithm>

#include "runtime/spawn.h"
#include "session/authorise.h"
#include "session/handlers/handlers.h"

namespace dunlin {
namespace {

// The reply of a page, cut at the packet limit with at least one item: from the end at which the reading began.
wire::HistoryReply cut_reply(const HistoryPage& page, wire::Encoding encoding, std::string_view conversation, bool ascending,
                             std::size_t max_bytes) {
  wire::HistoryReply reply;
  reply.more = page.more;
  std::size_t bytes = wire::kReplyEnvelopeBytes;
  std::size_t taken = 0;
  MessageSeq edge;  // the last message that fits
  const std::size_t count = page.messages.size();
  for (; taken < count; ++taken) {
    const Message& message = *page.messages[ascending ? taken : count - 1 - taken];
    const std::size_t size = wire::encoded_bytes_at_most(encoding, message_view(message));
    if (taken > 0 && bytes + size > max_bytes) break;
    bytes += size;
    edge = message.seq();
  }
  const bool cut = taken < count;
  reply.more = reply.more || cut;
  const std::size_t first = ascending ? 0 : count - taken;
  for (std::size_t i = first; i < first + taken; ++i) reply.messages.push_back(message_view(*page.messages[i]));
  for (const SeqGap& gap : page.gaps) {
    if (cut && (ascending ? gap.from > edge : gap.to < edge)) continue;
    reply.gaps.push_back(gap_view(conversation, gap));
  }
  return reply;
}

Task<void> run(SessionHost& host, ConnectionHandle handle, std::optional<wire::RequestId> id, HistoryQuery query) {
  const ConversationId conversation = query.access.conversation();
  const bool ascending = query.after.has_value();
  const auto page = co_await host.timelines().history(std::move(query));
  Session* session = host.find(handle);
  if (session == nullptr) co_return;
  const Call call{host, session->connection, *session, id};
  if (page.ok()) {
    call.reply(cut_reply(*page, session->encoding, conversation.view(), ascending, host.options().max_reply_bytes));
  } else {
    call.refuse(page.error());
  }
  host.query_ended(*session);
}

}  // namespace

// A part of a conversation, by seq in either direction.
void handle(const Call& call, const wire::HistoryRequest& request) {
  auto access = authorise(call.session.user_id.view(), request.target);
  if (!access.ok()) return call.refuse(access.error());
  if (!call.host.options().history_enabled) return call.refuse(Error(ErrorCode::Forbidden, "history is switched off on this server"));
  HistoryQuery query{.access = *std::move(access), .before = std::nullopt, .after = std::nullopt};
  if (request.before_seq) query.before = MessageSeq(*request.before_seq);
  if (request.after_seq) query.after = MessageSeq(*request.after_seq);
  const SessionOptions& options = call.host.options();
  query.limit = request.limit == 0 ? options.default_history : std::min(request.limit, options.max_history);
  query.max_bytes = options.max_reply_bytes;
  call.host.query_began(call.session);
  spawn(run(call.host, call.session.handle(), call.id, std::move(query)));
}

}  // namespace dunlin
