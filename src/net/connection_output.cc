// The sending half of Connection: what is gathered in a turn leaves with one system call.
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "net/connection.h"
#include "net/connection_set.h"
#include "net/opening.h"
#include "net/tls.h"

namespace dunlin {
namespace {
constexpr int kPiecesPerWrite = 64;
constexpr std::size_t kTlsRecord = 16 * 1024;
constexpr long kBroken = -1;
}  // namespace

SendResult Connection::send(const SharedBytes& framed) {
  if (state_ != State::Open) return SendResult::Closed;
  if (!takes_data(framed.size())) return state_ == State::Open ? SendResult::AtBound : SendResult::Closed;
  enqueue(framed);
  return SendResult::Queued;
}

SendResult Connection::send(MessageKind kind, std::string_view payload) {
  if (state_ != State::Open) return SendResult::Closed;
  if (!takes_data(payload.size() + kMaxFrameHeader)) return state_ == State::Open ? SendResult::AtBound : SendResult::Closed;
  enqueue_message(kind, payload);
  return SendResult::Queued;
}

SendResult Connection::reply(MessageKind kind, std::string_view payload) {
  if (state_ != State::Open) return SendResult::Closed;
  enqueue_message(kind, payload);
  bound_replies();
  return SendResult::Queued;
}

// A peer that does not read what it asked for is not read from, until half the bound is written.
void Connection::bound_replies() {
  const std::size_t limit = listening_->options.write_queue_bytes + kReplySlackBytes;
  if (queued_bytes() <= limit || overrun_) return;
  flush();
  if (state_ != State::Open || queued_bytes() <= limit) return;
  overrun_ = true;
  update_interest();
}

// True if `size` bytes of data fit; what the socket takes at once makes room.
bool Connection::takes_data(std::size_t size) {
  const std::size_t bound = listening_->options.write_queue_bytes;
  if (queued_bytes() == 0 || queued_bytes() + size <= bound) return true;
  if (!want_write_) flush();
  if (state_ != State::Open) return false;
  if (queued_bytes() == 0 || queued_bytes() + size <= bound) return true;
  at_bound_ = true;
  return false;
}

WriteQueue& Connection::output() {
  if (!output_) output_ = set_->take_queue();
  return *output_;
}

void Connection::queued(std::size_t before) {
  set_->counters_.write_queue_bytes.add(output_->bytes() - before);
  note_dirty();
}

void Connection::enqueue(std::string_view bytes) {
  const std::size_t before = output().bytes();
  output_->push(bytes);
  queued(before);
}

void Connection::enqueue(const SharedBytes& framed) {
  const std::size_t before = output().bytes();
  output_->push(framed);
  queued(before);
}

void Connection::enqueue_message(MessageKind kind, std::string_view payload) {
  const std::size_t before = output().bytes();
  output_->append([&](std::string& copied) { append_frame(copied, framing_, kind, payload); });
  queued(before);
}

void Connection::flush() {
  if (state_ == State::Dead || state_ == State::Opening || want_write_) return;
  while (output_ && !want_write_) {
    const long wrote = tls_ ? write_tls() : write_plain();
    if (wrote == kBroken) return peer_ended(StreamEnd::Broken);
    if (wrote == 0) {
      want_write_ = true;
      break;
    }
    set_->counters_.writes.add();
    set_->counters_.bytes_out.add(static_cast<std::uint64_t>(wrote));
    set_->counters_.write_queue_bytes.sub(static_cast<std::uint64_t>(wrote));
    output_->pop(static_cast<std::size_t>(wrote));
    if (output_->empty()) set_->give_queue(std::move(output_));
  }
  if (overrun_ && queued_bytes() * 2 <= listening_->options.write_queue_bytes) {
    overrun_ = false;
    if (held_) note_dirty();
  }
  update_interest();
  if (!output_) output_empty();
}

// What was written: 0 = the socket takes nothing now.
long Connection::write_plain() {
  iovec pieces[kPiecesPerWrite];
  msghdr message{};
  message.msg_iov = pieces;
  message.msg_iovlen = static_cast<std::size_t>(output_->front(pieces, kPiecesPerWrite));
  const ssize_t put = ::sendmsg(fd_, &message, MSG_NOSIGNAL);
  if (put >= 0) return put;
  return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : kBroken;
}

// Small pieces are joined, so that they share a record. A repeated write begins with the same bytes and is no shorter, as OpenSSL demands.
long Connection::write_tls() {
  iovec pieces[kPiecesPerWrite];
  const int count = output_->front(pieces, kPiecesPerWrite);
  std::string_view bytes(static_cast<const char*>(pieces[0].iov_base), pieces[0].iov_len);
  char record[kTlsRecord];
  if (bytes.size() < kTlsRecord && count > 1) {
    std::size_t size = 0;
    for (int i = 0; i < count && size < kTlsRecord; ++i) {
      const std::size_t taken = std::min(pieces[i].iov_len, kTlsRecord - size);
      std::memcpy(record + size, pieces[i].iov_base, taken);
      size += taken;
    }
    bytes = {record, size};
  }
  std::size_t put = 0;
  switch (tls_->write(bytes, put)) {
    case TlsStep::Done: return static_cast<long>(put);
    case TlsStep::WantRead:
    case TlsStep::WantWrite: return 0;
    default: return kBroken;
  }
}

void Connection::output_empty() {
  if (state_ != State::Closing || !close_queued_) return;
  if (framing_ != Framing::WebSocket || peer_closed_) start_lingering();
}

}  // namespace dunlin
