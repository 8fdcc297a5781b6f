#include "client/channel.h"

#include <fmt/format.h>
#include <openssl/rand.h>
#include <poll.h>

#include <array>

#include "base/check.h"
#include "codec/http_upgrade.h"
#include "codec/ws_frame.h"
#include "wire/encoding.h"

namespace dunlin::client {
namespace {

constexpr Milliseconds kWriteLimit(10'000);
constexpr std::size_t kMaxPacketBytes = 1U << 20;
constexpr WsLimits kLimits{.role = WsRole::Client, .max_message_bytes = kMaxPacketBytes};

std::string base64(std::span<const unsigned char> bytes) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k) bits = bits << 8 | (i + k < bytes.size() ? bytes[i + k] : 0U);
    for (std::size_t k = 0; k < 4; ++k) out += i + k <= bytes.size() ? kAlphabet[bits >> (18 - 6 * k) & 63U] : '=';
  }
  return out;
}

std::string random_key() {
  std::array<unsigned char, 16> bytes{};
  CHECK(::RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1);
  return base64(bytes);
}

// 4503 and the like say what a client may do; an HTTP status has to be translated.
ErrorCode code_of_refusal(int status) {
  if (status == 429) return ErrorCode::RateLimited;
  if (status >= 500) return ErrorCode::Overloaded;
  if (status == 403) return ErrorCode::Forbidden;
  return ErrorCode::BadRequest;
}

}  // namespace

Result<std::unique_ptr<Channel>> Channel::open(const Url& url, const TlsOptions& tls, Milliseconds limit) {
  TRY_ASSIGN(auto stream, Stream::open(url, tls, limit));
  std::unique_ptr<Channel> channel(new Channel(url, std::move(stream)));
  if (url.transport == Url::Transport::WebSocket) TRY(channel->upgrade(url, limit));
  return channel;
}

Status Channel::upgrade(const Url& url, Milliseconds limit) {
  const std::string key = random_key();
  TRY(stream_->write_all(upgrade_request(url.authority(), url.target, key, wire::kJsonSubprotocol), limit));
  const auto end = std::chrono::steady_clock::now() + limit;
  std::string head;
  for (;;) {
    pollfd entry{stream_->fd(), POLLIN, 0};
    if (!stream_->has_pending()) ::poll(&entry, 1, 100);
    char buffer[4096];
    TRY_ASSIGN(const std::size_t got, stream_->read_some(buffer));
    head.append(buffer, got);
    const UpgradeAnswer answer = parse_upgrade_answer(head, key);
    if (answer.type == UpgradeAnswer::Type::Accepted) {
      if (answer.subprotocol != wire::kJsonSubprotocol)
        return Error(ErrorCode::UnsupportedVersion, "the server speaks another subprotocol");
      std::string behind = head.substr(answer.consumed);
      return take_websocket({behind.data(), behind.size()});
    }
    if (answer.type == UpgradeAnswer::Type::Refused) {
      return Error(code_of_refusal(answer.status), fmt::format("the server refused the connection with HTTP status {}", answer.status));
    }
    if (answer.type == UpgradeAnswer::Type::Bad) return Error(ErrorCode::BadRequest, "the answer is not that of a WebSocket server");
    if (std::chrono::steady_clock::now() > end) return Error(ErrorCode::Timeout, "the server does not answer the upgrade");
  }
}

Status Channel::send(std::string_view packet) {
  std::string frame;
  if (transport_ == Url::Transport::WebSocket) {
    append_ws_frame(frame, WsOpcode::Text, packet, {.masked = true, .mask = next_mask()});
  } else {
    append_length_frame(frame, packet);
  }
  return stream_->write_all(frame, kWriteLimit);
}

Result<std::optional<std::string>> Channel::receive() {
  if (packets_.empty()) {
    std::array<char, 65536 + kPayloadPadding> buffer;
    TRY_ASSIGN(const std::size_t got, stream_->read_some(std::span(buffer).first(buffer.size() - kPayloadPadding)));
    if (got > 0) TRY(take({buffer.data(), got}));
  }
  if (packets_.empty()) return std::optional<std::string>();
  std::optional<std::string> next(std::move(packets_.front()));
  packets_.pop_front();
  return next;
}

Status Channel::take(MutableBytes input) {
  return transport_ == Url::Transport::Tcp ? take_tcp(input) : take_websocket(input);
}

Status Channel::take_websocket(MutableBytes input) {
  for (;;) {
    const WsDecoder::Event event = ws_decoder_.next(kLimits, input);
    switch (event.type) {
      case WsDecoder::Type::NeedMore: return {};
      case WsDecoder::Type::Message: packets_.emplace_back(event.payload.view()); break;
      case WsDecoder::Type::Ping: {
        std::string pong;
        append_ws_frame(pong, WsOpcode::Pong, event.payload.view(), {.masked = true, .mask = next_mask()});
        TRY(stream_->write_all(pong, kWriteLimit));
        break;
      }
      case WsDecoder::Type::Pong: break;
      case WsDecoder::Type::Close:
        close_reason_ = {event.code, std::string(event.payload.view())};
        return packets_.empty() ? Status(Error(ErrorCode::Io, "the server closed the connection")) : Status();
      case WsDecoder::Type::Error: return Error(ErrorCode::BadRequest, event.text);
    }
  }
}

Status Channel::take_tcp(MutableBytes input) {
  for (;;) {
    const TcpDecoder::Event event = tcp_decoder_.next(Framing::TcpLength, kMaxPacketBytes, input);
    if (event.type == TcpDecoder::Type::NeedMore) return {};
    if (event.type == TcpDecoder::Type::TooLarge) return Error(ErrorCode::TooLarge, "the server sent no frame of this protocol");
    packets_.emplace_back(event.payload.view());
  }
}

void Channel::say_goodbye() {
  if (transport_ != Url::Transport::WebSocket) return;
  std::string frame;
  append_ws_close(frame, kWsNormal, {}, {.masked = true, .mask = next_mask()});
  ignore(stream_->write_all(frame, Milliseconds(1000)));
}

std::uint32_t Channel::next_mask() {
  std::uint32_t mask = 0;
  CHECK(::RAND_bytes(reinterpret_cast<unsigned char*>(&mask), sizeof mask) == 1);
  return mask;
}

}  // namespace dunlin::client
