// The receiving half of Connection: from the socket through the codecs to the handler.
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "codec/ws_frame.h"
#include "net/connection.h"
#include "net/connection_set.h"
#include "net/opening.h"
#include "net/tls.h"

namespace dunlin {

std::size_t Connection::read_into(char* data, std::size_t size, StreamEnd& end) {
  end = StreamEnd::None;
  if (tls_) {
    std::size_t got = 0;
    const TlsStep step = tls_->read(data, size, got);
    if (step == TlsStep::Ended) end = StreamEnd::Orderly;
    if (step == TlsStep::Failed) end = StreamEnd::Broken;
    if (step == TlsStep::WantWrite && !read_waits_) {
      read_waits_ = true;
      update_interest();
    }
    return got;
  }
  const ssize_t got = ::recv(fd_, data, size, 0);
  if (got > 0) return static_cast<std::size_t>(got);
  if (got == 0) end = StreamEnd::Orderly;
  if (got < 0 && errno != EAGAIN && errno != EINTR) end = StreamEnd::Broken;
  return 0;
}

// One read a turn: the socket says so if there is more, and the others get their share.
void Connection::read_ready() {
  char* const buffer = set_->read_buffer_.get();
  StreamEnd end = StreamEnd::None;
  const std::size_t got = read_into(buffer, net_options().read_buffer_bytes, end);
  set_->counters_.bytes_in.add(got);
  if (got > 0) process({buffer, got});
  if (end != StreamEnd::None && state_ != State::Dead) peer_ended(end);
}

void Connection::process(MutableBytes input) {
  while (may_process() && (framing_ == Framing::WebSocket ? process_ws(input) : process_tcp(input))) {
  }
  if (state_ == State::Open && !input.empty() && !may_process()) {
    held_ = std::make_unique<std::string>(input.view());
    held_->append(kPayloadPadding, '\0');
    update_interest();
  }
  account_pinned();
}

void Connection::process_held() {
  const auto held = std::move(held_);
  process({held->data(), held->size() - kPayloadPadding});
  update_interest();
}

// One event; false when there is no more in the input.
bool Connection::process_ws(MutableBytes& input) {
  const WsDecoder::Event event = ws_.next(listening_->ws_limits, input);
  if (event.type == WsDecoder::Type::NeedMore) return false;
  if (event.type == WsDecoder::Type::Close) {
    handle_ws_close(event);
    return false;
  }
  if (state_ == State::Closing) {  // we have said our last word and wait only for the close frame
    if (event.type == WsDecoder::Type::Error) {
      peer_closed_ = true;
      note_dirty();
    }
    return event.type != WsDecoder::Type::Error;
  }
  switch (event.type) {
    case WsDecoder::Type::Message:
      set_->counters_.messages_in.add();
      handler().on_message(*this, {event.payload, event.kind});
      return true;
    case WsDecoder::Type::Ping: {
      char header[kMaxFrameHeader];
      const std::size_t size = write_ws_header(header, WsOpcode::Pong, event.payload.size);
      enqueue(std::string_view(header, size));
      enqueue(event.payload.view());
      bound_replies();
      handler().on_control(*this);
      return true;
    }
    case WsDecoder::Type::Pong: handler().on_control(*this); return true;
    default: break;
  }
  const CloseCause cause = event.code == kWsTooBig           ? CloseCause::TooLarge
                           : event.code == kWsInvalidPayload ? CloseCause::BadUtf8
                                                             : CloseCause::BadFrame;
  fail(cause, event.code, event.text);
  return false;
}

bool Connection::process_tcp(MutableBytes& input) {
  const TcpDecoder::Event event = tcp_.next(framing_, listening_->options.max_message_bytes, input);
  if (event.type == TcpDecoder::Type::NeedMore) return false;
  if (event.type == TcpDecoder::Type::TooLarge) {
    fail(CloseCause::TooLarge, static_cast<std::uint16_t>(ErrorCode::TooLarge), {});
    return false;
  }
  if (surplus_) {
    if (!event.payload.empty()) turn_away(event.payload.view());
    return true;
  }
  set_->counters_.messages_in.add();
  const MessageKind kind = framing_ == Framing::TcpLines ? MessageKind::Text : MessageKind::Binary;
  handler().on_message(*this, {event.payload, kind});
  return true;
}

// The peer's close frame: answered with its code if we have not sent ours, and then we end TCP, as the server should.
void Connection::handle_ws_close(const WsDecoder::Event& event) {
  const bool first = state_ == State::Open;
  peer_closed_ = true;
  if (first) {
    end_open({CloseCause::PeerClose, event.code});
    start_closing(event.code, {});
  }
  note_dirty();
}

// Memory for incomplete input is bounded over the whole process, since a hundred thousand strangers may each begin a message.
void Connection::account_pinned() {
  const std::size_t now = state_ == State::Dead ? 0 : ws_.pinned_bytes() + tcp_.pinned_bytes() + (held_ ? held_->size() : 0);
  if (now == pinned_) return;
  auto& total = set_->shared_.incomplete_bytes;
  const bool grown = now > pinned_;
  const std::uint64_t before =
      grown ? total.fetch_add(now - pinned_, std::memory_order_relaxed) : total.fetch_sub(pinned_ - now, std::memory_order_relaxed);
  const bool over = grown && before + now - pinned_ > net_options().incomplete_bytes;
  pinned_ = static_cast<std::uint32_t>(now);
  if (!over || state_ != State::Open) return;
  ws_.reset();
  tcp_.reset();
  held_.reset();
  total.fetch_sub(pinned_, std::memory_order_relaxed);
  pinned_ = 0;
  fail(CloseCause::MemoryBound, framing_ == Framing::WebSocket ? kWsTryAgainLater : static_cast<std::uint16_t>(ErrorCode::Overloaded),
       "too many incomplete messages");
}

void Connection::peer_ended(StreamEnd end) {
  if (state_ == State::Open) {
    const bool orderly = end == StreamEnd::Orderly && framing_ != Framing::WebSocket && pinned_ == 0;
    if (orderly) {  // it may still read
      input_ended_ = true;
      update_interest();
      if (surplus_ || !handler().on_half_closed(*this)) finish();
      return;
    }
    end_open({input_ended_ ? CloseCause::PeerClose : CloseCause::PeerGone, 0});
  }
  die();
}

}  // namespace dunlin
