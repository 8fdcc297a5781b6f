#include "server/layer_options.h"

#include <sched.h>
#include <sys/resource.h>

#include <algorithm>

#include "config/load.h"
#include "wire/encoding.h"

namespace dunlin {
namespace {

// Descriptors that are not client connections: store files, listeners, epoll sets, the admin port.
constexpr std::size_t kReservedDescriptors = 512;

LimitMode limit_mode(const std::string& name) {
  if (name == "off") return LimitMode::Off;
  return name == "observe" ? LimitMode::Observe : LimitMode::Enforce;
}

std::size_t max_connections(const Config& config) {
  if (config.net.max_connections > 0) return static_cast<std::size_t>(config.net.max_connections);
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1000;
  const auto descriptors = static_cast<std::size_t>(limit.rlim_cur);
  return descriptors > 2 * kReservedDescriptors ? descriptors - kReservedDescriptors : descriptors / 2;
}

Result<Endpoint> endpoint(const Config& config, std::string_view section, const std::string& host, std::int64_t port) {
  const bool bare_v6 = host.find(':') != std::string::npos && !host.starts_with('[');
  const std::string text = (bare_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
  auto parsed = Endpoint::parse(text);
  if (!parsed.ok()) return config_error(config, std::string(section) + ".listen", parsed.error().context());
  return parsed;
}

void set_common(ListenerOptions& options, const Config& config) {
  options.max_message_bytes = static_cast<std::size_t>(config.performance.max_frame_size);
  options.write_queue_bytes = static_cast<std::size_t>(config.net.write_queue_bytes);
  options.header_deadline = Milliseconds(config.net.header_deadline_ms);
}

}  // namespace

LogLevel log_level(const Config& config) {
  if (config.log_level == "debug") return LogLevel::Debug;
  if (config.log_level == "warn") return LogLevel::Warn;
  return config.log_level == "error" ? LogLevel::Error : LogLevel::Info;
}

std::size_t worker_count(const Config& config) {
  if (config.performance.worker_threads > 0) return static_cast<std::size_t>(config.performance.worker_threads);
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  if (sched_getaffinity(0, sizeof cpus, &cpus) != 0) return 1;
  return static_cast<std::size_t>(std::max(1, CPU_COUNT(&cpus)));
}

Result<AdmissionOptions> admission_options(const Config& config) {
  AdmissionOptions options;
  options.mode = limit_mode(config.limits.ip_mode);
  options.connections = static_cast<std::uint32_t>(config.limits.ip_connections);
  options.handshakes_per_s = static_cast<std::uint32_t>(config.limits.ip_handshakes_per_s);
  options.auth_failures_per_minute = static_cast<std::uint32_t>(config.limits.ip_auth_failures_per_minute);
  for (const std::string& block : config.limits.trusted_proxies) {
    auto cidr = Cidr::parse(block);
    if (!cidr.ok()) return config_error(config, "limits.trusted-proxies", cidr.error().context());
    options.trusted_proxies.push_back(*cidr);
  }
  return options;
}

Result<NetOptions> net_options(const Config& config) {
  NetOptions options;
  options.max_connections = max_connections(config);
  options.incomplete_bytes = static_cast<std::size_t>(config.net.max_partial_bytes);
  options.header_bytes = options.incomplete_bytes / 4;
  TRY_ASSIGN(options.admission, admission_options(config));
  return options;
}

Result<ListenerOptions> websocket_listener(const Config& config) {
  ListenerOptions options;
  TRY_ASSIGN(options.address, endpoint(config, "websocket", config.websocket.listen, config.websocket.port));
  options.transport = Transport::WebSocket;
  options.tls = config.tls.enabled() && config.websocket.tls;
  options.proxy_protocol = config.websocket.proxy_protocol;
  options.path = config.websocket.path;
  options.subprotocols = {std::string(wire::kJsonSubprotocol), std::string(wire::kProtobufSubprotocol)};
  options.allowed_origins = config.websocket.allowed_origins;
  set_common(options, config);
  return options;
}

Result<ListenerOptions> tcp_listener(const Config& config) {
  ListenerOptions options;
  TRY_ASSIGN(options.address, endpoint(config, "tcpsocket", config.tcpsocket.listen, config.tcpsocket.port));
  options.transport = Transport::Tcp;
  options.tls = config.tls.enabled() && config.tcpsocket.tls;
  options.proxy_protocol = config.tcpsocket.proxy_protocol;
  set_common(options, config);
  return options;
}

SessionOptions session_options(const Config& config) {
  SessionOptions options;
  options.auth_deadline = Milliseconds(config.session.auth_deadline_ms);
  options.heartbeat_interval = Milliseconds(config.session.heartbeat_interval_ms);
  options.max_packet_bytes = static_cast<std::uint32_t>(config.performance.max_frame_size);
  // A body must fit into a push within the smaller of packet limit and write queue, or it could never be delivered.
  const auto bound = static_cast<std::uint32_t>(std::min<std::int64_t>(config.performance.max_frame_size, 64 * 1024));
  options.decoder.max_body_bytes = bound > 8 * 1024 ? bound - 4 * 1024 : bound / 2;
  options.user_sends = {.mode = limit_mode(config.limits.user_mode),
                        .per_second = static_cast<std::uint32_t>(config.limits.user_sends_per_s),
                        .burst = static_cast<std::uint32_t>(config.limits.user_sends_burst)};
  const auto workers = static_cast<std::int64_t>(worker_count(config));
  options.logins = {.mode = limit_mode(config.limits.server_mode),
                    .at_a_time = static_cast<std::uint32_t>((config.limits.server_logins + workers - 1) / workers)};
  options.history_enabled = config.message.history_enable;
  options.devices = {.max_devices = static_cast<std::size_t>(config.session.max_devices),
                     .forget_after = std::chrono::hours(24 * config.session.device_idle_days)};
  options.cursor_flush_interval = Milliseconds(config.store.cursor_flush_interval_ms);
  options.receipt_interval = Milliseconds(config.session.receipt_interval_ms);
  options.delivery.retransmit_after = Milliseconds(config.session.retransmit_after_ms);
  options.delivery.slow_consumer_after = Milliseconds(config.session.slow_consumer_after_ms);
  options.delivery.max_flights = static_cast<std::size_t>(config.session.max_unacked_conversations);
  return options;
}

}  // namespace dunlin
