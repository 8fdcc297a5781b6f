#include <utility>
#include <vector>

#include "session/authorise.h"
#include "session/handlers/handlers.h"
#include "session/sync_tokens.h"

namespace dunlin {

// What the device has: cumulative, many conversations in one. Never refused. A position that was not pushed has no effect, as after
// history; but one that this store never had shows that the store was put back, and the device is reset (Claims).
void handle(const Call& call, const wire::AckRequest& request) {
  std::vector<ClaimedPosition> claimed;
  for (const wire::ConversationSeq& position : request.positions) {
    const MessageSeq seq(position.seq);
    const auto effect = call.session.delivery->on_ack(position.conversation, seq);
    if (effect.raised) {
      call.host.receipts().delivered(position.conversation, call.session.user_id.view(), effect.delivered);
      call.host.cursor_flush().note_acked(call.session);
      if (effect.delivered == seq) continue;
    }
    auto access = authorise(call.session.user_id.view(), ConversationId(position.conversation));
    if (access.ok()) claimed.push_back({*std::move(access), seq});
  }
  call.host.cursor_flush().note_changed(call.session);
  if (!claimed.empty()) call.host.claims().judge(call.session, std::move(claimed));
  if (!call.session.ready()) return;
  if (!call.id) return;
  const std::string token = mint_sync_token(call.host, call.session, std::nullopt);
  call.reply(wire::AckReply{.sync_token = token});
}

}  // namespace dunlin
