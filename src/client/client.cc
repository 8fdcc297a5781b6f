#include "client/client.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <random>

namespace dunlin::client {
namespace {

// The number's range alone says what may be done (base/error_codes.inc).
bool is_final(std::uint32_t code) {
  return code >= 4500 && code <= 4999;
}

std::uint64_t seed_or_random(std::uint64_t seed) {
  return seed != 0 ? seed : std::random_device{}();
}

}  // namespace

Client::Client(ClientOptions options, ClientEvents& events)
    : options_(std::move(options)),
      events_(events),
      decoder_(wire::make_server_packet_decoder(wire::Encoding::Json)),
      backoff_(seed_or_random(options_.backoff_seed)) {}

Client::~Client() = default;

bool Client::run_once(Milliseconds limit, int extra_fd) {
  if (!channel_ && !fatal_ && clock_.monotonic() >= next_attempt_) try_connect();
  if (session_open_) {
    flush_acks();
    flush_outbox();
    keep_alive();
  }
  pollfd entries[2] = {{extra_fd, POLLIN, 0}, {channel_ ? channel_->fd() : -1, POLLIN, 0}};
  const bool waiting = channel_ && channel_->has_pending();
  ::poll(entries, 2, waiting ? 0 : static_cast<int>(until_next_duty(limit).count()));
  if (channel_ && (waiting || entries[1].revents != 0)) receive();
  return extra_fd >= 0 && entries[0].revents != 0;
}

Milliseconds Client::until_next_duty(Milliseconds limit) const {
  const MonotonicTime now = clock_.monotonic();
  MonotonicTime due = now + limit;
  if (!channel_ && !fatal_) due = std::min(due, next_attempt_);
  if (session_open_) due = std::min(due, last_ping_ + heartbeat_);
  if (const auto retry = outbox_.next_retry(); session_open_ && retry) due = std::min(due, *retry);
  return std::max(Milliseconds(0), std::chrono::ceil<Milliseconds>(due - now));
}

void Client::try_connect() {
  auto token = options_.token();
  if (!token.ok()) {
    fatal_ = std::move(token).error();
    return;
  }
  auto opened = Channel::open(options_.url, options_.tls, options_.connect_limit);
  if (!opened.ok()) {
    const auto code = static_cast<std::uint32_t>(opened.error().code());
    if (is_final(code) || opened.error().code() == ErrorCode::Config) {
      fatal_ = std::move(opened).error();
    } else {
      disconnected(opened.error());
    }
    return;
  }
  channel_ = std::move(opened).value();
  last_heard_ = last_ping_ = clock_.monotonic();
  wire::ConnectRequest connect;
  connect.token = *token;
  connect.device = options_.device;
  connect.platform = options_.platform;
  connect.sync_token = sync_token_;
  connect_request_ = request(connect);
}

void Client::receive() {
  while (channel_) {
    auto payload = channel_->receive();
    if (!payload.ok()) {
      disconnected(payload.error());
      return;
    }
    if (!payload->has_value()) return;
    last_heard_ = clock_.monotonic();
    take_payload(**payload);
  }
}

void Client::take_payload(std::string& payload) {
  std::string_view rest = payload;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    if (end != 0) events_.on_packet(rest.substr(0, end));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  wire::ServerPacket packet;
  decoder_->start_copy(payload);
  while (channel_ && decoder_->next(packet)) {
    if (const auto* reply = std::get_if<wire::Reply>(&packet.content)) take(*reply);
    if (const auto* push = std::get_if<wire::Push>(&packet.content)) take(*push);
  }
}

void Client::take(const wire::Reply& reply) {
  if (const auto* error = std::get_if<wire::ErrorReply>(&reply.body)) {
    take_error(reply.id, *error);
  } else if (const auto* connect = std::get_if<wire::ConnectReply>(&reply.body)) {
    take_connect_reply(*connect);
  } else if (const auto* send = std::get_if<wire::SendReply>(&reply.body)) {
    // Own messages are not pushed to the session that sent them: they advance what was received here.
    if (send->seq > 0) {
      auto& known = received_[std::string(send->conversation)];
      if (send->seq == known + 1) known = send->seq;
    }
    if (const auto settled = reply.id ? outbox_.on_stored(*reply.id) : std::nullopt) events_.on_stored(*settled, *send);
  } else if (const auto* ack = std::get_if<wire::AckReply>(&reply.body)) {
    if (acks_under_way_ > 0) --acks_under_way_;
    if (!ack->sync_token.empty()) sync_token_ = ack->sync_token;
  } else if (const auto* history = std::get_if<wire::HistoryReply>(&reply.body)) {
    history_request_.reset();
    events_.on_history(*history);
  }
}

void Client::take_connect_reply(const wire::ConnectReply& reply) {
  session_open_ = true;
  backoff_.reset();
  kick_code_.reset();
  acks_under_way_ = 0;
  if (reply.heartbeat_interval_ms > 0) heartbeat_ = Milliseconds(static_cast<std::int64_t>(reply.heartbeat_interval_ms));
  if (sync_token_.empty() || reply.resume == Resume::Reset) sync_token_ = reply.sync_token;
  // After a reset the seqs of before mean nothing.
  if (reply.resume == Resume::Reset) received_.clear();
  outbox_.on_connected(reply.session);
  events_.on_connected(reply);
}

void Client::take_error(std::optional<wire::RequestId> id, const wire::ErrorReply& error) {
  if (!session_open_) {
    if (is_final(error.code)) {
      fatal_ = Error(ErrorCode::Unauthorized, fmt::format("{} ({}): {}", error.name, error.code, error.message));
      close();
    } else {
      disconnected(Error(ErrorCode::Io, fmt::format("{}: {}", error.name, error.message)));
    }
    return;
  }
  if (id && outbox_.holds(*id)) {
    const Milliseconds pause(std::max<std::int64_t>(100, static_cast<std::int64_t>(std::min<std::uint64_t>(error.retry_after_ms, 60'000))));
    const auto settled = outbox_.on_refused(*id, error.temporary, clock_.monotonic() + pause);
    if (settled) events_.on_refused(*settled, error);
  } else if (id && id == history_request_) {
    history_request_.reset();
    events_.on_history({});  // a conversation that does not exist yet has none
  } else if (acks_under_way_ > 0) {
    --acks_under_way_;
  }
}

void Client::take(const wire::Push& push) {
  if (const auto* message = std::get_if<wire::MessagePush>(&push)) take_message(message->message);
  if (const auto* gap = std::get_if<wire::GapPush>(&push)) take_gap(gap->gap);
  if (const auto* receipt = std::get_if<wire::ReceiptPush>(&push)) events_.on_receipt(*receipt);
  if (const auto* typing_push = std::get_if<wire::TypingPush>(&push)) events_.on_typing(*typing_push);
  if (const auto* notice = std::get_if<wire::NoticePush>(&push)) events_.on_notice(*notice);
  if (const auto* kick = std::get_if<wire::KickPush>(&push)) kick_code_ = kick->code;
  if (const auto* drain = std::get_if<wire::DrainPush>(&push)) {
    next_attempt_ = clock_.monotonic() + Milliseconds(static_cast<std::int64_t>(std::min<std::uint64_t>(drain->delay_ms, 60'000)));
  }
}

void Client::take_message(const wire::MessageView& message) {
  if (message.transient) {
    events_.on_message(message);
    return;
  }
  std::string conversation(message.conversation);
  std::uint64_t& known = received_[conversation];
  acks_[std::move(conversation)] = std::max(known, message.seq);
  if (message.seq <= known) return;  // sent again because an ack was late
  known = message.seq;
  events_.on_message(message);
}

void Client::take_gap(const wire::GapView& gap) {
  std::string conversation(gap.conversation);
  std::uint64_t& known = received_[conversation];
  acks_[std::move(conversation)] = std::max(known, gap.to_seq);
  if (gap.to_seq <= known) return;
  known = gap.to_seq;
  events_.on_gap(gap);
}

void Client::flush_acks() {
  if (!options_.ack) acks_.clear();
  if (acks_.empty()) return;
  std::vector<wire::ConversationSeq> positions;
  for (const auto& [conversation, seq] : acks_) {
    positions.push_back({conversation, seq});
    if (positions.size() == 500) break;
  }
  ++acks_under_way_;
  request(wire::AckRequest{positions});
  std::size_t count = positions.size();
  acks_.erase(acks_.begin(), std::next(acks_.begin(), static_cast<std::ptrdiff_t>(count)));
}

void Client::flush_outbox() {
  while (session_open_) {
    const auto attempt = outbox_.next(clock_.monotonic(), [this] { return ++last_request_; });
    if (!attempt) return;
    wire::SendRequest send;
    send.target.user = attempt->message->to;
    send.client_msg_id = attempt->message->client_msg_id;
    send.body = attempt->message->body;
    transmit({attempt->id, send});
  }
}

void Client::keep_alive() {
  const MonotonicTime now = clock_.monotonic();
  if (now - last_heard_ > heartbeat_ * 5 / 2) {
    disconnected(Error(ErrorCode::Timeout, "the server has been silent for too long"));
  } else if (now - last_ping_ >= heartbeat_) {
    last_ping_ = now;
    request(wire::PingRequest{});
  }
}

void Client::send(std::string to, std::string body) {
  outbox_.add({std::move(to), std::move(body), {}});
}

void Client::request_history(std::string_view with, std::uint32_t limit) {
  if (!session_open_) return;
  wire::HistoryRequest history;
  history.target.user = with;
  history.limit = limit;
  history_request_ = request(history);
}

void Client::typing(std::string_view to, bool active) {
  wire::TypingRequest typing_request;
  typing_request.target.user = to;
  typing_request.active = active;
  if (session_open_) transmit({std::nullopt, typing_request});
}

void Client::read(std::string_view conversation, std::uint64_t seq) {
  if (session_open_) transmit({std::nullopt, wire::ReadRequest{conversation, seq}});
}

wire::RequestId Client::request(wire::Command command) {
  const wire::RequestId id = ++last_request_;
  transmit({id, std::move(command)});
  return id;
}

void Client::transmit(const wire::Request& request) {
  std::string packet;
  wire::append_request(wire::Encoding::Json, packet, request);
  if (!channel_) return;
  if (const Status sent = channel_->send(packet); !sent.ok()) disconnected(sent.error());
}

// Decides from what the server said, or did not say, whether and when to connect again.
void Client::disconnected(const Error& error) {
  const std::uint32_t code = kick_code_ ? *kick_code_ : (channel_ ? channel_->close_reason().code : 0);
  channel_.reset();
  session_open_ = false;
  acks_.clear();  // what is unacked will be sent again
  history_request_.reset();
  kick_code_.reset();
  if (is_final(code)) {
    fatal_ = Error(ErrorCode::Kicked, fmt::format("the server closed the connection for good (code {})", code));
    return;
  }
  const MonotonicTime now = clock_.monotonic();
  next_attempt_ = std::max(next_attempt_, now + backoff_.next());
  events_.on_disconnected(code != 0 ? Error(error.code(), fmt::format("{} (code {})", error.context(), code)) : error,
                          std::chrono::ceil<Milliseconds>(next_attempt_ - now));
}

void Client::close() {
  if (channel_) channel_->say_goodbye();
  channel_.reset();
  session_open_ = false;
}

}  // namespace dunlin::client
