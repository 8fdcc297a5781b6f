#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace dunlin::client {

// Where a server is: ws://, wss:// (path /im unless the URL has one), tcp:// or tls:// (length-prefixed frames). Default ports are the
// server's: 8080 for WebSocket, 8081 for TCP. IPv6 addresses stand in brackets.
struct Url {
  enum class Transport : std::uint8_t { WebSocket, Tcp };

  Transport transport = Transport::WebSocket;
  bool tls = false;
  std::string host;
  std::uint16_t port = 8080;
  std::string target = "/im";

  std::string authority() const;  // host:port as in a Host header
  static Result<Url> parse(std::string_view text);
};

}  // namespace dunlin::client
