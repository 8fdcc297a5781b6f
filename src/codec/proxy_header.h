#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dunlin {

// The PROXY protocol's header (versions 1 and 2 of its specification), which a balancer puts before the client's bytes.
struct ProxyHeader {
  bool local = false;                        // a health check of the proxy itself: no client address
  std::array<std::uint8_t, 16> source_ip{};  // IPv4 as ::ffff:a.b.c.d
  std::uint16_t source_port = 0;
};

struct ProxyParse {
  enum class Type : std::uint8_t { NeedMore, Complete, Bad } type = Type::NeedMore;
  std::size_t consumed = 0;
};

inline constexpr std::size_t kMaxProxyHeaderBytes = 1024;  // a longer version 2 header (many TLVs) is Bad

ProxyParse parse_proxy_header(std::string_view bytes, ProxyHeader& header);

}  // namespace dunlin
