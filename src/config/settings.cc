#include "config/settings.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace dunlin {
namespace {

#define FIELD(member) [](Config& c) -> FieldRef { return &c.member; }

constexpr std::int64_t kKiB = 1024;
constexpr std::int64_t kMiB = 1024 * kKiB;
constexpr std::int64_t kGiB = 1024 * kMiB;
constexpr std::int64_t kTiB = 1024 * kGiB;
constexpr std::int64_t kDayMs = 86'400'000;
constexpr std::int64_t kManySeconds = 100LL * 366 * 86'400;

const auto kSettings = std::to_array<Setting>({
    {"websocket.enable", FIELD(websocket.enable), {}, "Serve clients over WebSocket."},
    {"websocket.listen", FIELD(websocket.listen), {}, "Address to listen on. `::` takes IPv6 and IPv4."},
    {"websocket.port", FIELD(websocket.port), {.max = 65535}, "Port; 0 takes a free one, which the ready line names."},
    {"websocket.path", FIELD(websocket.path), {}, "Path of the upgrade request; any other gets 404."},
    {"websocket.allowed-origins",
     FIELD(websocket.allowed_origins),
     {},
     "Origins that browsers may connect from, such as `https://chat.example`. Empty allows any: a client proves itself by its token, never "
     "by a cookie."},
    {"websocket.tls", FIELD(websocket.tls), {}, "Speak TLS on this port if `tls.certificate-file` is set."},
    {"websocket.proxy-protocol",
     FIELD(websocket.proxy_protocol),
     {},
     "Connections from `limits.trusted-proxies` begin with a PROXY header (v1 or v2) that names the client; from elsewhere none is taken."},
    {"tcpsocket.enable", FIELD(tcpsocket.enable), {}, "Serve clients over length-prefixed TCP."},
    {"tcpsocket.listen", FIELD(tcpsocket.listen), {}, "Address to listen on. `::` takes IPv6 and IPv4."},
    {"tcpsocket.port", FIELD(tcpsocket.port), {.max = 65535}, "Port; 0 takes a free one, which the ready line names."},
    {"tcpsocket.tls", FIELD(tcpsocket.tls), {}, "Speak TLS on this port if `tls.certificate-file` is set."},
    {"tcpsocket.proxy-protocol",
     FIELD(tcpsocket.proxy_protocol),
     {},
     "Connections from `limits.trusted-proxies` begin with a PROXY header (v1 or v2) that names the client; from elsewhere none is taken."},
    {"tls.certificate-file",
     FIELD(tls.certificate_file),
     {.path = true, .reload = true},
     "PEM file with the certificate and its chain. Empty: no TLS. From 14 days before it expires the log warns once a day."},
    {"tls.key-file",
     FIELD(tls.key_file),
     {.path = true, .reload = true},
     "PEM file with the certificate's private key, not encrypted: nobody is asked for a passphrase."},
    {"admin.enable", FIELD(admin.enable), {}, "Serve health, metrics and information over HTTP."},
    {"admin.listen", FIELD(admin.listen), {}, "HOST:PORT of that server. It asks for no password: keep it on a private address."},
    {"auth.keys",
     FIELD(auth.keys),
     {.reload = true, .secret = true},
     "Keys that tokens may be signed with, up to 16, all active at once. Each has `id`, `alg` (HS256, RS256, ES256 or EdDSA) and, for "
     "HS256, `secret-file` or "
     "`secret`, for the others `public-key-file` or `private-key-file` (PEM). Empty: a secret is generated into the data folder at the "
     "first start."},
    {"auth.leeway-seconds",
     FIELD(auth.leeway_seconds),
     {.max = 600, .unit = "s", .reload = true},
     "How far the clock of a token's issuer may differ from ours. 0: not at all."},
    {"auth.require-expiry", FIELD(auth.require_expiry), {.reload = true}, "Refuse tokens without `exp`."},
    {"auth.issuer", FIELD(auth.issuer), {.reload = true}, "If set, a token's `iss` must equal it."},
    {"auth.audience", FIELD(auth.audience), {.reload = true}, "If set, a token's `aud` must be or contain it."},
    {"store.engine",
     FIELD(store.engine),
     {.choices = "embedded|memory|redis|postgres"},
     "Where messages are kept. This build has `embedded`, and `memory`, which forgets everything at its end (for tests; it needs "
     "durability `memory`)."},
    {"store.path", FIELD(store.path), {.path = true}, "Folder of the embedded store, made if missing. One server at a time uses it."},
    {"store.durability",
     FIELD(store.durability),
     {.choices = "fsync|os|memory"},
     "What a message has survived when its sender gets the ack: `fsync` power loss, `os` a crash of the server but not of the machine, "
     "`memory` nothing."},
    {"store.unsafe-memory-acks",
     FIELD(store.unsafe_memory_acks),
     {},
     "Must be true for durability `memory`, with which a crash loses acked messages."},
    {"store.log.segment-bytes",
     FIELD(store.log_segment_bytes),
     {.min = 256 * kKiB, .max = kGiB, .unit = "bytes"},
     "Size of one file of the message log."},
    {"store.log.max-bytes",
     FIELD(store.log_max_bytes),
     {.min = 2 * kMiB, .max = 64 * kTiB, .unit = "bytes"},
     "How much log is kept for a follower that has stopped, before it is left behind and an alarm is raised."},
    {"store.log.backlog-bytes",
     FIELD(store.log_backlog_bytes),
     {.min = 2 * kMiB, .max = kTiB, .unit = "bytes"},
     "How much log may wait to enter history before sends get a temporary error. It bounds the time of a cold start."},
    {"store.window-bytes",
     FIELD(store.window_bytes),
     {.max = kTiB, .unit = "bytes"},
     "Memory for the newest messages: those that history does not hold yet, and, up to three quarters of it, those before them, which are "
     "then read without the disk. 0: the smaller of 128 MiB and an eighth of the memory that the process may use."},
    {"store.volume.span-seconds",
     FIELD(store.volume_span_seconds),
     {.min = 1, .max = kManySeconds, .unit = "s"},
     "Time covered by one volume of history; retention drops whole volumes."},
    {"store.volume.max-bytes",
     FIELD(store.volume_max_bytes),
     {.min = kMiB, .max = 64 * kTiB, .unit = "bytes"},
     "A volume that has grown to this is closed early."},
    {"store.reserve-percent",
     FIELD(store.reserve_percent),
     {.max = 50, .unit = "%"},
     "Part of the disk that sends leave free, so that history, recall and retention can still work when it is full. 0: none of it."},
    {"store.cursor-flush-interval-ms",
     FIELD(store.cursor_flush_interval_ms),
     {.min = 10, .max = 60'000, .unit = "ms"},
     "How often the positions of connected devices are written. While messages are sent, positions go with them much sooner; without any, "
     "a device may get again after a crash what it acked since."},
    {"message.history.enable",
     FIELD(message.history_enable),
     {},
     "Answer history requests; false refuses them with `forbidden`. What devices have not received is delivered all the same."},
    {"message.history.retention-days",
     FIELD(message.retention_days),
     {.max = 36'600, .unit = "days"},
     "How long messages are kept. 0: for ever."},
    {"message.history.retention-seconds",
     FIELD(message.retention_seconds),
     {.max = kManySeconds, .unit = "s"},
     "The same in seconds, mainly for tests; the shorter one applies. 0: not used."},
    {"message.history.retention-bytes",
     FIELD(message.retention_bytes),
     {.max = 1024 * kTiB, .unit = "bytes"},
     "Oldest volumes are dropped while history is larger than this. 0: no bound."},
    {"net.write-queue-bytes",
     FIELD(net.write_queue_bytes),
     {.min = 16 * kKiB, .max = kGiB, .unit = "bytes"},
     "Bound of what waits to be written to one client; at least twice performance.max-frame-size. At the bound its session lags: it reads "
     "on from the "
     "store at its own pace."},
    {"net.header-deadline-ms",
     FIELD(net.header_deadline_ms),
     {.min = 10, .max = kDayMs, .unit = "ms"},
     "Time for a whole upgrade request, TLS handshake included, however slowly its bytes come. On TCP: until the first byte."},
    {"net.max-connections",
     FIELD(net.max_connections),
     {.max = 10'000'000},
     "Connections of the whole server. More are told `too_many_connections` and closed, 64 at a time; beyond these they are reset. 0: as "
     "many "
     "as file descriptors allow."},
    {"net.max-partial-bytes",
     FIELD(net.max_partial_bytes),
     {.min = kMiB, .max = kTiB, .unit = "bytes"},
     "Memory for incomplete messages of all connections together; beside it a quarter of it for incomplete upgrade requests, of which each "
     "may "
     "have 32 KiB of headers."},
    {"session.heartbeat-interval-ms",
     FIELD(session.heartbeat_interval_ms),
     {.min = 50, .max = kDayMs, .unit = "ms"},
     "How often clients are told to ping. A connection silent for 2.5 of these is closed."},
    {"session.auth-deadline-ms",
     FIELD(session.auth_deadline_ms),
     {.min = 10, .max = kDayMs, .unit = "ms"},
     "Time from accept to a successful connect command."},
    {"session.retransmit-after-ms",
     FIELD(session.retransmit_after_ms),
     {.min = 10, .max = kDayMs, .unit = "ms"},
     "At a heartbeat, pushes unacked for longer than this are sent again; the pause doubles each time."},
    {"session.receipt-interval-ms",
     FIELD(session.receipt_interval_ms),
     {.max = 60'000, .unit = "ms"},
     "Receipts to one client are gathered for this long. 0: some 10 ms."},
    {"session.slow-consumer-after-ms",
     FIELD(session.slow_consumer_after_ms),
     {.min = 100, .max = kDayMs, .unit = "ms"},
     "A session whose write queue stays full for this long is closed with slow_consumer, to resume later."},
    {"session.max-unacked-conversations",
     FIELD(session.max_unacked_conversations),
     {.min = 1, .max = 65'536},
     "Conversations in which one session may have unacked pushes; beyond it, pushes of others wait for acks. About 128 bytes each."},
    {"session.max-devices",
     FIELD(session.max_devices),
     {.min = 1, .max = 1024},
     "Devices a user may have; the one unseen longest makes room."},
    {"session.device-idle-days",
     FIELD(session.device_idle_days),
     {.min = 1, .max = 3660, .unit = "days"},
     "A device unseen for this long is forgotten."},
    {"shutdown.ready-delay-ms",
     FIELD(shutdown.ready_delay_ms),
     {.max = kDayMs, .unit = "ms"},
     "Graceful stop: how long /readyz is red before connections are refused, so that a load balancer notices. 0: not at all."},
    {"shutdown.flush-ms",
     FIELD(shutdown.flush_ms),
     {.max = kDayMs, .unit = "ms"},
     "Graceful stop: time for write queues to drain. 0: none."},
    {"shutdown.clients-per-s",
     FIELD(shutdown.clients_per_s),
     {.min = 1, .max = 10'000'000, .unit = "1/s"},
     "Graceful stop: how many clients are closed in a second."},
    {"shutdown.reconnect-delay-ms",
     FIELD(shutdown.reconnect_delay_ms),
     {.max = kDayMs, .unit = "ms"},
     "Graceful stop: clients are told to come back after this and a random part of it. 0: at once."},
    {"shutdown.timeout-ms",
     FIELD(shutdown.timeout_ms),
     {.min = 100, .max = kDayMs, .unit = "ms"},
     "Graceful stop: it ends after this at the latest."},
    {"limits.ip.mode",
     FIELD(limits.ip_mode),
     {.choices = "off|observe|enforce", .reload = true},
     "`observe` only counts what would be refused. Loopback (127.0.0.0/8 and ::1) and `limits.trusted-proxies` are exempt from the limits "
     "by address: who tries a limit out does it from another one."},
    {"limits.ip.connections",
     FIELD(limits.ip_connections),
     {.max = 10'000'000, .reload = true},
     "Open connections from one address; of IPv6 a /64 network counts as one, here and below. More are told so as with "
     "net.max-connections. "
     "0: no limit."},
    {"limits.ip.handshakes-per-s",
     FIELD(limits.ip_handshakes_per_s),
     {.max = 10'000'000, .unit = "1/s", .reload = true},
     "New connections from one address; twice as many may come at once. 0: no limit."},
    {"limits.ip.auth-failures-per-minute",
     FIELD(limits.ip_auth_failures_per_minute),
     {.max = 1'000'000, .unit = "1/min", .reload = true},
     "Refused tokens from one address; above that a bad one is answered `rate_limited`, while good ones get in. 0: no limit."},
    {"limits.user.mode",
     FIELD(limits.user_mode),
     {.choices = "off|observe|enforce", .reload = true},
     "As limits.ip.mode, for the limits by user."},
    {"limits.user.sends-per-s",
     FIELD(limits.user_sends_per_s),
     {.max = 10'000'000, .unit = "1/s", .reload = true},
     "Messages from all connections of one user together. Acks, reads, pings and history are never refused. 0: no limit."},
    {"limits.user.sends-burst",
     FIELD(limits.user_sends_burst),
     {.min = 1, .max = 10'000'000, .reload = true},
     "Messages that a user may send at once after a pause."},
    {"limits.server.mode",
     FIELD(limits.server_mode),
     {.choices = "off|observe|enforce", .reload = true},
     "As limits.ip.mode, for the limits of the whole server."},
    {"limits.server.logins",
     FIELD(limits.server_logins),
     {.max = 10'000'000, .reload = true},
     "Logins under way at one time; more are refused with `overloaded`, each told to come back after a time of its own. 0: no limit."},
    {"limits.trusted-proxies",
     FIELD(limits.trusted_proxies),
     {.reload = true},
     "Addresses or CIDRs of load balancers. X-Forwarded-For and the PROXY protocol are believed only from these."},
    {"performance.worker-threads", FIELD(performance.worker_threads), {.max = 1024}, "Event loops for clients. 0: one for each core."},
    {"performance.offload-threads",
     FIELD(performance.offload_threads),
     {.min = 1, .max = 1024},
     "Threads that read the disk on behalf of the event loops."},
    {"performance.max-frame-size",
     FIELD(performance.max_frame_size),
     {.min = 1024, .max = 16 * kMiB, .unit = "bytes"},
     "Largest packet: a reassembled WebSocket message or the payload of a TCP frame."},
    {"performance.boss-threads",
     FIELD(performance.boss_threads),
     {.max = 1024},
     "Accepted for old configurations; it has no effect, whether 0 or not."},
    {"log.level", FIELD(log_level), {.choices = "debug|info|warn|error", .reload = true}, "Least level of the lines on stderr."},
    {"redis.host", FIELD(redis.host), {.not_in_this_build = true}, "Host of Redis. `spring.redis.*` is an alias of `redis.*`."},
    {"redis.port", FIELD(redis.port), {.min = 1, .max = 65535, .not_in_this_build = true}, "Port of Redis."},
    {"redis.username", FIELD(redis.username), {.not_in_this_build = true}, "User of Redis 6 and later."},
    {"redis.password", FIELD(redis.password), {.secret = true, .not_in_this_build = true}, "Password of Redis, any characters."},
    {"redis.database", FIELD(redis.database), {.max = 1'000'000, .not_in_this_build = true}, "Number of the database."},
    {"redis.mode", FIELD(redis.mode), {.choices = "standalone|sentinel|cluster", .not_in_this_build = true}, "How Redis is deployed."},
    {"redis.sentinel.master", FIELD(redis.sentinel_master), {.not_in_this_build = true}, "Name of the master, for mode sentinel."},
    {"redis.sentinel.nodes", FIELD(redis.sentinel_nodes), {.not_in_this_build = true}, "HOST:PORT of each Sentinel."},
    {"redis.cluster.nodes", FIELD(redis.cluster_nodes), {.not_in_this_build = true}, "HOST:PORT of some nodes, for mode cluster."},
    {"redis.timeout", FIELD(redis.timeout_ms), {.min = 1, .max = kDayMs, .unit = "ms", .not_in_this_build = true}, "Time for one command."},
    {"postgres.url", FIELD(postgres.url), {.secret = true, .not_in_this_build = true}, "Connection URL of PostgreSQL."},
    {"rocketmq.name-server", FIELD(rocketmq.name_server), {.not_in_this_build = true}, "HOST:PORT of the name servers, separated by `;`."},
    {"rocketmq.producer.group", FIELD(rocketmq.producer_group), {.not_in_this_build = true}, "Producer group."},
    {"rocketmq.access-key", FIELD(rocketmq.access_key), {.not_in_this_build = true}, "Access key."},
    {"rocketmq.secret-key", FIELD(rocketmq.secret_key), {.secret = true, .not_in_this_build = true}, "Secret key, any characters."},
    {"cluster.enable", FIELD(cluster.enable), {.not_in_this_build = true}, "Run as one node of many."},
    {"cluster.node-id", FIELD(cluster.node_id), {.not_in_this_build = true}, "Name of this node, unique in the cluster."},
    {"cluster.bus", FIELD(cluster.bus), {.choices = "redis|rocketmq", .not_in_this_build = true}, "What carries hints between nodes."},
    {"debug.unsafe-faults.drop-hints", FIELD(debug.drop_hints), {.reload = true, .hidden = true}, "Drop every push hint."},
    {"debug.unsafe-faults.drop-pushes", FIELD(debug.drop_pushes), {.reload = true, .hidden = true}, "Do not write message pushes."},
    {"debug.unsafe-faults.crash-at",
     FIELD(debug.crash_at),
     {.reload = true, .hidden = true},
     "Fault point at which the process kills itself."},
    {"debug.unsafe-faults.io-error-at", FIELD(debug.io_error_at), {.reload = true, .hidden = true}, "File call that fails with EIO."},
    {"debug.unsafe-faults.store-delay-ms",
     FIELD(debug.store_delay_ms),
     {.max = kDayMs, .reload = true, .hidden = true},
     "Every commit waits."},
    {"debug.unsafe-faults.worker-stall-ms",
     FIELD(debug.worker_stall_ms),
     {.max = kDayMs, .reload = true, .hidden = true},
     "Each worker blocks once."},
});

#undef FIELD

constexpr std::string_view kSpring = "spring.";

std::string_view without_alias(std::string_view key) {
  if (key.starts_with("spring.redis.") || key == "spring.redis") key.remove_prefix(kSpring.size());
  return key;
}

}  // namespace

std::span<const Setting> settings() {
  return kSettings;
}

const Setting* find_setting(std::string_view key) {
  key = without_alias(key);
  const auto found = std::find_if(kSettings.begin(), kSettings.end(), [key](const Setting& row) { return row.key == key; });
  return found == kSettings.end() ? nullptr : &*found;
}

bool is_section(std::string_view section) {
  if (section == "spring") return true;
  const std::string prefix = std::string(without_alias(section)) + ".";
  return std::any_of(kSettings.begin(), kSettings.end(), [&](const Setting& row) { return row.key.starts_with(prefix); });
}

std::string environment_name(std::string_view key) {
  std::string name = "DUNLIN_";
  for (const char c : key) name += c == '.' || c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

}  // namespace dunlin
