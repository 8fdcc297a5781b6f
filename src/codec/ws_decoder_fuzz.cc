#include <cstdlib>
#include <string>
#include <vector>

#include "codec/ws_decoder.h"

// The first bytes choose role, limits and where the stream is cut; the same stream uncut must give the same events.
namespace {

using namespace dunlin;

std::string decode(const WsLimits& limits, std::string_view bytes, std::size_t piece) {
  WsDecoder decoder;
  std::string trace;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    const std::string_view part = bytes.substr(at, piece);
    std::vector<char> memory(part.begin(), part.end());
    MutableBytes input{memory.data(), part.size()};
    while (true) {
      const auto event = decoder.next(limits, input);
      if (event.type == WsDecoder::Type::NeedMore) break;
      trace += static_cast<char>('0' + static_cast<int>(event.type));
      trace += std::to_string(event.code);
      trace += event.payload.view();
      if (event.payload.size > limits.max_message_bytes && event.type == WsDecoder::Type::Message) std::abort();
      if (event.type == WsDecoder::Type::Error || event.type == WsDecoder::Type::Close) return trace;
    }
    if (input.size != 0) std::abort();
  }
  return trace;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size < 3) return 0;
  WsLimits limits;
  limits.role = data[0] & 1 ? WsRole::Client : WsRole::Server;
  limits.max_message_bytes = std::size_t{data[0]} * 16;
  limits.max_fragments = 1 + data[1] % 8;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 3, size - 3);
  const std::string whole = decode(limits, bytes, bytes.size() + 1);
  const std::string cut = decode(limits, bytes, 1 + data[2]);
  // A piece may show invalid text before the frame ends, never another event before that.
  if (whole != cut && cut.find("51007") == std::string::npos && whole.find("51007") == std::string::npos) std::abort();
  return 0;
}
