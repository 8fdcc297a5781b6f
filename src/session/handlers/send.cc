#include <memory>

#include "session/authorise.h"
#include "session/handlers/handlers.h"

namespace dunlin {
namespace {

// What the client asks for, if the store gives that much.
Result<Durability> wanted_durability(Durability asked, Durability configured) {
  if (asked == Durability::Unspecified) return configured;
  if (asked == Durability::None) return Error(ErrorCode::BadRequest, "durability none is only for transient messages");
  if (asked > configured) {
    return Error(ErrorCode::DurabilityUnavailable, std::string("the server is configured for ") + std::string(durability_name(configured)));
  }
  return asked;
}

// One token of the user's bucket. False: refused and answered.
bool within_rate(const Call& call) {
  const UserRateRule& rule = call.host.options().user_sends;
  if (rule.mode == LimitMode::Off) return true;
  const auto verdict = call.host.services().user_rate.take(call.session.user_id.view(), call.host.now(), rule);
  if (verdict.allowed) {
    if (call.session.strikes > 0) --call.session.strikes;
    return true;
  }
  ServerMetrics& metrics = call.host.services().metrics;
  if (rule.mode == LimitMode::Observe) {
    metrics.limited(metrics::Limit::UserSends, metrics::LimitOutcome::WouldReject).add();
    return true;
  }
  metrics.limited(metrics::Limit::UserSends, metrics::LimitOutcome::Rejected).add();
  call.refuse(Error(ErrorCode::RateLimited, "this user sends too much"), verdict.retry_after);
  if (++call.session.strikes > call.host.options().abuse_strikes) call.host.kick(call.session, ErrorCode::RateLimited);
  return false;
}

// The session's own send order: when a limit has refused one send, those behind it to the same conversation are refused until it comes
// again. Else m2 would be stored before m1. False: refused and answered.
bool in_order(const Call& call, std::string_view conversation, const wire::SendRequest& request) {
  if (!call.session.own_order) return true;
  if (call.host.sends().orders().admit(call.session.session_key, conversation, request.client_msg_id, request.abandon)) return true;
  call.refuse(Error(ErrorCode::RetryInOrder));
  return false;
}

void hold_back(const Call& call, std::string_view conversation, std::string_view client_msg_id) {
  if (call.session.phase != Session::Phase::Ready) return;
  if (!call.session.own_order) {
    call.host.sends().orders().begin(call.session.session_key);
    call.session.own_order = true;
  }
  call.host.sends().orders().block(call.session.session_key, conversation, client_msg_id);
}

// To whoever is online now: the peer and the user's other devices.
void send_transient(const Call& call, const ConversationAccess& access, const wire::SendRequest& request) {
  const auto signal =
      std::make_shared<const Signal>(TransientSignal{access.conversation(), call.session.user_id, std::string(request.client_msg_id),
                                                     std::string(request.content_type), std::string(request.body)});
  Dispatcher& dispatcher = call.host.services().dispatcher;
  const ConnectionRef own = call.session.handle().bits();
  dispatcher.route(access.peer(), signal, own);
  if (access.peer() != call.session.user_id.view()) dispatcher.route(call.session.user_id.view(), signal, own);
  call.reply(wire::SendReply{.conversation = access.conversation().view(),
                             .seq = 0,
                             .time_ms = static_cast<std::uint64_t>(to_ms(call.host.wall())),
                             .durability = Durability::None});
}

}  // namespace

void handle(const Call& call, const wire::SendRequest& request) {
  auto access = authorise(call.session.user_id.view(), request.target);
  if (!access.ok()) return call.refuse(access.error());
  const std::string_view conversation = access->conversation().view();
  if (request.transient) {
    if (within_rate(call)) send_transient(call, *access, request);
    return;
  }
  const auto durability = wanted_durability(request.durability, call.host.services().timelines.durability());
  if (!durability.ok()) return call.refuse(durability.error());
  if (!in_order(call, conversation, request)) return;
  if (!within_rate(call)) return hold_back(call, conversation, request.client_msg_id);

  AppendRequest append;
  append.message = Message::create({.conversation = conversation,
                                    .sender = call.session.user_id.view(),
                                    .client_msg_id = request.client_msg_id,
                                    .content_type = request.content_type,
                                    .body = request.body,
                                    .accepted = call.host.now()});
  append.durability = *durability;
  append.session = call.session.session_key;
  append.id = NumberedMsgId::parse(request.client_msg_id);
  append.abandon = request.abandon;
  call.host.sends().append(call.session, std::move(append), call.id);
}

}  // namespace dunlin
