#include <algorithm>

#include "messaging/delivery/rewind.h"
#include "runtime/spawn.h"
#include "session/authorise.h"
#include "session/handlers/handlers.h"
#include "session/sync_tokens.h"

namespace dunlin {
namespace {

wire::ConversationView view_of(const ConversationSummary& summary) {
  wire::ConversationView view{.conversation = summary.conversation.view(),
                              .kind = "private",
                              .with = summary.peer.view(),
                              .head_seq = summary.last_seq.value(),
                              .first_seq = summary.first_seq.value(),
                              .read_seq = summary.read_seq.value(),
                              .unread = summary.unread,
                              .peer_delivered_seq = summary.peer_delivered_seq.value(),
                              .peer_read_seq = summary.peer_read_seq.value(),
                              .last_message = std::nullopt};
  if (summary.last_message) view.last_message = message_view(*summary.last_message);
  return view;
}

// The page as a reply, cut at the packet limit with at least one line; then the cursor is that of the first line which does not fit.
wire::SyncReply cut_reply(const ConversationListPage& page, wire::Encoding encoding, std::size_t max_bytes) {
  wire::SyncReply reply;
  reply.more = page.more;
  if (page.more) reply.cursor = page.next;
  std::size_t cursor_bytes = page.next.size();
  for (const ConversationSummary& summary : page.conversations) cursor_bytes = std::max(cursor_bytes, summary.cursor.size());
  std::size_t bytes = wire::kReplyEnvelopeBytes + 2 * cursor_bytes;  // as JSON a user's name in it may take twice as much
  for (const ConversationSummary& summary : page.conversations) {
    const wire::ConversationView view = view_of(summary);
    const std::size_t size = wire::encoded_bytes_at_most(encoding, view);
    if (!reply.conversations.empty() && bytes + size > max_bytes) {
      reply.more = true;
      reply.cursor = summary.cursor;
      break;
    }
    bytes += size;
    reply.conversations.push_back(view);
  }
  return reply;
}

// A token proves that the store was put back: all sessions are about to be told, this one too.
Task<Result<bool>> ends_epoch(SessionHost& host, UserId user, SyncToken token) {
  const SessionServices& services = host.services();
  CO_TRY_ASSIGN(const bool proved, co_await proves_rewind(token, user, services.timelines.epoch(), services.inboxes));
  if (!proved) co_return false;
  RewindProof proof{std::move(user), token.epoch, *token.position, "a sync_token"};
  CO_TRY(co_await end_epoch(services.timelines, services.inboxes, std::move(proof)));
  co_return true;
}

Task<void> run(SessionHost& host, ConnectionHandle handle, std::optional<wire::RequestId> id, ConversationListQuery query,
               std::optional<SyncToken> token, bool reset) {
  if (token) {
    const auto ended = co_await ends_epoch(host, query.user, *token);
    if (!ended.ok() || *ended) {
      Session* session = host.find(handle);
      if (session == nullptr) co_return;
      if (!ended.ok()) Call{host, session->connection, *session, id}.refuse(ended.error());
      co_return host.query_ended(*session);
    }
  }
  if (query.since) {
    // It may come from a page cursor, which anyone can write: beyond the inbox it proves nothing, and is worth nothing.
    const auto beyond = co_await host.services().inboxes.never_named(query.user, *query.since, 0);
    reset = !beyond.ok() || *beyond;
    if (reset) query.since.reset();
  }
  const bool covers_all = query.named.empty();
  const auto page = co_await host.conversation_list().list(std::move(query));
  Session* session = host.find(handle);
  if (session == nullptr) co_return;
  const Call call{host, session->connection, *session, id};
  if (page.ok()) {
    wire::SyncReply reply = cut_reply(*page, session->encoding, host.options().max_reply_bytes);
    const std::string sealed = session->attached && covers_all ? mint_sync_token(host, *session, page->snapshot) : std::string();
    reply.sync_token = sealed;
    reply.reset = reset;
    host.services().metrics.sync_conversations.observe(reply.conversations.size());
    call.reply(reply);
  } else {
    call.refuse(page.error());
  }
  host.query_ended(*session);
}

}  // namespace

// The conversation list: the newest N, what changed since a sync_token, or those that are named. A token that means nothing here gets the
// full list, marked reset.
void handle(const Call& call, const wire::SyncRequest& request) {
  const SessionOptions& options = call.host.options();
  ConversationListQuery query;
  query.user = call.session.user_id;
  query.limit = request.limit == 0 ? options.default_sync : std::min(request.limit, options.max_sync);
  query.page = std::string(request.cursor);
  bool reset = false;
  std::optional<SyncToken> token;
  if (!request.sync_token.empty()) {
    token = parse_sync_token(call.host, call.session, request.sync_token);
    if (token && token->epoch == call.host.services().timelines.epoch()) query.since = token->listed;
    reset = !query.since.has_value();
  }
  if (request.conversations.size() > options.max_sync) {
    return call.refuse(Error(ErrorCode::TooLarge, "sync.conversations has more than " + std::to_string(options.max_sync) + " elements"));
  }
  for (std::string_view each : request.conversations) {
    auto access = authorise(query.user.view(), ConversationId(each));
    if (!access.ok()) return call.refuse(access.error());
    query.named.push_back(*std::move(access));
  }
  call.host.query_began(call.session);
  spawn(run(call.host, call.session.handle(), call.id, std::move(query), token, reset));
}

}  // namespace dunlin
