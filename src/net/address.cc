#include "net/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace dunlin {
namespace {

constexpr std::array<std::uint8_t, 12> kV4Prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

Error bad_address(std::string_view text) {
  return Error(ErrorCode::Config, fmt::format("\"{}\" is not an address", text));
}

template <class T>
bool parse_number(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

IpAddress IpAddress::v4(std::uint32_t host_order) {
  IpAddress ip;
  std::copy(kV4Prefix.begin(), kV4Prefix.end(), ip.bytes.begin());
  for (int i = 0; i < 4; ++i) ip.bytes[12 + i] = static_cast<std::uint8_t>(host_order >> (8 * (3 - i)));
  return ip;
}

Result<IpAddress> IpAddress::parse(std::string_view text) {
  const std::string copy(text);
  in_addr four{};
  if (inet_pton(AF_INET, copy.c_str(), &four) == 1) return v4(ntohl(four.s_addr));
  IpAddress ip;
  if (inet_pton(AF_INET6, copy.c_str(), ip.bytes.data()) == 1) return ip;
  return bad_address(text);
}

bool IpAddress::is_v4() const {
  return std::equal(kV4Prefix.begin(), kV4Prefix.end(), bytes.begin());
}

bool IpAddress::is_loopback() const {
  if (is_v4()) return bytes[12] == 127;
  return std::all_of(bytes.begin(), bytes.end() - 1, [](std::uint8_t b) { return b == 0; }) && bytes[15] == 1;
}

std::string IpAddress::to_string() const {
  char text[INET6_ADDRSTRLEN] = {};
  if (is_v4()) {
    inet_ntop(AF_INET, bytes.data() + 12, text, sizeof text);
  } else {
    inet_ntop(AF_INET6, bytes.data(), text, sizeof text);
  }
  return text;
}

IpAddress IpAddress::limit_key() const {
  IpAddress key = *this;
  if (!is_v4()) std::fill(key.bytes.begin() + 8, key.bytes.end(), std::uint8_t{0});
  return key;
}

Result<Endpoint> Endpoint::parse(std::string_view text) {
  Endpoint endpoint;
  const std::size_t colon = text.rfind(':');
  const std::string_view port = colon == std::string_view::npos ? text : text.substr(colon + 1);
  std::string_view host = colon == std::string_view::npos ? std::string_view() : text.substr(0, colon);
  if (!parse_number(port, endpoint.port)) return bad_address(text);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad_address(text);  // an IPv6 address needs its brackets
  }
  if (host == "localhost") host = "127.0.0.1";
  if (host.empty() || host == "*") host = "0.0.0.0";
  TRY_ASSIGN(endpoint.ip, IpAddress::parse(host));
  return endpoint;
}

std::string Endpoint::to_string() const {
  return fmt::format(fmt::runtime(ip.is_v4() ? "{}:{}" : "[{}]:{}"), ip.to_string(), port);
}

Result<Cidr> Cidr::parse(std::string_view text) {
  Cidr block;
  const std::size_t slash = text.find('/');
  TRY_ASSIGN(block.base, IpAddress::parse(text.substr(0, slash)));
  const int widest = block.base.is_v4() ? 32 : 128;
  int bits = widest;
  if (slash != std::string_view::npos && (!parse_number(text.substr(slash + 1), bits) || bits < 0 || bits > widest))
    return bad_address(text);
  block.prefix_bits = bits + (128 - widest);
  return block;
}

bool Cidr::contains(const IpAddress& ip) const {
  const int whole = prefix_bits / 8, rest = prefix_bits % 8;
  if (!std::equal(ip.bytes.begin(), ip.bytes.begin() + whole, base.bytes.begin())) return false;
  if (rest == 0) return true;
  const auto mask = static_cast<std::uint8_t>(0xff << (8 - rest));
  return (ip.bytes[whole] & mask) == (base.bytes[whole] & mask);
}

bool any_contains(const std::vector<Cidr>& blocks, const IpAddress& ip) {
  return std::any_of(blocks.begin(), blocks.end(), [&](const Cidr& block) { return block.contains(ip); });
}

}  // namespace dunlin
