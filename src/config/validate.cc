#include "config/validate.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <set>
#include <string_view>

#include "base/escape.h"

namespace dunlin {
namespace {

Error wrong(std::string_view key, std::string_view why) {
  return Error(ErrorCode::Config, fmt::format("{}: {}", key, why));
}

std::string shown(std::string_view value) {
  std::string out;
  append_log_value(out, value);
  return out;
}

bool is_address(const std::string& text) {
  unsigned char bytes[16];
  return inet_pton(AF_INET, text.c_str(), bytes) == 1 || inet_pton(AF_INET6, text.c_str(), bytes) == 1;
}

bool parse_int(std::string_view text, int max, int& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && value >= 0 && value <= max;
}

Status plain_address(std::string_view key, std::string& address) {
  if (address.size() > 2 && address.front() == '[' && address.back() == ']') address = address.substr(1, address.size() - 2);
  if (address == "localhost") address = "127.0.0.1";
  if (is_address(address)) return {};
  return wrong(key, fmt::format("{} is not an IPv4 or IPv6 address", shown(address)));
}

Status check_endpoint(std::string_view key, std::string& endpoint) {
  const auto colon = endpoint.rfind(':');
  int port = 0;
  if (colon == std::string::npos || !parse_int(std::string_view(endpoint).substr(colon + 1), 65535, port)) {
    return wrong(key, fmt::format("{} is not HOST:PORT", shown(endpoint)));
  }
  std::string host = endpoint.substr(0, colon);
  if (host.find(':') != std::string::npos && host.front() != '[') {
    return wrong(key, fmt::format("write an IPv6 address in brackets, as in [::1]:{}", port));
  }
  TRY(plain_address(key, host));
  endpoint = host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
  return {};
}

Status check_readable(std::string_view key, const std::string& file) {
  if (access(file.c_str(), R_OK) == 0) return {};
  return wrong(key, fmt::format("cannot read {}: {}", shown(file), std::strerror(errno)));
}

Status check_listeners(Config& config) {
  if (!config.websocket.enable && !config.tcpsocket.enable)
    return wrong("websocket.enable", "false, and so is tcpsocket.enable: nothing to serve");
  TRY(plain_address("websocket.listen", config.websocket.listen));
  TRY(plain_address("tcpsocket.listen", config.tcpsocket.listen));
  TRY(check_endpoint("admin.listen", config.admin.listen));
  const std::string& path = config.websocket.path;
  const bool plain = std::all_of(path.begin(), path.end(), [](char c) { return c > 0x20 && c < 0x7F && c != '?' && c != '#'; });
  if (path.empty() || path.front() != '/' || !plain) return wrong("websocket.path", "must begin with / and hold no spaces, ? or #");
  const bool same = config.websocket.enable && config.tcpsocket.enable && config.websocket.port == config.tcpsocket.port &&
                    config.websocket.port != 0 && config.websocket.listen == config.tcpsocket.listen;
  if (same) return wrong("tcpsocket.port", fmt::format("{} is taken by websocket.port", config.tcpsocket.port));
  return {};
}

Status check_tls(const TlsConfig& tls) {
  if (tls.certificate_file.empty() != tls.key_file.empty()) {
    return wrong(tls.key_file.empty() ? "tls.key-file" : "tls.certificate-file", "missing: a certificate needs both files");
  }
  if (!tls.enabled()) return {};
  TRY(check_readable("tls.certificate-file", tls.certificate_file));
  return check_readable("tls.key-file", tls.key_file);
}

Status check_hmac_key(const std::string& name, const AuthKeyConfig& key) {
  if (!key.public_key_file.empty() || !key.private_key_file.empty()) return wrong(name, "HS256 takes secret or secret-file, no PEM file");
  if (key.secret.empty() == key.secret_file.empty()) return wrong(name, "HS256 needs either secret or secret-file");
  return key.secret_file.empty() ? Status() : check_readable(name, key.secret_file);
}

Status check_pem_key(const std::string& name, const AuthKeyConfig& key) {
  if (!key.secret.empty() || !key.secret_file.empty())
    return wrong(name, fmt::format("{} takes public-key-file or private-key-file, no secret", key.alg));
  if (key.public_key_file.empty() && key.private_key_file.empty())
    return wrong(name, fmt::format("{} needs public-key-file or private-key-file", key.alg));
  for (const std::string& file : {key.public_key_file, key.private_key_file}) {
    if (!file.empty()) TRY(check_readable(name, file));
  }
  return {};
}

Status check_keys(const std::vector<AuthKeyConfig>& keys) {
  if (keys.size() > 16) return wrong("auth.keys", "more than 16 keys");
  std::set<std::string> ids;
  for (const AuthKeyConfig& key : keys) {
    if (!is_valid_id(key.id)) return wrong("auth.keys", "each key needs an id of 1 to 64 bytes without control characters");
    if (!ids.insert(key.id).second) return wrong("auth.keys", fmt::format("two keys have the id {}", shown(key.id)));
    const std::string name = "auth.keys[" + shown(key.id) + "]";
    if (key.alg == "HS256") {
      TRY(check_hmac_key(name, key));
    } else if (key.alg == "RS256" || key.alg == "ES256" || key.alg == "EdDSA") {
      TRY(check_pem_key(name, key));
    } else {
      return wrong(name, fmt::format("alg must be HS256, RS256, ES256 or EdDSA, not {}", shown(key.alg)));
    }
  }
  return {};
}

Status check_store(const Config& config) {
  const StoreConfig& store = config.store;
  if (store.engine == "memory" && store.durability != "memory") {
    return wrong("store.engine", "memory keeps nothing: it needs store.durability: memory and store.unsafe-memory-acks: true");
  }
  if (store.engine != "embedded" && store.engine != "memory")
    return wrong("store.engine", fmt::format("{} is not available in this build; use embedded", store.engine));
  if (store.path.empty()) return wrong("store.path", "must not be empty");
  if (store.durability == "memory" && !store.unsafe_memory_acks) {
    return wrong("store.durability", "memory loses acked messages at a crash; it needs store.unsafe-memory-acks: true");
  }
  if (store.log_segment_bytes < 4 * config.performance.max_frame_size) {
    return wrong("store.log.segment-bytes", "must be at least four times performance.max-frame-size");
  }
  return {};
}

bool is_network(const std::string& text) {
  const auto slash = text.find('/');
  const std::string address = text.substr(0, slash);
  if (!is_address(address)) return false;
  int bits = 0;
  return slash == std::string::npos ||
         parse_int(std::string_view(text).substr(slash + 1), address.find(':') == std::string::npos ? 32 : 128, bits);
}

Status check_limits(const Config& config) {
  for (const std::string& proxy : config.limits.trusted_proxies) {
    if (!is_network(proxy)) return wrong("limits.trusted-proxies", fmt::format("{} is not an address or CIDR", shown(proxy)));
  }
  if (config.net.write_queue_bytes < 2 * config.performance.max_frame_size) {
    return wrong("net.write-queue-bytes", "must be at least twice performance.max-frame-size, or a message could never be delivered");
  }
  return {};
}

Status check_cluster(const Config& config) {
  if (!config.cluster.enable) return {};
  return wrong("cluster.enable", "clusters are not available in this build; use false");
}

}  // namespace

Status validate(Config& config, std::vector<std::string>& warnings) {
  TRY(check_listeners(config));
  TRY(check_tls(config.tls));
  TRY(check_keys(config.auth.keys));
  TRY(check_store(config));
  TRY(check_limits(config));
  TRY(check_cluster(config));
  if (config.performance.boss_threads != 0)
    warnings.emplace_back("performance.boss-threads has no effect: every worker accepts for itself");
  return {};
}

}  // namespace dunlin
