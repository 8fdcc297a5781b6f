#include "codec/framing.h"

#include "codec/ws_frame.h"

namespace dunlin {
namespace {

std::size_t write_frame_header(char* out, Framing framing, MessageKind kind, std::size_t size) {
  switch (framing) {
    case Framing::WebSocket: return write_ws_header(out, kind == MessageKind::Text ? WsOpcode::Text : WsOpcode::Binary, size);
    case Framing::TcpLength:
      for (int i = 0; i < 4; ++i) out[i] = static_cast<char>(size >> (8 * (3 - i)));
      return 4;
    case Framing::TcpLines: return 0;
  }
  return 0;
}

}  // namespace

void append_frame(std::string& out, Framing framing, MessageKind kind, std::string_view payload) {
  char header[kMaxFrameHeader];
  out.append(header, write_frame_header(header, framing, kind, payload.size()));
  out.append(payload);
  if (framing == Framing::TcpLines) out.push_back('\n');
}

SharedBytes encode_frame(Framing framing, MessageKind kind, std::string_view payload) {
  if (framing == Framing::TcpLines) return SharedBytes(payload, "\n");
  char header[kMaxFrameHeader];
  const std::size_t size = write_frame_header(header, framing, kind, payload.size());
  return SharedBytes(std::string_view(header, size), payload);
}

}  // namespace dunlin
