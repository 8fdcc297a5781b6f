#pragma once

#include <string>
#include <vector>

#include "wire/decoder.h"
#include "wire/json_fields.h"
#include "wire/json_frame.h"

namespace dunlin::wire {

// Requests from JSON. See Decoder for the contract; the grammar is docs/protocol/README.md.
class JsonDecoder final : public Decoder {
 public:
  explicit JsonDecoder(const DecoderLimits& limits);

  void start(std::span<char> payload) override;
  void start_copy(std::string_view payload) override;
  bool next(Request& request) override;
  std::string_view rest() const override { return frame_.rest(); }

 private:
  std::optional<Error> decode(Request& request);
  void read(const JsonFields& fields, ConnectRequest& connect);
  void read(const JsonFields& fields, RefreshRequest& refresh);
  void read(const JsonFields& fields, PingRequest& ping);
  void read(const JsonFields& fields, SendRequest& send);
  void read(const JsonFields& fields, AckRequest& ack);
  void read(const JsonFields& fields, ReadRequest& read);
  void read(const JsonFields& fields, SyncRequest& sync);
  void read(const JsonFields& fields, HistoryRequest& history);
  void read(const JsonFields& fields, TypingRequest& typing);
  void read(const JsonFields& fields, LogoutRequest& logout);
  void read(const JsonFields& fields, DevicesRequest& devices);
  void read(const JsonFields& fields, ForgetDeviceRequest& forget);
  void read_body(const JsonFields& fields, SendRequest& send);
  void read_strings(const JsonFields& fields, std::string_view name, std::uint32_t max);
  void read_positions(const JsonFields& fields, std::string_view name, std::string_view path);
  template <class T>
  void read_as(const JsonFields& fields, Command& command);

  DecoderLimits limits_;
  JsonFrame frame_;
  std::uint32_t packets_ = 0;
  std::vector<ConversationSeq> positions_;  // of the packet
  std::vector<std::string_view> strings_;   // of the packet: the array that its command has
  std::string bytes_;                       // body_base64, decoded
};

}  // namespace dunlin::wire
