#include "net/connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "codec/ws_frame.h"
#include "net/admission.h"
#include "net/connection_set.h"
#include "net/opening.h"
#include "net/tls.h"

namespace dunlin {
namespace {
constexpr std::uint16_t kNormalClosure = 1000;
constexpr Milliseconds kLinger{2'000};   // until a peer that was told to go has closed its side
constexpr Milliseconds kSurplus{2'000};  // for each step of one that is here only to be told that it is too many
}  // namespace

Connection::Connection(std::uint8_t timer_kind, std::uint32_t slot, std::uint32_t generation)
    : TimerNode(timer_kind), slot_(slot), generation_(generation) {}
Connection::~Connection() = default;

ConnectionHandle Connection::handle() const {
  return {worker().index(), slot_, generation_};
}
Transport Connection::transport() const {
  return listening_->options.transport;
}
MonotonicTime Connection::now() const {
  return worker().now();
}
Worker& Connection::worker() const {
  return set_->worker_;
}
const NetOptions& Connection::net_options() const {
  return set_->shared_.options;
}
ConnectionHandler& Connection::handler() const {
  return *listening_->handlers[worker().index()];
}

void Connection::begin(ConnectionSet& set, int fd, const Listening& listening, const Endpoint& peer, bool counted) {
  set_ = &set;
  listening_ = &listening;
  fd_ = fd;
  peer_ = peer;
  counted_ = counted;
  state_ = State::Opening;
  watched_ = EPOLLIN;
  if (listening.options.tls) {
    if (auto context = set.shared_.tls.load()) tls_ = TlsStream::accept(std::move(context), fd);
  }
  if (!worker().watch(fd, watched_, *this).ok() || (listening.options.tls && !tls_)) return refuse(Refusal::BadRequest, {});
  opening_ = std::make_unique<Opening>(*this);
  worker().timers().arm(*this,
                        now() + (surplus_ ? std::min(kSurplus, listening.options.header_deadline) : listening.options.header_deadline));
}

// Before it was open: a last answer, if any, and the end. Nobody above is told.
void Connection::refuse(Refusal refusal, std::string_view farewell) {
  if (!probe_ && !surplus_) set_->counters_.refused[static_cast<std::size_t>(refusal)].add();
  if (farewell.empty()) return die();
  enqueue(farewell);
  peer_closed_ = true;
  close_queued_ = true;
  state_ = State::Closing;
  worker().timers().arm(*this, now() + kLinger);
  want_write_ = false;
  update_interest();
}

void Connection::opened(MutableBytes rest) {
  const auto keep = std::move(opening_);  // our caller
  state_ = State::Open;
  worker().timers().cancel(*this);
  if (probe_) return probed();
  if (surplus_) {
    if (framing_ == Framing::WebSocket) return turn_away({});
    worker().timers().arm(*this, now() + kSurplus);  // its first packet tells in which encoding it is to be told
  } else {
    told_open_ = true;
    set_->counters_.opened.add();
    if (auto* histogram = net_options().handshake_seconds) histogram->observe(now() - keep->accepted());
    handler().on_open(*this);
  }
  if (!rest.empty()) {
    // Into the read buffer, which has the padding behind it that receivers may read.
    std::memmove(set_->read_buffer_.get(), rest.data, rest.size);
    process({set_->read_buffer_.get(), rest.size});
  }
}

// All that a client needs has been done for it; nobody above hears of it.
void Connection::probed() {
  set_->counters_.probes.add();
  start_closing(kNormalClosure, {});
}

void Connection::turn_away(std::string_view first) {
  handler().on_refused(*this, first);
  close(ErrorCode::TooManyConnections);
}

void Connection::on_ready(std::uint32_t events) {
  if (state_ == State::Dead || state_ == State::Free) return;
  const bool read_again = read_waits_ && (events & ~static_cast<std::uint32_t>(EPOLLIN)) != 0;
  if (read_again) {
    read_waits_ = false;
    update_interest();
  }
  if (state_ == State::Opening) return opening_->on_ready();
  if (events & EPOLLOUT) {
    want_write_ = false;
    flush();
    note_dirty();  // for on_drained and held input, at the end of the turn
  }
  if (state_ == State::Dead) return;
  const bool broken = events & (EPOLLHUP | EPOLLERR);
  if (wants_input() && (broken || read_again || (events & EPOLLIN))) return read_ready();
  if (broken) return peer_ended(StreamEnd::Broken);
  if (events & EPOLLIN) watch_for(interest());
}

void Connection::arm_timer(MonotonicTime deadline) {
  if (state_ == State::Open) worker().timers().arm(*this, deadline);
}

void Connection::fire_timer() {
  switch (state_) {
    case State::Opening: return opening_->on_deadline();
    case State::Open: return surplus_ ? turn_away({}) : handler().on_timer(*this);
    default: return die();
  }
}

void Connection::pause_reading() {
  paused_ = true;
  update_interest();
}

void Connection::resume_reading() {
  paused_ = false;
  update_interest();
  if (held_) note_dirty();
}

bool Connection::wants_input() const {
  if (read_waits_) return false;
  if (input_ended_) return state_ == State::Lingering;
  if (state_ == State::Opening) return !want_write_;  // of the TLS handshake
  return state_ != State::Open || (!paused_ && !overrun_ && !held_);
}

std::uint32_t Connection::interest() const {
  return (wants_input() ? EPOLLIN : 0U) | (want_write_ || read_waits_ ? EPOLLOUT : 0U);
}

// Input that is unwanted for a moment, as while a connect is answered, mostly does not come before it is wanted again. So EPOLLIN alone is
// not taken out for it: the first event does that.
void Connection::update_interest() {
  if (state_ == State::Dead) return;
  const bool only_input_is_unwanted = (interest() | EPOLLIN) == watched_;
  if (!only_input_is_unwanted) watch_for(interest());
}

void Connection::watch_for(std::uint32_t events) {
  if (events == watched_) return;
  watched_ = events;
  worker().rewatch(fd_, events, *this);
}

void Connection::note_dirty() {
  if (dirty_ || state_ == State::Dead) return;
  dirty_ = true;
  set_->dirty_.push_back(this);
}

void Connection::end_turn() {
  dirty_ = false;
  flush();
  if (state_ == State::Open && at_bound_ && queued_bytes() * 2 < listening_->options.write_queue_bytes) {
    at_bound_ = false;
    handler().on_drained(*this);
  }
  if (held_ && may_process()) process_held();
}

void Connection::close(ErrorCode code) {
  close(static_cast<std::uint16_t>(code), error_info(code).name);
}

void Connection::close(std::uint16_t ws_code, std::string_view reason) {
  if (state_ != State::Open) return;
  end_open({CloseCause::Local, ws_code});
  start_closing(ws_code, reason);
}

void Connection::finish() {
  if (state_ != State::Open) return;
  end_open({CloseCause::PeerClose, 0});
  start_closing(0, {});
}

void Connection::abort() {
  if (state_ == State::Open) end_open({CloseCause::Local, 0});
  if (state_ != State::Free) die();
}

void Connection::fail(CloseCause cause, std::uint16_t code, std::string_view reason) {
  if (surplus_ && state_ == State::Open) return turn_away({});
  if (state_ == State::Open && transport() == Transport::Tcp) handler().on_failing(*this, {cause, code});
  if (state_ != State::Open) return;
  end_open({cause, code});
  peer_closed_ = true;  // its answer would be in a stream that makes no sense any more
  start_closing(code, reason);
}

// on_close follows at the end of the turn.
void Connection::end_open(CloseInfo info) {
  if (ending_) return;  // the first reason stands
  close_info_ = info;
  ending_ = true;
  set_->ending_.push_back(this);
}

void Connection::start_closing(std::uint16_t ws_code, std::string_view reason) {
  if (framing_ == Framing::WebSocket) {
    std::string frame;
    append_ws_close(frame, ws_code, reason);
    enqueue(frame);
  }
  close_queued_ = true;
  state_ = State::Closing;
  if (held_) {
    held_.reset();
    account_pinned();
  }
  worker().timers().arm(*this,
                        now() + (surplus_ ? std::min(kSurplus, listening_->options.close_deadline) : listening_->options.close_deadline));
  update_interest();
  note_dirty();
}

// Our FIN is out; what still comes is dropped until theirs, since a close with unread input would reset what we sent last.
void Connection::start_lingering() {
  state_ = State::Lingering;
  if (tls_) tls_->send_close_notify();
  ::shutdown(fd_, SHUT_WR);
  worker().timers().arm(*this, now() + std::min(kLinger, listening_->options.close_deadline));
  update_interest();
}

void Connection::die() {
  if (state_ == State::Dead || state_ == State::Free) return;
  if (state_ == State::Open) end_open({CloseCause::PeerGone, 0});
  const auto keep = std::move(opening_);  // may be our caller
  worker().timers().cancel(*this);
  state_ = State::Dead;
  if (tls_) tls_.reset();
  ::close(fd_);  // which takes it out of the epoll set, as it is the only descriptor of its socket
  fd_ = -1;
  if (output_) {
    set_->counters_.write_queue_bytes.sub(output_->bytes());
    set_->give_queue(std::move(output_));
  }
  set_->shared_.incomplete_bytes.fetch_sub(pinned_, std::memory_order_relaxed);
  pinned_ = 0;
  if (counted_) set_->shared_.admission->release(peer_.ip);
  if (ending_) return;
  ending_ = true;
  set_->ending_.push_back(this);
}

void Connection::tell_close() {
  if (told_open_) {
    told_open_ = false;
    handler().on_close(*this, close_info_);
  }
  user_.reset();
}

Milliseconds Connection::report_auth_failure() {
  const Admission::Failure failure = set_->shared_.admission->auth_failed(peer_.ip, now());
  if (failure.wait <= Milliseconds(0)) return failure.wait;
  auto& counters = failure.enforced ? set_->counters_.refused : set_->counters_.would_have_refused;
  counters[static_cast<std::size_t>(Refusal::IpAuthFailures)].add();
  return failure.enforced ? failure.wait : Milliseconds(0);
}

Milliseconds Connection::auth_failing() const {
  return set_->shared_.admission->failing(peer_.ip, now());
}

}  // namespace dunlin
