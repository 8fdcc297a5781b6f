#include "codec/proxy_header.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string>

namespace dunlin {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kSignature2 = "\r\n\r\n\0\r\nQUIT\n"sv;
constexpr std::string_view kSignature1 = "PROXY "sv;
constexpr std::size_t kMaxLine1 = 107;  // with CRLF, by the specification
constexpr ProxyParse kBad{ProxyParse::Type::Bad, 0};

void set_v4(ProxyHeader& header, const void* address) {
  header.source_ip = {};
  header.source_ip[10] = header.source_ip[11] = 0xff;
  std::memcpy(header.source_ip.data() + 12, address, 4);
}

std::string_view next_word(std::string_view& line) {
  const std::size_t space = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, space);
  line.remove_prefix(std::min(space + 1, line.size()));
  return word;
}

bool parse_port(std::string_view text, std::uint16_t& port) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size();
}

// "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"
ProxyParse parse_version1(std::string_view bytes, ProxyHeader& header) {
  const std::size_t end = bytes.substr(0, kMaxLine1).find("\r\n");
  if (end == std::string_view::npos) return bytes.size() >= kMaxLine1 ? kBad : ProxyParse{};
  std::string_view line = bytes.substr(kSignature1.size(), end - kSignature1.size());
  const ProxyParse complete{ProxyParse::Type::Complete, end + 2};
  const std::string_view family = next_word(line);
  if (family == "UNKNOWN") {
    header.local = true;
    return complete;
  }
  if (family != "TCP4" && family != "TCP6") return kBad;
  const int af = family == "TCP4" ? AF_INET : AF_INET6;
  const std::string source(next_word(line)), destination(next_word(line));
  const std::string_view source_port = next_word(line), destination_port = line;
  std::array<std::uint8_t, 16> address{}, ignored{};
  std::uint16_t other_port = 0;
  if (inet_pton(af, source.c_str(), address.data()) != 1 || inet_pton(af, destination.c_str(), ignored.data()) != 1 ||
      !parse_port(source_port, header.source_port) || !parse_port(destination_port, other_port)) {
    return kBad;
  }
  if (af == AF_INET) {
    set_v4(header, address.data());
  } else {
    header.source_ip = address;
  }
  return complete;
}

ProxyParse parse_version2(std::string_view bytes, ProxyHeader& header) {
  constexpr std::size_t kFixed = 16;
  if (bytes.size() < kFixed) return {};
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
  const std::size_t total = kFixed + (static_cast<std::size_t>(byte(14)) << 8 | byte(15));
  const std::uint8_t version = byte(12) >> 4, command = byte(12) & 0x0f, family = byte(13) >> 4;
  if (version != 2 || command > 1 || total > kMaxProxyHeaderBytes) return kBad;
  if (bytes.size() < total) return {};
  const std::size_t address_bytes = family == 1 ? 12 : family == 2 ? 36 : 0;
  if (total < kFixed + address_bytes) return kBad;
  header.local = command == 0 || address_bytes == 0;
  if (!header.local && family == 1) {
    set_v4(header, bytes.data() + kFixed);
    header.source_port = static_cast<std::uint16_t>(byte(kFixed + 8) << 8 | byte(kFixed + 9));
  } else if (!header.local) {
    std::memcpy(header.source_ip.data(), bytes.data() + kFixed, 16);
    header.source_port = static_cast<std::uint16_t>(byte(kFixed + 32) << 8 | byte(kFixed + 33));
  }
  return {ProxyParse::Type::Complete, total};
}

}  // namespace

ProxyParse parse_proxy_header(std::string_view bytes, ProxyHeader& header) {
  header = {};
  const auto begins = [&](std::string_view signature) {
    const std::size_t count = std::min(bytes.size(), signature.size());
    return bytes.substr(0, count) == signature.substr(0, count);
  };
  if (begins(kSignature2)) return bytes.size() < kSignature2.size() ? ProxyParse{} : parse_version2(bytes, header);
  if (begins(kSignature1)) return bytes.size() < kSignature1.size() ? ProxyParse{} : parse_version1(bytes, header);
  return kBad;
}

}  // namespace dunlin
