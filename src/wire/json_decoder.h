#pragma once

#include "wire/decoder.h"
#include "wire/json_frame.h"
#include "wire/request_memory.h"

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

  RequestMemory memory_;
  JsonFrame frame_;
  std::uint32_t packets_ = 0;
};

}  // namespace dunlin::wire
