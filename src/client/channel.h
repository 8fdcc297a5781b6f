#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "client/stream.h"
#include "codec/tcp_decoder.h"
#include "codec/ws_decoder.h"

namespace dunlin::client {

// Why the peer ended a connection, as far as it said so.
struct CloseReason {
  std::uint16_t code = 0;  // WebSocket close code; 0 = none came
  std::string text;
};

// JSON packets over one connection to a server, on WebSocket or length-prefixed TCP. Opening includes the upgrade. One owner, one thread.
// When receive() gave an error the channel has ended, and close_reason() tells what the server said.
class Channel {
 public:
  static Result<std::unique_ptr<Channel>> open(const Url& url, const TlsOptions& tls, Milliseconds limit);

  int fd() const { return stream_->fd(); }
  bool has_pending() const { return !packets_.empty() || stream_->has_pending(); }
  // Sends one packet as one frame.
  Status send(std::string_view packet);
  // Takes what has arrived; the next whole frame payload, or nothing for now.
  Result<std::optional<std::string>> receive();
  const CloseReason& close_reason() const { return close_reason_; }
  // Says goodbye (WebSocket only), best effort.
  void say_goodbye();

 private:
  Channel(const Url& url, std::unique_ptr<Stream> stream) : transport_(url.transport), stream_(std::move(stream)) {}

  Status upgrade(const Url& url, Milliseconds limit);
  Status take(MutableBytes input);
  Status take_websocket(MutableBytes input);
  Status take_tcp(MutableBytes input);
  std::uint32_t next_mask();

  const Url::Transport transport_;
  std::unique_ptr<Stream> stream_;
  WsDecoder ws_decoder_;
  TcpDecoder tcp_decoder_;
  std::deque<std::string> packets_;
  CloseReason close_reason_;
};

}  // namespace dunlin::client
