#include <utility>
#include <vector>

#include "session/authorise.h"
#include "session/handlers/handlers.h"

namespace dunlin {

// What the device has: cumulative, many conversations in one. Never refused; positions that were not pushed have no effect, but for one
// that this store never had: then the device is reset.
void handle(const Call& call, const wire::AckRequest& request) {
  std::vector<ClaimedPosition> claimed;
  for (const wire::ConversationSeq& position : request.positions) {
    const MessageSeq seq(position.seq);
    const auto effect = call.session.delivery->on_ack(position.conversation, seq);
    if (effect.raised) {
      call.host.receipts().delivered(position.conversation, call.session.user_id.view(), effect.delivered);
      call.host.note_acked(call.session);
      if (effect.delivered == seq) continue;
    }
    auto access = authorise(call.session.user_id.view(), ConversationId(position.conversation));
    if (access.ok()) claimed.push_back({*std::move(access), seq});
  }
  call.host.note_changed(call.session);
  if (!claimed.empty()) call.host.judge(call.session, std::move(claimed));
  if (!call.session.ready()) return;
  if (!call.id) return;
  const std::string token = call.host.mint_sync_token(call.session, std::nullopt);
  call.reply(wire::AckReply{.sync_token = token});
}

}  // namespace dunlin
