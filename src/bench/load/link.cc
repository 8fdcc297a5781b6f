#include "bench/load/link.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "codec/http_upgrade.h"
#include "codec/ws_frame.h"
#include "wire/encoding.h"

namespace dunlin::bench {

namespace {

constexpr std::size_t kReadBytes = 256 * 1024;
// Answers held back to the end of a turn over hundreds of links would come in waves, in which the server and the load wait for each other.
constexpr int kReadsPerFlush = 16;
constexpr std::string_view kKey = "dGhlIHNhbXBsZSBub25jZQ==";
constexpr WsLimits kLimits{.role = WsRole::Client, .max_message_bytes = 1U << 20};

}  // namespace

void Link::send(std::string_view packet) {
  if (state_ == State::Closed) return;
  append_ws_frame(out_, WsOpcode::Text, packet, {.masked = true, .mask = loop_->next_mask()});
  loop_->mark_dirty(*this);
}

void Link::close() {
  tls_.reset();
  fd_.reset();
  state_ = State::Closed;
  out_ = {};
}

void Link::stop_reading() {
  reading_ = false;
  if (state_ != State::Closed) loop_->watch(*this, false);
}

LoadLoop::LoadLoop(const sockaddr_in& target, std::string path)
    : target_(target), path_(std::move(path)), poll_(::epoll_create1(EPOLL_CLOEXEC)), buffer_(kReadBytes + kPayloadPadding) {}

Result<Link*> LoadLoop::open(LinkEvents& events, LinkOptions options) {
  TRY_ASSIGN(Fd fd, begin_connect(target_, sources_, options.receive_buffer));
  auto link = std::make_unique<Link>();
  link->loop_ = this;
  link->events_ = &events;
  link->fd_ = std::move(fd);
  link->tag_ = options.tag;
  link->wants_write_ = true;
  watch(*link, true);
  links_.push_back(std::move(link));
  return links_.back().get();
}

Status LoadLoop::use_tls() {
  tls_ = TlsContext::trusting_client();
  return tls_ ? Status() : Error(ErrorCode::Internal, "a TLS context could not be made");
}

void LoadLoop::clear() {
  links_.clear();
  dirty_.clear();
  sources_ = {};
}

void LoadLoop::watch(Link& link, bool adding) {
  epoll_event event{};
  event.events =
      (link.reading_ ? static_cast<std::uint32_t>(EPOLLIN) : 0U) | (link.wants_write_ ? static_cast<std::uint32_t>(EPOLLOUT) : 0U);
  event.data.ptr = &link;
  ::epoll_ctl(poll_.get(), adding ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, link.fd_.get(), &event);
}

void LoadLoop::turn(int timeout_ms) {
  flush_dirty();
  std::array<epoll_event, 512> events;
  const int count = ::epoll_wait(poll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    Link& link = *static_cast<Link*>(event.data.ptr);
    if ((event.events & EPOLLOUT) != 0 && !link.is_closed()) writable(link);
    if ((event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !link.is_closed()) readable(link);
    if (i % kReadsPerFlush == kReadsPerFlush - 1) flush_dirty();
  }
  flush_dirty();
}

void LoadLoop::mark_dirty(Link& link) {
  if (link.dirty_ || link.state_ != Link::State::Open) return;
  link.dirty_ = true;
  dirty_.push_back(&link);
}

void LoadLoop::flush_dirty() {
  // A link that fails here tells its scenario, which may send on others: those are appended and flushed too.
  for (std::size_t i = 0; i < dirty_.size(); ++i) {
    dirty_[i]->dirty_ = false;
    if (!dirty_[i]->wants_write_) flush(*dirty_[i]);
  }
  dirty_.clear();
}

void LoadLoop::flush(Link& link) {
  if (link.is_closed() || link.out_.empty()) return;
  const auto sent = write_some(link);
  if (!sent.ok()) return fail(link, sent.error().context());
  link.out_.erase(0, *sent);
  want_write(link, !link.out_.empty());
}

void LoadLoop::want_write(Link& link, bool wants) {
  if (wants == link.wants_write_) return;
  link.wants_write_ = wants;
  watch(link, false);
}

Result<std::size_t> LoadLoop::write_some(Link& link) {
  if (link.tls_) {
    std::size_t all = 0;
    while (all < link.out_.size()) {
      std::size_t put = 0;
      const TlsStep step = link.tls_->write(std::string_view(link.out_).substr(all), put);
      all += put;
      if (step == TlsStep::WantRead || step == TlsStep::WantWrite) break;
      if (step != TlsStep::Done) return Error(ErrorCode::Io, "write: TLS failed");
    }
    return all;
  }
  const ssize_t sent = ::send(link.fd_.get(), link.out_.data(), link.out_.size(), MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) return Error(ErrorCode::Io, fmt::format("write: {}", std::strerror(errno)));
  return sent > 0 ? static_cast<std::size_t>(sent) : 0;
}

// 0: nothing is there yet.
Result<std::size_t> LoadLoop::read_some(Link& link) {
  if (link.tls_) {
    std::size_t got = 0;
    const TlsStep step = link.tls_->read(buffer_.data(), kReadBytes, got);
    if (got == 0 && step == TlsStep::Ended) return Error(ErrorCode::Io, "the server closed the connection");
    if (got == 0 && step == TlsStep::Failed) return Error(ErrorCode::Io, "read: TLS failed");
    return got;
  }
  const ssize_t got = ::read(link.fd_.get(), buffer_.data(), kReadBytes);
  if (got == 0) return Error(ErrorCode::Io, "the server closed the connection");
  if (got < 0 && errno != EAGAIN) return Error(ErrorCode::Io, fmt::format("read: {}", std::strerror(errno)));
  return got > 0 ? static_cast<std::size_t>(got) : 0;
}

void LoadLoop::writable(Link& link) {
  if (link.state_ == Link::State::Connecting) {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(link.fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      fail(link, fmt::format("connect: {}", std::strerror(error)));
      return;
    }
    if (!tls_) return begin_upgrade(link);
    link.tls_ = TlsStream::connect(tls_, link.fd_.get());
    if (!link.tls_) return fail(link, "a TLS stream could not be made");
    link.state_ = Link::State::Handshaking;
  }
  if (link.state_ == Link::State::Handshaking) return shake_hands(link);
  flush(link);
}

void LoadLoop::shake_hands(Link& link) {
  switch (link.tls_->handshake()) {
    case TlsStep::Done: return begin_upgrade(link);
    case TlsStep::WantRead: return want_write(link, false);
    case TlsStep::WantWrite: return want_write(link, true);
    default: return fail(link, "the TLS handshake failed");
  }
}

void LoadLoop::begin_upgrade(Link& link) {
  link.state_ = Link::State::Upgrading;
  link.out_ = upgrade_request("127.0.0.1", path_, kKey, wire::kJsonSubprotocol);
  flush(link);
}

void LoadLoop::readable(Link& link) {
  if (link.state_ == Link::State::Handshaking) return shake_hands(link);
  const auto got = read_some(link);
  if (!got.ok()) return fail(link, got.error().context());
  if (*got == 0) return;
  const MutableBytes bytes{buffer_.data(), *got};
  if (link.state_ == Link::State::Upgrading) {
    handle_upgrade(link, bytes);
  } else {
    handle_frames(link, bytes);
  }
  if (!link.is_closed()) link.events_->on_read_end(link);
}

void LoadLoop::handle_upgrade(Link& link, MutableBytes bytes) {
  link.head_.append(bytes.data, bytes.size);
  const UpgradeAnswer answer = parse_upgrade_answer(link.head_, kKey);
  if (answer.type == UpgradeAnswer::Type::NeedMore) return;
  if (answer.type != UpgradeAnswer::Type::Accepted || answer.subprotocol != wire::kJsonSubprotocol) {
    fail(link, fmt::format("upgrade refused: {}", link.head_.substr(0, link.head_.find('\r'))));
    return;
  }
  std::string behind = link.head_.substr(answer.consumed);
  link.head_ = {};
  link.state_ = Link::State::Open;
  link.events_->on_open(link);
  if (!link.is_closed() && !behind.empty()) handle_frames(link, MutableBytes{behind.data(), behind.size()});
}

void LoadLoop::handle_frames(Link& link, MutableBytes bytes) {
  while (!link.is_closed()) {
    const WsDecoder::Event event = link.decoder_.next(kLimits, bytes);
    switch (event.type) {
      case WsDecoder::Type::NeedMore: return;
      case WsDecoder::Type::Message: handle_message(link, event.payload.view()); break;
      case WsDecoder::Type::Ping:
        append_ws_frame(link.out_, WsOpcode::Pong, event.payload.view(), {.masked = true, .mask = next_mask()});
        mark_dirty(link);
        break;
      case WsDecoder::Type::Pong: break;
      case WsDecoder::Type::Close: fail(link, fmt::format("closed by the server with code {}", event.code)); return;
      case WsDecoder::Type::Error: fail(link, fmt::format("an invalid frame from the server: {}", event.text)); return;
    }
  }
}

void LoadLoop::handle_message(Link& link, std::string_view message) {
  while (!message.empty() && !link.is_closed()) {
    const std::size_t end = message.find('\n');
    const std::string_view json = message.substr(0, end);
    message.remove_prefix(end == std::string_view::npos ? message.size() : end + 1);
    if (json.empty()) continue;
    const auto packet = client::scan_packet(json);
    if (!packet) {
      fail(link, fmt::format("no packet: {}", json.substr(0, 200)));
      return;
    }
    link.events_->on_packet(link, *packet);
  }
}

void LoadLoop::fail(Link& link, std::string_view reason) {
  const std::string text(reason);  // it may point into a buffer of the link
  link.close();
  link.events_->on_closed(link, text);
}

std::uint32_t LoadLoop::next_mask() {
  mask_ ^= mask_ << 13;
  mask_ ^= mask_ >> 17;
  mask_ ^= mask_ << 5;
  return mask_;
}

}  // namespace dunlin::bench
