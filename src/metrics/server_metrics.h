#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/thread_annotations.h"
#include "metrics/instruments.h"

namespace dunlin {

namespace metrics {

// Label values are enumerations or rows of the error table, never anything that a client chose: so the number of series is fixed.
enum class Transport : std::uint8_t { WebSocket, Tcp };
enum class Encoding : std::uint8_t { Json, Protobuf };
enum class Limit : std::uint8_t { IpConnections, IpHandshakes, IpAuthFailures, UserSends, ServerLogins };
enum class LimitOutcome : std::uint8_t { WouldReject, Rejected };
enum class Check : std::uint8_t { Accept, Store, Deliver };
enum class FollowerState : std::uint8_t { Following, Reset };
enum class Platform : std::uint8_t { None, Ios, Android, Web, Windows, Macos, Linux, Cli, Other };
inline constexpr std::size_t kPlatformCount = 9;
Platform platform_of(std::string_view told);        // by a client, in connect; every name that is not known is Other
std::string_view platform_name(Platform platform);  // empty for None

// Ends of a connection that are no error of the table: the client went by itself.
enum class ClientEnd : std::uint8_t {
  Closed,         // close handshake, or FIN after a complete packet
  Lost,           // reset, or end of stream inside a packet
  ProtocolError,  // broke RFC 6455 or the TCP framing before any error of the table applied
  NotUpgraded,    // refused before or during the HTTP upgrade or the TLS handshake, or too slow in it
};

// One counter for each row of base/error_codes.inc.
class ErrorCounters {
 public:
  void add(ErrorCode code, std::uint64_t n = 1);
  std::uint64_t value(ErrorCode code) const;

 private:
  static constexpr std::size_t kRows = 0
#define X(enumerator, number, name, temporary, text) +1
#include "base/error_codes.inc"
#undef X
      ;
  std::array<Counter, kRows> rows_;
};

// Every disconnect has exactly one reason: a row of the error table or a ClientEnd.
class DisconnectCounters {
 public:
  void add(ErrorCode code, std::uint64_t n = 1) { errors_.add(code, n); }
  void add(ClientEnd end, std::uint64_t n = 1) { ends_[static_cast<std::size_t>(end)].add(n); }
  std::uint64_t value(ErrorCode code) const { return errors_.value(code); }
  std::uint64_t value(ClientEnd end) const { return ends_[static_cast<std::size_t>(end)].value(); }

 private:
  ErrorCounters errors_;
  std::array<Counter, 4> ends_;
};

}  // namespace metrics

// All metrics of a server, by their member's name with "dunlin_" before it (docs/operating/metrics.md explains each to operators).
// One object for each server, made first and destroyed last by server/; everyone else gets a reference at construction.
// Members may be written from any thread; expose() may be called from any thread and takes about 0.1 ms.
class ServerMetrics {
 public:
  ServerMetrics() { store_clock_trusted.set(1); }
  ServerMetrics(const ServerMetrics&) = delete;
  ServerMetrics& operator=(const ServerMetrics&) = delete;

  // Connections.
  metrics::LevelGauge& connections(metrics::Transport transport, metrics::Encoding encoding) {
    return connections_[static_cast<std::size_t>(transport)][static_cast<std::size_t>(encoding)];
  }
  metrics::Gauge sockets;                 // of clients, in any state: only for process_open_fds
  metrics::Counter accepted_total;        // sockets accepted, refused ones included
  metrics::LevelGauge sessions;           // authenticated sessions
  metrics::LevelGauge lagging_sessions;   // sessions that read on from the store because their write queue was full
  metrics::LevelGauge write_queue_bytes;  // bytes held for all clients together
  metrics::DisconnectCounters disconnects_total;
  metrics::ErrorCounters errors_total;             // error replies sent to clients, by name
  metrics::Histogram handshake_seconds{kLatency};  // accept to open: TLS, PROXY header and upgrade
  metrics::Histogram auth_seconds{kAuthLatency};   // one token checked, good or bad
  metrics::Histogram connect_seconds{kLatency};    // connect command to its reply
  metrics::Counter auth_failures_total;
  metrics::Counter& connects(metrics::Platform platform) { return connects_[static_cast<std::size_t>(platform)]; }
  metrics::Counter& limited(metrics::Limit limit, metrics::LimitOutcome outcome) {
    return limited_[static_cast<std::size_t>(limit)][static_cast<std::size_t>(outcome)];
  }

  // Messages.
  metrics::Histogram send_ack_seconds{kLatency};                       // send decoded to its ack queued
  metrics::Histogram send_deliver_seconds{kLatency};                   // send decoded to the push queued to a recipient's session
  metrics::Counter sends_total;                                        // sends that stored a message
  metrics::Counter duplicates_total;                                   // sends answered with an earlier seq
  metrics::Counter pushes_total;                                       // message pushes queued
  metrics::Counter retransmissions_total;                              // messages, or gaps in their place, queued again for want of an ack
  metrics::Counter delivery_waits_queue;                               // sessions stopped at their write queue's bound
  metrics::Counter delivery_waits_acks;                                // sessions stopped at their bound of unacked conversations
  metrics::Counter own_messages_dropped;                               // own messages that a session had no room to remember
  metrics::Counter gaps_total;                                         // gaps pushed
  metrics::Counter hints_dropped_total;                                // hints dropped at a full mailbox (repaired from the store)
  metrics::Histogram sync_conversations{0, 1, 2, 5, 10, 20, 50, 100};  // lines of a reply to sync
  metrics::Counter& encodes(metrics::Encoding encoding) { return encodes_[static_cast<std::size_t>(encoding)]; }

  // Store.
  metrics::Histogram store_batch_messages{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};
  metrics::Histogram store_commit_seconds{kLatency};  // batch closed to durable
  metrics::Histogram store_sync_seconds{kLatency};    // one fdatasync
  metrics::Counter store_rows_read_total;             // rows read to answer clients, from memory or disk
  metrics::Counter store_disk_rows_read_total;        // those of them that the window did not have
  metrics::Counter store_corrupt_records_total;
  metrics::Gauge store_retained_bytes;     // log, history and state on disk
  metrics::Gauge store_log_backlog_bytes;  // log not yet in history
  metrics::Gauge store_log_kept_bytes;     // log that history has and a follower has not
  metrics::Gauge store_recalls_waiting;    // recalled messages whose content is not out of all files
  metrics::Gauge& store_followers(metrics::FollowerState state) { return store_followers_[static_cast<std::size_t>(state)]; }
  metrics::Gauge store_follower_lag_messages;  // of the slowest that is not reset
  metrics::Gauge store_window_bytes;           // memory of the window
  metrics::Gauge store_alarms;                 // 1 while sends are refused: the log fails, disk reserve, history too far behind
  metrics::Gauge store_clock_trusted;          // 0 while the wall clock has jumped, and retention waits

  // The process.
  metrics::Gauge stop_phase;  // 0 serving, 1 not ready, 2 not accepting, 3 flushing, 4 closing clients
  metrics::Gauge& health(metrics::Check check) { return health_[static_cast<std::size_t>(check)]; }
  metrics::Gauge tls_certificate_end_seconds;  // since 1970; 0 without TLS
  metrics::Counter config_reloads_total;
  metrics::Counter config_reload_failures_total;

  // Marks an unsafe setting as on (1) or off (0): `option` is a key of the settings table. At most 32 options; more are ignored.
  void set_config_unsafe(std::string_view option, bool on) EXCLUDES(mutex_);

  // All of it in Prometheus text format 0.0.4.
  std::string expose() const EXCLUDES(mutex_);

 private:
  friend class ServerMetricsWriter;

  static constexpr std::initializer_list<std::uint64_t> kLatency = {
      100'000,    250'000,     500'000,     1'000'000,   2'500'000,     5'000'000,     10'000'000,    20'000'000,
      50'000'000, 100'000'000, 250'000'000, 500'000'000, 1'000'000'000, 2'500'000'000, 5'000'000'000, 10'000'000'000};

  static constexpr std::initializer_list<std::uint64_t> kAuthLatency = {5'000,   10'000,    25'000,    50'000,    100'000,   250'000,
                                                                        500'000, 1'000'000, 2'500'000, 5'000'000, 10'000'000};

  std::array<std::array<metrics::LevelGauge, 2>, 2> connections_;
  std::array<std::array<metrics::Counter, 2>, 5> limited_;
  std::array<metrics::Counter, metrics::kPlatformCount> connects_;
  std::array<metrics::Counter, 2> encodes_;
  std::array<metrics::Gauge, 3> health_;
  std::array<metrics::Gauge, 2> store_followers_;

  mutable Mutex mutex_;
  std::map<std::string, bool, std::less<>> config_unsafe_ GUARDED_BY(mutex_);
};

}  // namespace dunlin
