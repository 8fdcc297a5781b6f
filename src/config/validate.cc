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
#include "config/load.h"

namespace dunlin {
namespace {

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

Status plain_address(const Config& config, std::string_view key, std::string& address) {
  if (address.size() > 2 && address.front() == '[' && address.back() == ']') address = address.substr(1, address.size() - 2);
  if (address == "localhost") address = "127.0.0.1";
  if (is_address(address)) return {};
  return config_error(config, key, fmt::format("{} is not an IPv4 or IPv6 address", shown(address)));
}

Status check_endpoint(const Config& config, std::string_view key, std::string& endpoint) {
  const auto colon = endpoint.rfind(':');
  int port = 0;
  if (colon == std::string::npos || !parse_int(std::string_view(endpoint).substr(colon + 1), 65535, port)) {
    return config_error(config, key, fmt::format("{} is not HOST:PORT", shown(endpoint)));
  }
  std::string host = endpoint.substr(0, colon);
  if (host.find(':') != std::string::npos && host.front() != '[') {
    return config_error(config, key, fmt::format("write an IPv6 address in brackets, as in [::1]:{}", port));
  }
  TRY(plain_address(config, key, host));
  endpoint = host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
  return {};
}

Status check_readable(const Config& config, std::string_view key, const std::string& file) {
  if (access(file.c_str(), R_OK) == 0) return {};
  return config_error(config, key, fmt::format("cannot read {}: {}", shown(file), std::strerror(errno)));
}

Status check_listeners(Config& config) {
  if (!config.websocket.enable && !config.tcpsocket.enable)
    return config_error(config, "websocket.enable", "false, and so is tcpsocket.enable: nothing to serve", "tcpsocket.enable");
  TRY(plain_address(config, "websocket.listen", config.websocket.listen));
  TRY(plain_address(config, "tcpsocket.listen", config.tcpsocket.listen));
  TRY(check_endpoint(config, "admin.listen", config.admin.listen));
  const std::string& path = config.websocket.path;
  const bool plain = std::all_of(path.begin(), path.end(), [](char c) { return c > 0x20 && c < 0x7F && c != '?' && c != '#'; });
  if (path.empty() || path.front() != '/' || !plain)
    return config_error(config, "websocket.path", "must begin with / and hold no spaces, ? or #");
  const bool same = config.websocket.enable && config.tcpsocket.enable && config.websocket.port == config.tcpsocket.port &&
                    config.websocket.port != 0 && config.websocket.listen == config.tcpsocket.listen;
  if (same)
    return config_error(config, "tcpsocket.port", fmt::format("{} is taken by websocket.port", config.tcpsocket.port), "websocket.port");
  return {};
}

Status check_tls(const Config& config) {
  const TlsConfig& tls = config.tls;
  if (tls.certificate_file.empty() != tls.key_file.empty()) {
    const bool no_key = tls.key_file.empty();
    return config_error(config, no_key ? "tls.key-file" : "tls.certificate-file", "missing: a certificate needs both files",
                        no_key ? "tls.certificate-file" : "tls.key-file");
  }
  if (!tls.enabled()) return {};
  TRY(check_readable(config, "tls.certificate-file", tls.certificate_file));
  return check_readable(config, "tls.key-file", tls.key_file);
}

// What is wrong with a key; empty if nothing is.
std::string wrong_in_hmac_key(const AuthKeyConfig& key) {
  if (!key.public_key_file.empty() || !key.private_key_file.empty()) return "HS256 takes secret or secret-file, no PEM file";
  if (key.secret.empty() == key.secret_file.empty()) return "HS256 needs either secret or secret-file";
  return {};
}

std::string wrong_in_pem_key(const AuthKeyConfig& key) {
  if (!key.secret.empty() || !key.secret_file.empty())
    return fmt::format("{} takes public-key-file or private-key-file, no secret", key.alg);
  if (key.public_key_file.empty() && key.private_key_file.empty())
    return fmt::format("{} needs public-key-file or private-key-file", key.alg);
  return {};
}

std::string wrong_in_key(const AuthKeyConfig& key) {
  if (key.alg == "HS256") return wrong_in_hmac_key(key);
  if (key.alg == "RS256" || key.alg == "ES256" || key.alg == "EdDSA") return wrong_in_pem_key(key);
  return fmt::format("alg must be HS256, RS256, ES256 or EdDSA, not {}", shown(key.alg));
}

Status check_keys(const Config& config) {
  const std::vector<AuthKeyConfig>& keys = config.auth.keys;
  if (keys.size() > 16) return config_error(config, "auth.keys", "more than 16 keys");
  std::set<std::string> ids;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const AuthKeyConfig& key = keys[i];
    const std::string name = fmt::format("auth.keys[{}]", i);
    if (!is_valid_id(key.id)) return config_error(config, name, "each key needs an id of 1 to 64 bytes without control characters");
    if (!ids.insert(key.id).second) return config_error(config, name, fmt::format("two keys have the id {}", shown(key.id)));
    if (const std::string why = wrong_in_key(key); !why.empty())
      return config_error(config, name, fmt::format("key {}: {}", shown(key.id), why));
    for (const std::string& file : {key.secret_file, key.public_key_file, key.private_key_file}) {
      if (!file.empty()) TRY(check_readable(config, name, file));
    }
  }
  return {};
}

Status check_store(const Config& config) {
  const StoreConfig& store = config.store;
  if (store.engine == "memory" && store.durability != "memory") {
    return config_error(config, "store.engine",
                        "memory keeps nothing: it needs store.durability: memory and store.unsafe-memory-acks: true");
  }
  if (store.engine != "embedded" && store.engine != "memory")
    return config_error(config, "store.engine", fmt::format("{} is not available in this build; use embedded", store.engine));
  if (store.path.empty()) return config_error(config, "store.path", "must not be empty");
  if (store.durability == "memory" && !store.unsafe_memory_acks) {
    return config_error(config, "store.durability", "memory loses acked messages at a crash; it needs store.unsafe-memory-acks: true");
  }
  if (store.log_segment_bytes < 4 * config.performance.max_frame_size) {
    return config_error(config, "store.log.segment-bytes", "must be at least four times performance.max-frame-size",
                        "performance.max-frame-size");
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
  const std::vector<std::string>& proxies = config.limits.trusted_proxies;
  for (std::size_t i = 0; i < proxies.size(); ++i) {
    const std::string& proxy = proxies[i];
    if (!is_network(proxy))
      return config_error(config, fmt::format("limits.trusted-proxies[{}]", i), fmt::format("{} is not an address or CIDR", shown(proxy)));
  }
  if (config.net.write_queue_bytes < 2 * config.performance.max_frame_size) {
    return config_error(config, "net.write-queue-bytes",
                        "must be at least twice performance.max-frame-size, or a message could never be delivered",
                        "performance.max-frame-size");
  }
  return {};
}

Status check_cluster(const Config& config) {
  if (!config.cluster.enable) return {};
  return config_error(config, "cluster.enable", "clusters are not available in this build; use false");
}

}  // namespace

Status validate(Config& config, std::vector<std::string>& warnings) {
  TRY(check_listeners(config));
  TRY(check_tls(config));
  TRY(check_keys(config));
  TRY(check_store(config));
  TRY(check_limits(config));
  TRY(check_cluster(config));
  if (config.performance.boss_threads != 0)
    warnings.emplace_back("performance.boss-threads has no effect: every worker accepts for itself");
  return {};
}

}  // namespace dunlin
