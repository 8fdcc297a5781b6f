#include <memory>

#include "session/authorise.h"
#include "session/handlers/handlers.h"

namespace dunlin {

// Told to the peer's sessions that are online now; never stored, dropped when it comes too often or anything is in the way.
void handle(const Call& call, const wire::TypingRequest& request) {
  auto access = authorise(call.session.user_id.view(), request.target);
  if (!access.ok()) return call.refuse(access.error());
  // A stop is told once after a start, so it is at most as frequent as starts are.
  const bool too_often = call.host.now() - call.session.last_typing < call.host.options().typing_interval;
  if (request.active ? !too_often : call.session.typing) {
    if (request.active) call.session.last_typing = call.host.now();
    call.session.typing = request.active;
    const auto signal = std::make_shared<const Signal>(TypingSignal{access->conversation(), call.session.user_id, request.active});
    call.host.services().dispatcher.route(access->peer(), signal, call.session.handle().bits());
  }
  call.reply(wire::TypingReply{});
}

}  // namespace dunlin
