#include "codec/ws_decoder.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "codec/padded_buffer.h"
#include "codec/utf8.h"
#include "codec/ws_frame.h"

namespace dunlin {

struct WsDecoder::Header {
  WsOpcode opcode = WsOpcode::Text;
  bool fin = false;
  bool masked = false;
  std::uint32_t mask = 0;
  std::uint64_t length = 0;
  std::size_t bytes = 0;  // of the header itself

  bool control() const { return static_cast<std::uint8_t>(opcode) >= 8; }
};

// What is incomplete: a header, a frame's payload, a message of several frames. Exists only then.
struct WsDecoder::Partial {
  std::array<char, 14> header_bytes;
  std::uint8_t header_size = 0;
  bool in_frame = false;
  bool in_message = false;
  bool delivered = false;  // `message` was handed out and is freed at the next call
  Header frame;
  std::uint64_t received = 0;  // of the frame's payload
  std::array<char, kWsMaxControlPayload + kPayloadPadding> control;
  MessageKind kind = MessageKind::Text;
  std::uint32_t fragments = 0;
  Utf8Validator utf8;
  PaddedBuffer message;

  bool idle() const { return header_size == 0 && !in_frame && !in_message && !delivered; }
};

namespace {

WsDecoder::Event failure(std::uint16_t code, const char* text) {
  WsDecoder::Event event;
  event.type = WsDecoder::Type::Error;
  event.code = code;
  event.text = text;
  return event;
}

// The payload of a close frame (RFC 6455 section 5.5.1).
WsDecoder::Event close_event(MutableBytes payload) {
  WsDecoder::Event event;
  event.type = WsDecoder::Type::Close;
  event.code = kWsNoStatus;
  if (payload.empty()) return event;
  if (payload.size == 1) return failure(kWsProtocolError, "close frame with half a code");
  event.code = static_cast<std::uint16_t>(static_cast<std::uint8_t>(payload.data[0]) << 8 | static_cast<std::uint8_t>(payload.data[1]));
  if (!is_sendable_close_code(event.code)) return failure(kWsProtocolError, "close code that may not be sent");
  payload.advance(2);
  Utf8Validator utf8;
  if (!utf8.feed(payload.view()) || !utf8.complete()) return failure(kWsInvalidPayload, "close reason is not UTF-8");
  event.payload = payload;
  return event;
}

WsDecoder::Event control_event(WsOpcode opcode, MutableBytes payload) {
  if (opcode == WsOpcode::Close) return close_event(payload);
  WsDecoder::Event event;
  event.type = opcode == WsOpcode::Ping ? WsDecoder::Type::Ping : WsDecoder::Type::Pong;
  event.payload = payload;
  return event;
}

WsDecoder::Event message_event(MessageKind kind, MutableBytes payload) {
  WsDecoder::Event event;
  event.type = WsDecoder::Type::Message;
  event.kind = kind;
  event.payload = payload;
  return event;
}

constexpr const char* kNotUtf8 = "text is not UTF-8";

bool is_known_opcode(std::uint8_t opcode) {
  return opcode <= 2 || (opcode >= 8 && opcode <= 10);
}

}  // namespace

WsDecoder::WsDecoder() = default;
WsDecoder::~WsDecoder() = default;

WsDecoder::Partial& WsDecoder::partial() {
  if (!partial_) partial_ = std::make_unique<Partial>();
  return *partial_;
}

void WsDecoder::reset() {
  partial_.reset();
}

std::size_t WsDecoder::pinned_bytes() const {
  return partial_ ? sizeof(Partial) + partial_->message.capacity() : 0;
}

void WsDecoder::release_delivered() {
  if (!partial_ || !partial_->delivered) return;
  partial_->delivered = false;
  partial_->message.clear();
  if (partial_->idle()) partial_.reset();
}

WsDecoder::Event WsDecoder::next(const WsLimits& limits, MutableBytes& input) {
  release_delivered();
  Event event;
  while (true) {
    if (partial_ && partial_->in_frame) {
      if (!take_payload(input, limits, event) || finish_frame(event)) return event;
      continue;
    }
    if (input.empty()) return Event{};
    Header header;
    switch (read_header(limits, input, header, event)) {
      case HeaderStatus::NeedMore: return Event{};
      case HeaderStatus::Bad: return event;
      case HeaderStatus::Complete: break;
    }
    const bool whole_message = header.control() || (header.fin && header.opcode != WsOpcode::Continuation);
    if (!whole_message || input.size < header.length) {
      begin_frame(header);
      continue;
    }
    const MutableBytes payload{input.data, static_cast<std::size_t>(header.length)};
    input.advance(payload.size);
    if (header.masked) apply_mask(payload.data, payload.size, header.mask);
    if (header.control()) return control_event(header.opcode, payload);
    if (header.opcode == WsOpcode::Binary) return message_event(MessageKind::Binary, payload);
    Utf8Validator utf8;
    if (!utf8.feed(payload.view()) || !utf8.complete()) return failure(kWsInvalidPayload, kNotUtf8);
    return message_event(MessageKind::Text, payload);
  }
}

// Takes a header off the input, or off what is kept of it and the input.
WsDecoder::HeaderStatus WsDecoder::read_header(const WsLimits& limits, MutableBytes& input, Header& header, Event& error) {
  if (!partial_ || partial_->header_size == 0) {
    const HeaderStatus status = parse_header(limits, input.view(), header, error);
    if (status == HeaderStatus::Complete) input.advance(header.bytes);
    if (status != HeaderStatus::NeedMore) return status;
    Partial& kept = partial();
    std::memcpy(kept.header_bytes.data(), input.data, input.size);  // less than a header
    kept.header_size = static_cast<std::uint8_t>(input.size);
    input.advance(input.size);
    return status;
  }
  Partial& kept = *partial_;
  while (!input.empty()) {
    kept.header_bytes[kept.header_size++] = *input.data;
    input.advance(1);
    const HeaderStatus status = parse_header(limits, {kept.header_bytes.data(), kept.header_size}, header, error);
    if (status == HeaderStatus::NeedMore) continue;
    kept.header_size = 0;
    if (kept.idle()) partial_.reset();
    return status;
  }
  return HeaderStatus::NeedMore;
}

WsDecoder::HeaderStatus WsDecoder::parse_header(const WsLimits& limits, std::string_view bytes, Header& header, Event& error) const {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
  const auto bad = [&](std::uint16_t code, const char* text) {
    error = failure(code, text);
    return HeaderStatus::Bad;
  };
  if (byte(0) & 0x70) return bad(kWsProtocolError, "reserved bit set without an extension");
  if (!is_known_opcode(byte(0) & 0x0f)) return bad(kWsProtocolError, "reserved opcode");
  header.fin = byte(0) & 0x80;
  header.opcode = static_cast<WsOpcode>(byte(0) & 0x0f);
  if (!check_sequence(limits, header, error)) return HeaderStatus::Bad;
  if (bytes.size() < 2) return HeaderStatus::NeedMore;
  header.masked = byte(1) & 0x80;
  if (header.masked != (limits.role == WsRole::Server)) {
    return bad(kWsProtocolError, header.masked ? "masked frame from a server" : "unmasked frame from a client");
  }
  header.length = byte(1) & 0x7f;
  if (header.control() && (!header.fin || header.length > kWsMaxControlPayload)) {
    return bad(kWsProtocolError, "fragmented or long control frame");
  }
  const std::size_t length_bytes = header.length == 126 ? 2 : header.length == 127 ? 8 : 0;
  if (bytes.size() < 2 + length_bytes) return HeaderStatus::NeedMore;
  if (length_bytes > 0) {
    header.length = 0;
    for (std::size_t i = 0; i < length_bytes; ++i) header.length = header.length << 8 | byte(2 + i);
    if (header.length >> 63) return bad(kWsProtocolError, "length with its highest bit set");
    if (header.length < (length_bytes == 2 ? 126U : 65536U)) return bad(kWsProtocolError, "length not in its shortest form");
  }
  const std::uint64_t before = partial_ && !header.control() ? partial_->message.size() : 0;
  if (header.length > limits.max_message_bytes || before + header.length > limits.max_message_bytes) {
    if (!header.control()) return bad(kWsTooBig, "message is too large");
  }
  header.bytes = 2 + length_bytes + (header.masked ? 4 : 0);
  if (bytes.size() < header.bytes) return HeaderStatus::NeedMore;
  if (header.masked) std::memcpy(&header.mask, bytes.data() + 2 + length_bytes, 4);
  return HeaderStatus::Complete;
}

// What may follow what.
bool WsDecoder::check_sequence(const WsLimits& limits, const Header& header, Event& error) const {
  if (header.control()) return true;
  const bool in_message = partial_ && partial_->in_message;
  if (in_message != (header.opcode == WsOpcode::Continuation)) {
    error = failure(kWsProtocolError, in_message ? "new message inside a fragmented one" : "continuation of nothing");
    return false;
  }
  if (in_message && partial_->fragments >= limits.max_fragments) {
    error = failure(kWsTooBig, "too many fragments");
    return false;
  }
  return true;
}

void WsDecoder::begin_frame(const Header& header) {
  Partial& now = partial();
  now.frame = header;
  now.in_frame = true;
  now.received = 0;
  if (header.control()) return;
  if (header.opcode != WsOpcode::Continuation) {
    now.in_message = true;
    now.kind = header.opcode == WsOpcode::Text ? MessageKind::Text : MessageKind::Binary;
    now.fragments = 0;
    now.utf8.reset();
  }
  ++now.fragments;
}

// Takes what is there of the frame's payload; true when that is all of it. False: more is needed, or `event` is an error.
bool WsDecoder::take_payload(MutableBytes& input, const WsLimits& limits, Event& event) {
  Partial& now = *partial_;
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(now.frame.length - now.received, input.size));
  MutableBytes taken;
  if (now.frame.control()) {
    taken = {now.control.data() + now.received, count};
    if (count > 0) std::memcpy(taken.data, input.data, count);
  } else {
    const auto rest = static_cast<std::size_t>(now.frame.length - now.received);
    const std::size_t reachable = now.frame.fin ? now.message.size() + rest : static_cast<std::size_t>(limits.max_message_bytes);
    taken = now.message.append({input.data, count}, reachable);
  }
  input.advance(count);
  if (now.frame.masked) apply_mask(taken.data, count, now.frame.mask, now.received);
  now.received += count;
  event = Event{};
  if (!now.frame.control() && now.kind == MessageKind::Text && !now.utf8.feed(taken.view())) {
    event = failure(kWsInvalidPayload, kNotUtf8);
    return false;
  }
  return now.received == now.frame.length;
}

// The frame is complete: true if that makes an event.
bool WsDecoder::finish_frame(Event& event) {
  Partial& now = *partial_;
  now.in_frame = false;
  if (now.frame.control()) {
    event = control_event(now.frame.opcode, {now.control.data(), static_cast<std::size_t>(now.frame.length)});
    now.delivered = !now.in_message;  // so that the next call frees it
    return true;
  }
  if (!now.frame.fin) return false;
  now.in_message = false;
  now.delivered = true;
  if (now.kind == MessageKind::Text && !now.utf8.complete()) {
    event = failure(kWsInvalidPayload, kNotUtf8);
    return true;
  }
  event = message_event(now.kind, now.message.bytes());
  return true;
}

}  // namespace dunlin
