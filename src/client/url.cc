#include "client/url.h"

#include <fmt/format.h>

#include <charconv>

namespace dunlin::client {
namespace {

Error bad_url(std::string_view text, std::string_view why) {
  return Error(ErrorCode::Config, fmt::format("{} is no URL of a server: {}", text, why));
}

// A request target goes into an HTTP header: nothing that could end the line.
bool is_plain(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f) return false;
  }
  return true;
}

}  // namespace

std::string Url::authority() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

Result<Url> Url::parse(std::string_view text) {
  Url url;
  const std::size_t scheme_end = text.find("://");
  const std::string_view scheme = text.substr(0, scheme_end);
  if (scheme_end == std::string_view::npos || (scheme != "ws" && scheme != "wss" && scheme != "tcp" && scheme != "tls")) {
    return bad_url(text, "it begins with ws://, wss://, tcp:// or tls://");
  }
  if (!is_plain(text)) return bad_url(text, "it holds a space or a character outside ASCII");
  url.tls = scheme == "wss" || scheme == "tls";
  url.transport = scheme.starts_with("ws") ? Transport::WebSocket : Transport::Tcp;
  url.port = url.transport == Transport::WebSocket ? 8080 : 8081;

  std::string_view rest = text.substr(scheme_end + 3);
  const std::size_t slash = rest.find('/');
  if (slash != std::string_view::npos) {
    if (rest.substr(slash) != "/") url.target = rest.substr(slash);
    rest = rest.substr(0, slash);
  }
  std::size_t host_end = rest.rfind(':');
  if (rest.starts_with('[')) {
    const std::size_t bracket = rest.find(']');
    if (bracket == std::string_view::npos) return bad_url(text, "a bracket is not closed");
    url.host = rest.substr(1, bracket - 1);
    host_end = bracket + 1 < rest.size() ? bracket + 1 : std::string_view::npos;
    if (host_end != std::string_view::npos && rest[host_end] != ':') return bad_url(text, "only a port may follow the address");
  } else {
    url.host = rest.substr(0, host_end);
  }
  if (url.host.empty()) return bad_url(text, "it names no host");
  if (host_end != std::string_view::npos) {
    const std::string_view port = rest.substr(host_end + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (error != std::errc() || end != port.data() + port.size() || url.port == 0) return bad_url(text, "the port is not 1 to 65535");
  }
  return url;
}

}  // namespace dunlin::client
