#include "runtime/spawn.h"
#include "session/authorise.h"
#include "session/handlers/handlers.h"

namespace dunlin {
namespace {

Task<void> run(SessionHost& host, ConnectionHandle handle, std::optional<wire::RequestId> id, ConversationAccess access, MessageSeq seq,
               DeviceId device) {
  const UserId user(access.user());
  const ConversationId conversation = access.conversation();
  const auto effect = co_await host.timelines().read(std::move(access), seq);
  // The read position has risen whether or not the session is still there, so others are told in any case.
  const bool unknown = effect.ok() && effect->beyond_head;
  if (unknown) host.claims().reset_device(handle, user, device);
  if (effect.ok() && !unknown) host.receipts().read(conversation.view(), user.view(), effect->read_seq, handle.bits());
  Session* session = host.find(handle);
  if (session == nullptr) co_return;
  const Call call{host, session->connection, *session, id};
  if (effect.ok() && !unknown) {
    call.reply(wire::ReadReply{.read_seq = effect->read_seq.value()});
  } else if (!effect.ok()) {
    call.refuse(effect.error());
  }
  host.query_ended(*session);
}

}  // namespace

// Raises the user's read position: max of all, whatever the order. Never refused for being frequent. A device that has read what is not
// there is reset.
void handle(const Call& call, const wire::ReadRequest& request) {
  auto access = authorise(call.session.user_id.view(), ConversationId(request.conversation));
  if (!access.ok()) return call.refuse(access.error());
  call.host.query_began(call.session);
  spawn(run(call.host, call.session.handle(), call.id, *std::move(access), MessageSeq(request.seq), call.session.device));
}

}  // namespace dunlin
