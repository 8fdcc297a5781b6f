#include "session/handlers/handlers.h"

namespace dunlin {

// What the device has: cumulative, many conversations in one. Never refused; positions that were not pushed have no effect.
void handle(const Call& call, const wire::AckRequest& request) {
  for (const wire::Position& position : request.positions) {
    const auto effect = call.session.delivery->on_ack(position.conversation, MessageSeq(position.seq));
    if (effect.raised) call.host.receipts().delivered(position.conversation, call.session.user_id.view(), effect.delivered);
  }
  call.host.note_changed(call.session);
  if (!call.id) return;
  const std::string token = call.host.mint_sync_token(call.session, std::nullopt);
  call.reply(wire::AckReply{.sync_token = token});
}

}  // namespace dunlin
