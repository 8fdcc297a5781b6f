#include "wire/decoder.h"

#include "wire/json_decoder.h"
#include "wire/json_server_decoder.h"
#include "wire/protobuf_decoder.h"

namespace dunlin::wire {

std::unique_ptr<Decoder> make_decoder(Encoding encoding, const DecoderLimits& limits) {
  if (encoding == Encoding::Json) return std::make_unique<JsonDecoder>(limits);
  return make_protobuf_decoder(limits);
}

std::unique_ptr<ServerPacketDecoder> make_server_packet_decoder(Encoding encoding) {
  if (encoding == Encoding::Json) return std::make_unique<JsonServerDecoder>();
  return make_protobuf_server_decoder();
}

}  // namespace dunlin::wire
