#include "wire/protobuf_decoder.h"

#include <google/protobuf/arena.h>
#include <google/protobuf/stubs/logging.h>

#include <vector>

#include "base/escape.h"
#include "dunlin/v1/packets.pb.h"
#include "wire/json_text.h"
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

// Requests from Protobuf. Each packet is parsed into one arena, which is emptied (its first block kept) at the next.
class ProtobufDecoder final : public Decoder {
 public:
  explicit ProtobufDecoder(const DecoderLimits& limits) : limits_(limits), block_(kBlockBytes), arena_(block_.data(), block_.size()) {}

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
    } else if (++packets_ > limits_.max_packets) {
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
  static constexpr std::size_t kBlockBytes = 4096;

  std::optional<Error> decode(std::string_view packet, Request& request) {
    arena_.Reset();
    auto* from = google::protobuf::Arena::CreateMessage<v1::Request>(&arena_);
    const bool valid = from->ParseFromArray(packet.data(), static_cast<int>(packet.size()));
    if (from->has_id() && from->id() <= kMaxInteger) request.id = from->id();
    if (!valid) return Error(ErrorCode::BadRequest, "packet: not a valid Request (field types, UTF-8 of strings)");
    if (from->has_id() && from->id() > kMaxInteger) return Error(ErrorCode::BadRequest, "id must be an integer from 0 to 9007199254740991");
    if (auto error = read(*from, request.command)) return error;
    return check_request(request, limits_);
  }

  std::optional<Error> read(v1::Request& from, Command& command) {
    switch (from.command_case()) {
      case v1::Request::kConnect: return read(from.connect(), command.emplace<ConnectRequest>());
      case v1::Request::kRefresh: command.emplace<RefreshRequest>().token = from.refresh().token(); break;
      case v1::Request::kPing: command.emplace<PingRequest>(); break;
      case v1::Request::kSend: return read(*from.mutable_send(), command.emplace<SendRequest>());
      case v1::Request::kAck: return read(from.ack(), command.emplace<AckRequest>());
      case v1::Request::kRead: command = ReadRequest{from.read().conversation(), from.read().seq()}; break;
      case v1::Request::kSync: return read(from.sync(), command.emplace<SyncRequest>());
      case v1::Request::kHistory: read(from.history(), command.emplace<HistoryRequest>()); break;
      case v1::Request::kTyping:
        command = TypingRequest{{from.typing().to(), from.typing().conversation()}, !from.typing().has_active() || from.typing().active()};
        break;
      case v1::Request::kLogout: command.emplace<LogoutRequest>(); break;
      case v1::Request::kDevices: command.emplace<DevicesRequest>(); break;
      case v1::Request::kForgetDevice: command.emplace<ForgetDeviceRequest>().device = from.forget_device().device(); break;
      case v1::Request::COMMAND_NOT_SET: return Error(ErrorCode::UnknownCommand, "the packet has no command that this server knows");
    }
    return std::nullopt;
  }

  std::optional<Error> too_many(std::string_view field, std::uint32_t max) {
    return Error(ErrorCode::TooLarge, std::string(field) + " has more than " + std::to_string(max) + " elements");
  }

  std::optional<Error> read(const v1::ConnectRequest& from, ConnectRequest& to) {
    if (static_cast<std::uint32_t>(from.capabilities_size()) > limits_.max_capabilities)
      return too_many("connect.capabilities", limits_.max_capabilities);
    if (static_cast<std::uint32_t>(from.open_size()) > limits_.max_positions) return too_many("connect.open", limits_.max_positions);
    strings_.assign(from.capabilities().begin(), from.capabilities().end());
    read_positions(from.open());
    to = {from.token(), from.device(), from.platform(), strings_, from.sync_token(), positions_};
    return std::nullopt;
  }

  template <class Positions>
  void read_positions(const Positions& from) {
    positions_.clear();
    for (const v1::Position& each : from) positions_.push_back({each.conversation(), each.seq()});
  }

  std::optional<Error> read(const v1::AckRequest& from, AckRequest& to) {
    if (static_cast<std::uint32_t>(from.positions_size()) > limits_.max_positions) return too_many("ack.positions", limits_.max_positions);
    read_positions(from.positions());
    to.positions = positions_;
    return std::nullopt;
  }

  std::optional<Error> read(const v1::SyncRequest& from, SyncRequest& to) {
    if (static_cast<std::uint32_t>(from.conversations_size()) > limits_.max_positions)
      return too_many("sync.conversations", limits_.max_positions);
    strings_.assign(from.conversations().begin(), from.conversations().end());
    to = {from.limit(), from.cursor(), from.sync_token(), strings_};
    return std::nullopt;
  }

  std::optional<Error> read(v1::SendRequest& from, SendRequest& to) {
    to.target = {from.to(), from.conversation()};
    to.client_msg_id = from.client_msg_id();
    to.content_type = from.content_type();
    to.transient = from.transient();
    to.abandon = from.abandon();
    if (from.durability() < v1::DURABILITY_UNSPECIFIED || from.durability() > v1::DURABILITY_FSYNC ||
        from.durability() == v1::DURABILITY_NONE) {
      return Error(ErrorCode::BadRequest, "send.durability must be memory, os or fsync");
    }
    to.durability = static_cast<Durability>(from.durability());
    // A body of a JSON type is held to what JSON connections can carry: the same check, and one line.
    if (is_json_content_type(to.content_type) && !from.body().empty() && from.body().size() <= limits_.max_body_bytes) {
      std::string& body = *from.mutable_body();
      JsonTextEnd result;
      if (!is_valid_utf8(body)) return Error(ErrorCode::BadRequest, "send.body is not valid UTF-8");
      if (!is_json_text(body.data(), body.data() + body.size(), limits_.max_body_depth, result)) {
        return Error(ErrorCode::BadRequest, std::string("send.body: ") + result.problem);
      }
    }
    to.body = from.body();
    return std::nullopt;
  }

  static void read(const v1::HistoryRequest& from, HistoryRequest& to) {
    to.target = {from.with(), from.conversation()};
    if (from.has_before_seq()) to.before_seq = from.before_seq();
    if (from.has_after_seq()) to.after_seq = from.after_seq();
    to.limit = from.limit();
  }

  DecoderLimits limits_;
  std::uint32_t packets_ = 0;
  ProtobufFrame frame_;
  std::vector<char> block_;
  google::protobuf::Arena arena_;
  std::vector<ConversationSeq> positions_;
  std::vector<std::string_view> strings_;
};

}  // namespace

// The library writes a line to stderr for each string that is not UTF-8: a client could fill the log with it.
void silence_protobuf() {
  static const bool once = (google::protobuf::SetLogHandler(nullptr), true);
  static_cast<void>(once);
}

std::unique_ptr<Decoder> make_protobuf_decoder(const DecoderLimits& limits) {
  silence_protobuf();
  return std::make_unique<ProtobufDecoder>(limits);
}

}  // namespace dunlin::wire
