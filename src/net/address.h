#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace dunlin {

// An IPv4 (kept as ::ffff:a.b.c.d) or IPv6 address.
struct IpAddress {
  std::array<std::uint8_t, 16> bytes{};

  static Result<IpAddress> parse(std::string_view text);  // numeric only
  static IpAddress v4(std::uint32_t host_order);
  bool is_v4() const;
  bool is_loopback() const;
  std::string to_string() const;
  // What limits by IP count: the address, or the /64 of an IPv6 one.
  IpAddress limit_key() const;
  auto operator<=>(const IpAddress&) const = default;
};

struct Endpoint {
  IpAddress ip;
  std::uint16_t port = 0;

  // "127.0.0.1:80", "[::1]:80", "localhost:80", ":80" and "80" (all IPv4 addresses).
  static Result<Endpoint> parse(std::string_view text);
  std::string to_string() const;
  auto operator<=>(const Endpoint&) const = default;
};

// A block of addresses, "10.0.0.0/8" or "fd00::/8"; a bare address is a block of one.
struct Cidr {
  IpAddress base;
  int prefix_bits = 128;  // of the 16-byte form

  static Result<Cidr> parse(std::string_view text);
  bool contains(const IpAddress& ip) const;
};

bool any_contains(const std::vector<Cidr>& blocks, const IpAddress& ip);

}  // namespace dunlin

template <>
struct std::hash<dunlin::IpAddress> {
  std::size_t operator()(const dunlin::IpAddress& ip) const noexcept {
    return std::hash<std::string_view>{}({reinterpret_cast<const char*>(ip.bytes.data()), ip.bytes.size()});
  }
};
