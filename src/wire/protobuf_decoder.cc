#include "wire/protobuf_decoder.h"

#include "wire/alternatives.h"
#include "wire/packet_checks.h"
#include "wire/protobuf_reading.h"
#include "wire/request_check.h"

namespace dunlin::wire {

void ProtobufFrame::start_copy(std::string_view payload) {
  copy_.assign(payload);
  rest_ = copy_;
}

std::optional<std::string_view> ProtobufFrame::next() {
  std::uint64_t size = 0;
  for (std::size_t i = 0; i < 5 && i < rest_.size(); ++i) {
    const auto byte = static_cast<unsigned char>(rest_[i]);
    size |= std::uint64_t{byte & 0x7fU} << (7 * i);
    if (byte >= 0x80) continue;
    if (size > rest_.size() - i - 1) break;
    const std::string_view packet = rest_.substr(i + 1, size);
    rest_.remove_prefix(i + 1 + size);
    return packet;
  }
  rest_ = {};
  return std::nullopt;
}

namespace {

constexpr std::uint32_t kId = 1;  // of Request in proto/dunlin/v1/packets.proto

// Requests from Protobuf.
class ProtobufDecoder final : public Decoder {
 public:
  explicit ProtobufDecoder(const DecoderLimits& limits) { memory_.limits = limits; }

  void start(std::span<char> payload) override {
    packets_ = 0;
    frame_.start(payload);
  }
  void start_copy(std::string_view payload) override {
    packets_ = 0;
    frame_.start_copy(payload);
  }

  bool next(Request& request) override {
    if (frame_.at_end()) return false;
    request.id.reset();
    std::optional<Error> error;
    const std::optional<std::string_view> packet = frame_.next();
    if (!packet) {
      error = Error(ErrorCode::BadRequest, "packet: the length before it is broken or longer than the frame");
    } else if (++packets_ > memory_.limits.max_packets) {
      frame_.drop_rest();
      error = Error(ErrorCode::TooLarge, "the frame has too many packets");
    } else {
      error = decode(*packet, request);
    }
    if (error) request.command = MalformedRequest{*std::move(error)};
    return true;
  }
  std::string_view rest() const override { return frame_.rest(); }

 private:
  std::optional<Error> decode(std::string_view packet, Request& request) {
    ProtobufReader in(packet);
    std::uint32_t command = 0;  // the number of the one that was read last
    std::optional<RequestId> id;
    while (in.next()) {
      if (in.tag() == number_tag(kId)) {
        const RequestId value = in.number();
        if (!in.broken()) id = value;
      } else if (!read_command(in, command, request.command)) {
        in.skip();
      }
    }
    if (id && *id <= kMaxInteger) request.id = id;
    if (in.broken()) return Error(ErrorCode::BadRequest, "packet: not a valid Request (field types, UTF-8 of strings)");
    if (id && *id > kMaxInteger) return Error(ErrorCode::BadRequest, "id must be an integer from 0 to 9007199254740991");
    if (command == 0) return Error(ErrorCode::UnknownCommand, "the packet has no command that this server knows");
    if (auto error = check_json_bodies(request.command, memory_.limits)) return error;
    return check_request(request, memory_.limits);
  }

  // Of several commands the last counts; one that comes again is merged with itself.
  bool read_command(ProtobufReader& in, std::uint32_t& last, Command& command) {
    return visit_tagged(command, in.tag(), [&]<class T>() {
      if (last != T::kNumber) clear_lists(memory_, command.emplace<T>());
      last = T::kNumber;
      read_inside(in, memory_, std::get<T>(command));
    });
  }

  ProtobufFrame frame_;
  RequestMemory memory_;
  std::uint32_t packets_ = 0;
};

}  // namespace

std::unique_ptr<Decoder> make_protobuf_decoder(const DecoderLimits& limits) {
  return std::make_unique<ProtobufDecoder>(limits);
}

}  // namespace dunlin::wire
