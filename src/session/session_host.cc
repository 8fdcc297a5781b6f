#include "session/session_host.h"

#include <algorithm>
#include <utility>

#include "codec/ws_frame.h"
#include "session/connection_ref.h"

namespace dunlin {
namespace {

metrics::Transport transport_label(Transport transport) {
  return transport == Transport::WebSocket ? metrics::Transport::WebSocket : metrics::Transport::Tcp;
}

metrics::Encoding encoding_label(wire::Encoding encoding) {
  return encoding == wire::Encoding::Json ? metrics::Encoding::Json : metrics::Encoding::Protobuf;
}

metrics::ClientEnd client_end(CloseCause cause) {
  switch (cause) {
    case CloseCause::PeerClose: return metrics::ClientEnd::Closed;
    case CloseCause::BadFrame:
    case CloseCause::BadUtf8: return metrics::ClientEnd::ProtocolError;
    default: return metrics::ClientEnd::Lost;
  }
}

}  // namespace

void Session::set_token(const auth::Identity& identity) {
  token_expires = identity.expires;
  const auto begins = std::chrono::floor<std::chrono::seconds>(identity.begins.time_since_epoch()).count();
  token_begins_s = static_cast<std::uint32_t>(std::clamp<std::int64_t>(begins, 0, UINT32_MAX));
}

DeliverySink::Pushed Session::push_message(const MessagePtr& message) {
  return host.pushes().message(*this, message);
}

DeliverySink::Pushed Session::push_gap(const ConversationId& conversation, const SeqGap& gap) {
  return host.pushes().gap(*this, conversation, gap);
}

// From here on the session's timer looks whether it lags for too long.
void Session::blocked() {
  host.arm_timer(*this);
}

SessionHost::SessionHost(Worker& worker, ConnectionSet& connections, SessionServices& services, DeliveryMailbox& mailbox,
                         std::shared_ptr<const SessionOptions> options)
    : worker_(worker),
      connections_(connections),
      services_(services),
      mailbox_(mailbox),
      options_(std::move(options)),
      writer_(services.metrics),
      decoders_{wire::make_decoder(wire::Encoding::Json, options_->decoder),
                wire::make_decoder(wire::Encoding::Protobuf, options_->decoder)},
      delivery_context_{services.timelines, services.inboxes, services.clock, services.metrics, options_->delivery},
      receipts_(services.dispatcher),
      conversation_list_(services.timelines, services.inboxes, services.devices),
      timelines_(services.timelines, services.devices),
      sends_(*this),
      pushes_(*this),
      cursor_flush_(*this),
      departures_(*this),
      drain_(*this),
      claims_(*this),
      after_lost_hints_(*this, [](SessionHost& host, Session& session) { host.compare(session); }),
      after_clock_step_(*this, [](SessionHost& host, Session& session) { host.look_at_clock(session); }),
      of_ended_epoch_(*this, [](SessionHost& host, Session& session) { host.kick(session, ErrorCode::ResetRequired); }),
      clock_watch_(services.clock),
      epoch_(services.timelines.epoch()),
      flush_timer_(std::make_unique<Every>(worker, options_->cursor_flush_interval,
                                           [this] {
                                             if (clock_watch_.was_set()) after_clock_step_.begin();
                                             cursor_flush_.save();
                                           })),
      receipt_timer_(std::make_unique<Every>(worker, options_->receipt_interval, [this] { receipts_.flush(); })) {
  mailbox_.set_receiver(this);
  worker_.add_hook(*this);
}

SessionHost::~SessionHost() {
  worker_.remove_hook(*this);
  mailbox_.set_receiver(nullptr);
}

void SessionHost::set_options(std::shared_ptr<const SessionOptions> options) {
  on_worker([this, options = std::move(options)] {
    options_ = options;
    delivery_context_.options = options->delivery;
    decoders_[0] = wire::make_decoder(wire::Encoding::Json, options->decoder);
    decoders_[1] = wire::make_decoder(wire::Encoding::Protobuf, options->decoder);
  });
}

void SessionHost::set_faults(SessionFaults faults) {
  on_worker([this, faults] { pushes_.set_faults(faults); });
}

void SessionHost::drain(std::uint32_t per_second, Milliseconds reconnect_delay) {
  on_worker([this, per_second, reconnect_delay] { drain_.begin(per_second, reconnect_delay); });
}

void SessionHost::save_soon() {
  on_worker([this] { cursor_flush_.save(); });
}

void SessionHost::on_open(Connection& connection) {
  auto owned = std::make_unique<Session>(*this, connection);
  Session& session = *owned;
  connection.set_user(std::move(owned));
  session.last_life = now();
  if (connection.transport() == Transport::WebSocket) {
    session.encoding = connection.subprotocol() == 1 ? wire::Encoding::Protobuf : wire::Encoding::Json;
    session.encoding_known = true;
    count(session, 1);
  }
  if (drain_.begun()) return drain_.say_farewell(session);
  connection.arm_timer(now() + options_->auth_deadline);
}

void SessionHost::learn_encoding(Session& session, const ReceivedMessage& message) {
  if (session.encoding_known) return;
  if (session.connection.framing() == Framing::TcpLength) session.encoding = wire::encoding_of_first_payload(message.payload.view());
  session.encoding_known = true;
  count(session, 1);
}

void SessionHost::count(const Session& session, std::int64_t by) {
  services_.metrics.connections(transport_label(session.connection.transport()), encoding_label(session.encoding)).add(by);
}

void SessionHost::on_message(Connection& connection, const ReceivedMessage& message) {
  Session& session = static_cast<Session&>(*connection.user());
  session.last_life = now();
  if (session.phase == Session::Phase::Leaving) return;
  // Over TCP the first payload chooses the encoding: a frame of no bytes chooses nothing.
  if (message.payload.empty() && !session.encoding_known) return;
  learn_encoding(session, message);
  if (connection.transport() == Transport::WebSocket && message.kind != frame_kind(session.encoding)) {
    return connection.close(kWsUnsupportedData, "not the kind of message of this encoding");
  }
  wire::Decoder& decoder = *decoders_[static_cast<std::size_t>(session.encoding)];
  decoder.start({message.payload.data, message.payload.size});
  dispatch_all(session, decoder);
}

void SessionHost::dispatch_all(Session& session, wire::Decoder& decoder) {
  wire::Request request;
  while (session.connection.open() && session.phase != Session::Phase::Leaving && decoder.next(request)) {
    dispatch(session, request);
    if (session.phase != Session::Phase::Connecting) continue;
    // What comes behind connect waits for its answer: later frames because reading is paused, the rest of this one here.
    if (const std::string_view rest = decoder.rest(); !rest.empty()) session.held = std::make_unique<std::string>(rest);
    return;
  }
}

void SessionHost::dispatch_held(Session& session) {
  const std::unique_ptr<std::string> held = std::move(session.held);
  if (held == nullptr) return;
  wire::Decoder& decoder = *decoders_[static_cast<std::size_t>(session.encoding)];
  decoder.start_copy(*held);
  dispatch_all(session, decoder);
}

// Only TCP asks: a WebSocket peer learns the reason from the close code.
void SessionHost::on_failing(Connection& connection, const CloseInfo& info) {
  const Session& session = static_cast<const Session&>(*connection.user());
  writer_.push(connection, session.encoding, wire::kick_push(static_cast<ErrorCode>(info.code)));
}

void SessionHost::on_refused(Connection& connection, std::string_view first) {
  wire::Encoding encoding = connection.subprotocol() == 1 ? wire::Encoding::Protobuf : wire::Encoding::Json;
  if (connection.framing() == Framing::TcpLength && !first.empty()) encoding = wire::encoding_of_first_payload(first);
  writer_.push(connection, encoding, wire::kick_push(ErrorCode::TooManyConnections));
}

void SessionHost::on_control(Connection& connection) {
  Session& session = static_cast<Session&>(*connection.user());
  session.last_life = now();
  if (session.ready()) heartbeat(session);
}

void SessionHost::on_drained(Connection& connection) {
  Session& session = static_cast<Session&>(*connection.user());
  if (!session.attached) return;
  session.delivery->on_drained();
  cursor_flush_.note_changed(session);
}

// Its peer has said all that it will (TCP): what it asked is still answered, then this side ends too.
bool SessionHost::on_half_closed(Connection& connection) {
  Session& session = static_cast<Session&>(*connection.user());
  if (session.phase == Session::Phase::New || (session.ready() && session.idle())) return false;
  session.half_closed = true;
  return true;
}

void SessionHost::finish_half_closed(Session& session) {
  if (session.ready() && session.idle()) session.connection.finish();
}

void SessionHost::on_timer(Connection& connection) {
  check_deadlines(static_cast<Session&>(*connection.user()));
}

void SessionHost::check_deadlines(Session& session) {
  if (session.phase == Session::Phase::New) return kick(session, ErrorCode::AuthTimeout);
  if (session.phase == Session::Phase::Connecting) return kick(session, ErrorCode::Timeout);
  if (!session.ready()) return;
  if (session.delivery->too_slow()) return kick(session, ErrorCode::SlowConsumer);
  if (now() - session.last_life >= options_->zombie_after()) return kick(session, ErrorCode::HeartbeatTimeout);
  if (wall() >= session.token_expires) return kick(session, ErrorCode::TokenExpired);
  if (wall() < session.token_begins()) return kick(session, ErrorCode::TokenNotYetValid);
  arm_timer(session);
}

Result<auth::Identity> SessionHost::authenticate(std::string_view token, auth::VerifyOptions options) {
  const MonotonicTime began = services_.clock.monotonic();
  auto identity = services_.authenticator.verify(token, wall(), options);
  services_.metrics.auth_seconds.observe(services_.clock.monotonic() - began);
  return identity;
}

void SessionHost::arm_timer(Session& session) {
  MonotonicTime deadline = session.last_life + options_->zombie_after();
  if (session.token_expires != WallTime::max()) {
    const Milliseconds left = std::max(Milliseconds(0), session.token_expires - wall());
    if (left < Milliseconds(std::chrono::hours(24))) deadline = std::min(deadline, now() + left);
  }
  if (session.delivery->lagging()) {
    const Milliseconds soon = std::clamp(options_->delivery.slow_consumer_after / 4, Milliseconds(50), Milliseconds(5000));
    deadline = std::min(deadline, now() + soon);
  }
  session.connection.arm_timer(deadline);
}

// In this turn's slice of a sweep: the wall clock was set.
void SessionHost::look_at_clock(Session& session) {
  if (!session.ready() || !session.attached) return;
  session.delivery->save_soon();
  check_deadlines(session);
}

void SessionHost::heartbeat(Session& session) {
  session.delivery->on_heartbeat();
  cursor_flush_.note_changed(session);
}

void SessionHost::became_ready(Session& session, const DeviceCursor& cursor, std::vector<ConversationId> first,
                               std::optional<NewsPage> news) {
  session.phase = Session::Phase::Ready;
  session.attached = true;
  session.epoch = cursor.epoch;
  services_.metrics.sessions.add(1);
  session.delivery->start(cursor, std::move(first), std::move(news));
  cursor_flush_.note_changed(session);
  arm_timer(session);
  dispatch_held(session);
  resume(session);
}

void SessionHost::end_of_turn() {
  sends_.flush();
  writer_.forget_message();
  if (services_.timelines.epoch() != epoch_) end_epoch();
  cursor_flush_.end_of_turn();
}

void SessionHost::end_epoch() {
  epoch_ = services_.timelines.epoch();
  std::vector<ConnectionHandle> ended;
  connections_.for_each_open([&](Connection& connection) {
    Session& session = static_cast<Session&>(*connection.user());
    if (!session.ready() || session.epoch == epoch_) return;
    session.phase = Session::Phase::Leaving;  // nothing of it is heard any more
    ended.push_back(session.handle());
  });
  of_ended_epoch_.add(ended);
}

void SessionHost::receive(DeliveryBatch& batch) {
  if (batch.probe) probes_answered_.fetch_add(1, std::memory_order_relaxed);
  for (AppendOutcome& outcome : batch.acks) sends_.answer(outcome);
  for (const Hint& hint : batch.hints) {
    Session* session = find(connection_handle(hint.connection));
    if (session == nullptr || !session->delivery) continue;
    session->delivery->on_hint(hint);
    cursor_flush_.note_changed(*session);
    if (hint.own) cursor_flush_.note_acked(*session);
  }
  for (const SignalPush& push : batch.signals) pushes_.signal(push);
}

void SessionHost::hints_were_lost() {
  after_lost_hints_.begin();
}

void SessionHost::compare(Session& session) {
  if (!session.attached) return;
  session.delivery->compare();
  cursor_flush_.note_changed(session);
}

bool SessionHost::should_pause(const Session& session) const {
  return session.judging || session.phase == Session::Phase::Connecting || session.phase == Session::Phase::Leaving ||
         session.pending_sends >= options_->max_pending_sends || session.pending_queries >= options_->max_pending_queries;
}

void SessionHost::pause(Session& session) {
  if (session.reading_paused) return;
  session.reading_paused = true;
  session.connection.pause_reading();
}

void SessionHost::pause_if_full(Session& session) {
  if (should_pause(session)) pause(session);
}

void SessionHost::resume(Session& session) {
  if (session.half_closed) return finish_half_closed(session);
  if (!session.reading_paused || should_pause(session)) return;
  session.reading_paused = false;
  session.connection.resume_reading();
}

void SessionHost::query_began(Session& session) {
  ++session.pending_queries;
  pause_if_full(session);
}

void SessionHost::query_ended(Session& session) {
  --session.pending_queries;
  resume(session);
}

void SessionHost::kick(Session& session, ErrorCode code) {
  session.phase = Session::Phase::Leaving;
  if (!session.connection.open()) return;
  writer_.push(session.connection, session.encoding, wire::kick_push(code));
  session.connection.close(code);
}

void SessionHost::forget_delivery(Session& session) {
  if (!session.attached) return;
  session.attached = false;
  services_.metrics.sessions.sub(1);
}

void SessionHost::on_close(Connection& connection, const CloseInfo& info) {
  Session& session = static_cast<Session&>(*connection.user());
  session.phase = Session::Phase::Leaving;
  note_end(info);
  if (session.encoding_known) count(session, -1);
  if (session.own_order) sends_.orders().end(session.session_key);
  departures_.on_close(session);
}

void SessionHost::note_end(const CloseInfo& info) {
  if (info.cause == CloseCause::Local && info.code == kWsUnsupportedData)
    return services_.metrics.disconnects_total.add(metrics::ClientEnd::ProtocolError);
  if (info.cause == CloseCause::Local) return services_.metrics.disconnects_total.add(static_cast<ErrorCode>(info.code));
  if (info.cause == CloseCause::TooLarge) return services_.metrics.disconnects_total.add(ErrorCode::TooLarge);
  if (info.cause == CloseCause::MemoryBound) return services_.metrics.disconnects_total.add(ErrorCode::Overloaded);
  services_.metrics.disconnects_total.add(client_end(info.cause));
}

}  // namespace dunlin
