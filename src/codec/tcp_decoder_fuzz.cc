#include <cstdlib>
#include <string>
#include <vector>

#include "codec/tcp_decoder.h"

namespace {

using namespace dunlin;

std::string decode(Framing framing, std::size_t max, std::string_view bytes, std::size_t piece) {
  TcpDecoder decoder;
  std::string trace;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    const std::string_view part = bytes.substr(at, piece);
    std::vector<char> memory(part.begin(), part.end());
    MutableBytes input{memory.data(), part.size()};
    while (true) {
      const auto event = decoder.next(framing, max, input);
      if (event.type == TcpDecoder::Type::NeedMore) break;
      if (event.type == TcpDecoder::Type::TooLarge) return trace + "|too large";
      if (event.payload.size > max) std::abort();
      (trace += '|') += event.payload.view();
    }
    if (input.size != 0) std::abort();
  }
  return trace;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size < 3) return 0;
  const Framing framing = data[0] & 1 ? Framing::TcpLines : Framing::TcpLength;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 3, size - 3);
  if (decode(framing, data[1], bytes, bytes.size() + 1) != decode(framing, data[1], bytes, 1 + data[2])) std::abort();
  return 0;
}
