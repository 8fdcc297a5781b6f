#include "runtime/spawn.h"
#include "session/authorise.h"
#include "session/handlers/handlers.h"

namespace dunlin {
namespace {

Task<void> run(SessionHost& host, ConnectionHandle handle, std::optional<wire::RequestId> id, UserId user, ConversationId conversation,
               MessageSeq seq) {
  const auto effect = co_await host.timelines().read(user, conversation, seq);
  // The read position has risen whether or not the session is still there, so others are told in any case.
  if (effect.ok()) host.receipts().read(conversation.view(), user.view(), effect->read_seq, handle.bits());
  Session* session = host.find(handle);
  if (session == nullptr) co_return;
  const Call call{host, session->connection, *session, id};
  if (effect.ok()) {
    call.reply(wire::ReadReply{.read_seq = effect->read_seq.value()});
  } else {
    call.refuse(effect.error());
  }
  host.query_ended(*session);
}

}  // namespace

// Raises the user's read position: max of all, whatever the order. Never refused for being frequent.
void handle(const Call& call, const wire::ReadRequest& request) {
  auto access = authorise(call.session.user_id.view(), {.user = {}, .conversation = request.conversation});
  if (!access.ok()) return call.refuse(access.error());
  call.host.query_began(call.session);
  spawn(run(call.host, call.session.handle(), call.id, call.session.user_id, access->conversation(), MessageSeq(request.seq)));
}

}  // namespace dunlin
