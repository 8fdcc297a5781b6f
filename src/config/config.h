#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

// The settings of one server, as plain values. Defaults stand here and only here; config/settings.cc says for each key what it
// means, its unit, bounds, and whether a reload applies it. A Config that load_config() returned is valid and its paths are absolute.
// server/ translates it into the options of each layer; no other layer includes this file.
namespace dunlin {

struct AuthKeyConfig {
  std::string id;
  std::string alg;              // HS256 | RS256 | ES256 | EdDSA
  std::string secret;           // HS256: this or secret_file
  std::string secret_file;      // one line break at the end of the file is not part of the secret
  std::string public_key_file;  // PEM
  std::string private_key_file;
  bool operator==(const AuthKeyConfig&) const = default;
};

struct TlsConfig {
  std::string certificate_file;  // empty: no TLS
  std::string key_file;
  bool enabled() const { return !certificate_file.empty(); }
};

struct WebSocketConfig {
  bool enable = true;
  std::string listen = "0.0.0.0";
  std::int64_t port = 8080;
  std::string path = "/im";
  std::vector<std::string> allowed_origins;
  bool tls = true;  // if a certificate is configured
  bool proxy_protocol = false;
};

struct TcpSocketConfig {
  bool enable = true;
  std::string listen = "0.0.0.0";
  std::int64_t port = 8081;
  bool tls = true;
  bool proxy_protocol = false;
};

struct AdminConfig {
  bool enable = true;
  std::string listen = "127.0.0.1:8090";
};

struct AuthConfig {
  std::vector<AuthKeyConfig> keys;  // empty: a secret is generated into the data folder
  std::int64_t leeway_seconds = 30;
  bool require_expiry = true;
  std::string issuer;
  std::string audience;
};

struct StoreConfig {
  std::string engine = "embedded";  // embedded | memory | redis | postgres
  std::string path = "./data";
  std::string durability = "fsync";  // fsync | os | memory
  bool unsafe_memory_acks = false;
  std::int64_t log_segment_bytes = 16 << 20;
  std::int64_t log_max_bytes = std::int64_t{1} << 30;
  std::int64_t log_backlog_bytes = 128 << 20;
  std::int64_t window_bytes = 0;  // 0: min(128 MiB, 1/8 of memory)
  std::int64_t volume_span_seconds = 86400;
  std::int64_t volume_max_bytes = std::int64_t{8} << 30;
  std::int64_t reserve_percent = 5;
  std::int64_t cursor_flush_interval_ms = 2000;
};

struct MessageConfig {
  bool history_enable = true;
  std::int64_t retention_days = 30;  // 0: for ever
  std::int64_t retention_seconds = 0;
  std::int64_t retention_bytes = 0;
  // The shorter of days and seconds where both are set; 0: for ever.
  std::int64_t retention_in_seconds() const {
    const std::int64_t days = retention_days * 86400;
    if (retention_seconds == 0) return days;
    return days == 0 || retention_seconds < days ? retention_seconds : days;
  }
};

struct NetConfig {
  std::int64_t write_queue_bytes = 128 << 10;
  std::int64_t header_deadline_ms = 10'000;
  std::int64_t max_connections = 0;  // 0: as many as descriptors allow
  std::int64_t max_partial_bytes = 64 << 20;
};

struct SessionConfig {
  std::int64_t heartbeat_interval_ms = 30'000;
  std::int64_t auth_deadline_ms = 10'000;
  std::int64_t retransmit_after_ms = 5'000;
  std::int64_t receipt_interval_ms = 500;
  std::int64_t slow_consumer_after_ms = 60'000;
  std::int64_t max_unacked_conversations = 512;
  std::int64_t max_devices = 32;
  std::int64_t device_idle_days = 60;
};

struct ShutdownConfig {
  std::int64_t ready_delay_ms = 5'000;  // D1: readiness red, everything still works
  std::int64_t flush_ms = 2'000;
  std::int64_t clients_per_s = 10'000;
  std::int64_t reconnect_delay_ms = 1'000;
  std::int64_t timeout_ms = 30'000;
};

struct LimitsConfig {
  std::string ip_mode = "enforce";  // off | observe | enforce
  std::int64_t ip_connections = 2'000;
  std::int64_t ip_handshakes_per_s = 200;
  std::int64_t ip_auth_failures_per_minute = 60;
  std::string user_mode = "enforce";
  std::int64_t user_sends_per_s = 1'000;
  std::int64_t user_sends_burst = 2'000;
  std::string server_mode = "enforce";
  std::int64_t server_logins = 20'000;
  std::vector<std::string> trusted_proxies;  // CIDRs or addresses
};

struct PerformanceConfig {
  std::int64_t worker_threads = 0;  // 0: one for each core
  std::int64_t offload_threads = 4;
  std::int64_t max_frame_size = 65536;
  std::int64_t boss_threads = 0;  // accepted, no effect
};

// Engines and buses that this build does not have: the keys are known and checked, enabling one is refused.
struct RedisConfig {
  std::string host = "localhost";
  std::int64_t port = 6379;
  std::string username;
  std::string password;
  std::int64_t database = 0;
  std::string mode = "standalone";  // standalone | sentinel | cluster
  std::string sentinel_master;
  std::vector<std::string> sentinel_nodes;
  std::vector<std::string> cluster_nodes;
  std::int64_t timeout_ms = 2'000;
};
struct PostgresConfig {
  std::string url;
};
struct RocketMqConfig {
  std::string name_server = "localhost:9876";
  std::string producer_group = "im-producer-group";
  std::string access_key;
  std::string secret_key;
};
struct ClusterConfig {
  bool enable = false;
  std::string node_id = "node-1";
  std::string bus = "redis";  // redis | rocketmq
};

// Faults that tests switch on in a real process. Every one breaks a promise, so each counts as an unsafe option.
struct DebugConfig {
  bool drop_hints = false;           // every push hint is dropped: devices converge from the store alone
  bool drop_pushes = false;          // message pushes are not written to sockets
  std::string crash_at;              // end the process with SIGKILL at this fault point of the store
  std::string io_error_at;           // name of a file call that fails with EIO
  std::int64_t store_delay_ms = 0;   // every commit waits this long
  std::int64_t worker_stall_ms = 0;  // each worker's loop blocks once for this long after a reload
};

struct Config {
  WebSocketConfig websocket;
  TcpSocketConfig tcpsocket;
  TlsConfig tls;
  AdminConfig admin;
  AuthConfig auth;
  StoreConfig store;
  MessageConfig message;
  NetConfig net;
  SessionConfig session;
  ShutdownConfig shutdown;
  LimitsConfig limits;
  PerformanceConfig performance;
  std::string log_level = "info";  // debug | info | warn | error
  RedisConfig redis;
  PostgresConfig postgres;
  RocketMqConfig rocketmq;
  ClusterConfig cluster;
  DebugConfig debug;

  // Where each key that was set stands, for errors: "dunlin.yaml:12" or the environment variable; items of lists as "auth.keys[0]".
  std::map<std::string, std::string, std::less<>> origins;
};

}  // namespace dunlin
