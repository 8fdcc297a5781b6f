#include "session/handlers/handlers.h"

namespace dunlin {

// A heartbeat: the sign of life itself was noted when the frame came; here lost hints and unacked pushes are found.
void handle(const Call& call, const wire::PingRequest&) {
  call.reply(wire::PingReply{.time_ms = static_cast<std::uint64_t>(to_ms(call.host.wall()))});
  call.host.heartbeat(call.session);
}

}  // namespace dunlin
