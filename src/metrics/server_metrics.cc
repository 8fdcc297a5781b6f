#include "metrics/server_metrics.h"

#include <algorithm>

#include "base/log_output.h"
#include "metrics/exposition.h"
#include "metrics/process_usage.h"

namespace dunlin {
namespace metrics {
namespace {

constexpr std::size_t kMaxUnsafeOptions = 32;
constexpr double kNanoseconds = 1e-9;

constexpr std::array<std::string_view, 2> kTransports = {"websocket", "tcp"};
constexpr std::array<std::string_view, 2> kEncodings = {"json", "protobuf"};
constexpr std::array<std::string_view, 5> kLimits = {"ip_connections", "ip_handshakes", "ip_auth_failures", "user_sends", "server_logins"};
constexpr std::array<std::string_view, 2> kOutcomes = {"would_reject", "rejected"};
constexpr std::array<std::string_view, kPlatformCount> kPlatforms = {"none",  "ios",   "android", "web",  "windows",
                                                                     "macos", "linux", "cli",     "other"};
constexpr std::array<std::string_view, 3> kChecks = {"accept", "store", "deliver"};
constexpr std::array<std::string_view, 2> kFollowerStates = {"following", "reset"};
constexpr std::array<std::string_view, 4> kClientEnds = {"client_closed", "client_lost", "client_protocol_error", "client_not_upgraded"};

std::size_t row_of(ErrorCode code) {
  const ErrorTable table = error_table();
  return static_cast<std::size_t>(&error_info(code) - table.begin());
}

}  // namespace

Platform platform_of(std::string_view told) {
  if (told.empty()) return Platform::None;
  const auto* const known = std::find(kPlatforms.begin() + 1, kPlatforms.end(), told);
  return known == kPlatforms.end() ? Platform::Other : static_cast<Platform>(known - kPlatforms.begin());
}

std::string_view platform_name(Platform platform) {
  const auto row = static_cast<std::size_t>(platform);
  return platform == Platform::None || row >= kPlatforms.size() ? std::string_view() : kPlatforms[row];
}

void ErrorCounters::add(ErrorCode code, std::uint64_t n) {
  rows_[row_of(code)].add(n);
}
std::uint64_t ErrorCounters::value(ErrorCode code) const {
  return rows_[row_of(code)].value();
}

}  // namespace metrics

// Writes the families of ServerMetrics one after the other, in the order of its members.
class ServerMetricsWriter {
 public:
  explicit ServerMetricsWriter(const ServerMetrics& of) : of_(of) {}

  std::string write() {
    connections();
    messages();
    store();
    process();
    return out_.take();
  }

 private:
  using Type = metrics::Exposition::Type;

  void counter(std::string_view name, const metrics::Counter& counter, std::string_view help) {
    out_.family(name, Type::Counter, help);
    out_.sample({}, counter.value());
  }
  template <class AnyGauge>
  void gauge(std::string_view name, const AnyGauge& gauge, std::string_view help) {
    out_.family(name, Type::Gauge, help);
    out_.sample({}, gauge.value());
  }
  void latency(std::string_view name, const metrics::Histogram& histogram, std::string_view help) {
    out_.family(name, Type::Histogram, help);
    out_.histogram(histogram, metrics::kNanoseconds);
  }

  void connections() {
    out_.family("dunlin_connections", Type::Gauge, "Open connections.");
    for (std::size_t t = 0; t < 2; ++t) {
      for (std::size_t e = 0; e < 2; ++e) {
        out_.sample({{"transport", metrics::kTransports[t]}, {"encoding", metrics::kEncodings[e]}}, of_.connections_[t][e].value());
      }
    }
    counter("dunlin_accepted_total", of_.accepted_total, "Sockets accepted, refused ones included.");
    gauge("dunlin_sessions", of_.sessions, "Authenticated sessions.");
    gauge("dunlin_lagging_sessions", of_.lagging_sessions, "Sessions that read on from the store because their write queue was full.");
    gauge("dunlin_write_queue_bytes", of_.write_queue_bytes, "Bytes that wait to be written to clients.");
    disconnects();
    out_.family("dunlin_errors_total", Type::Counter, "Error replies sent to clients.");
    for (const ErrorInfo& row : error_table()) out_.sample({{"name", row.name}}, of_.errors_total.value(row.code));
    latency("dunlin_handshake_seconds", of_.handshake_seconds, "Accept to open: TLS, PROXY header and upgrade.");
    latency("dunlin_auth_seconds", of_.auth_seconds, "One token checked.");
    latency("dunlin_connect_seconds", of_.connect_seconds, "Connect command to its reply.");
    out_.family("dunlin_connects_total", Type::Counter, "Accepted connect commands, by what the client calls itself.");
    for (std::size_t p = 0; p < metrics::kPlatformCount; ++p) out_.sample({{"platform", metrics::kPlatforms[p]}}, of_.connects_[p].value());
    counter("dunlin_auth_failures_total", of_.auth_failures_total, "Tokens refused.");
    out_.family("dunlin_limited_total", Type::Counter, "What a limit refused, or would have refused in mode observe.");
    for (std::size_t l = 0; l < metrics::kLimits.size(); ++l) {
      for (std::size_t o = 0; o < 2; ++o) {
        out_.sample({{"limit", metrics::kLimits[l]}, {"outcome", metrics::kOutcomes[o]}}, of_.limited_[l][o].value());
      }
    }
  }

  void disconnects() {
    out_.family("dunlin_disconnects_total", Type::Counter, "Closed connections; the reason is an error name or how the client went.");
    for (const ErrorInfo& row : error_table()) out_.sample({{"reason", row.name}}, of_.disconnects_total.value(row.code));
    for (std::size_t i = 0; i < metrics::kClientEnds.size(); ++i) {
      out_.sample({{"reason", metrics::kClientEnds[i]}}, of_.disconnects_total.value(static_cast<metrics::ClientEnd>(i)));
    }
  }

  void messages() {
    latency("dunlin_send_ack_seconds", of_.send_ack_seconds, "Send received to its ack queued.");
    latency("dunlin_send_deliver_seconds", of_.send_deliver_seconds, "Send received to its push queued for a recipient.");
    counter("dunlin_sends_total", of_.sends_total, "Messages stored for senders.");
    counter("dunlin_duplicates_total", of_.duplicates_total, "Sends answered with an earlier seq.");
    counter("dunlin_pushes_total", of_.pushes_total, "Messages queued for recipients.");
    counter("dunlin_retransmissions_total", of_.retransmissions_total, "Messages queued again because no ack came.");
    out_.family("dunlin_delivery_waits_total", Type::Counter,
                "Times that a session had to wait: for room in its write queue, or for acks.");
    out_.sample({{"for", "queue"}}, of_.delivery_waits_queue.value());
    out_.sample({{"for", "acks"}}, of_.delivery_waits_acks.value());
    counter("dunlin_own_messages_dropped_total", of_.own_messages_dropped,
            "Own messages that a session had no room to remember, which it may get pushed.");
    counter("dunlin_gaps_total", of_.gaps_total, "Gaps pushed.");
    counter("dunlin_hints_dropped_total", of_.hints_dropped_total, "Hints dropped at a full mailbox; the store repairs them.");
    out_.family("dunlin_sync_conversations", Type::Histogram, "Conversations in a reply to sync.");
    out_.histogram(of_.sync_conversations, 1);
    out_.family("dunlin_encodes_total", Type::Counter, "Messages encoded; one for each message and encoding, however many recipients.");
    for (std::size_t e = 0; e < 2; ++e) out_.sample({{"encoding", metrics::kEncodings[e]}}, of_.encodes_[e].value());
  }

  void store() {
    out_.family("dunlin_store_batch_messages", Type::Histogram, "Messages committed by one sync.");
    out_.histogram(of_.store_batch_messages, 1);
    latency("dunlin_store_commit_seconds", of_.store_commit_seconds, "Batch closed to durable.");
    latency("dunlin_store_sync_seconds", of_.store_sync_seconds, "One fdatasync of the log.");
    counter("dunlin_store_rows_read_total", of_.store_rows_read_total, "Rows read to answer clients, from memory or disk.");
    counter("dunlin_store_disk_rows_read_total", of_.store_disk_rows_read_total, "Rows read to answer clients that were not in memory.");
    counter("dunlin_store_corrupt_records_total", of_.store_corrupt_records_total,
            "Records of the log and files of history found corrupt.");
    gauge("dunlin_store_retained_bytes", of_.store_retained_bytes, "Log, history and state on disk.");
    gauge("dunlin_store_log_backlog_bytes", of_.store_log_backlog_bytes, "Log that history does not hold yet.");
    gauge("dunlin_store_log_kept_bytes", of_.store_log_kept_bytes, "Log that history holds, kept for followers.");
    gauge("dunlin_store_recalls_waiting", of_.store_recalls_waiting, "Recalled messages whose content is not out of all files.");
    out_.family("dunlin_store_followers", Type::Gauge, "Registered followers of the log; reset: left behind, it has to begin anew.");
    for (std::size_t s = 0; s < 2; ++s) out_.sample({{"state", metrics::kFollowerStates[s]}}, of_.store_followers_[s].value());
    gauge("dunlin_store_follower_lag_messages", of_.store_follower_lag_messages, "Messages that the slowest follower has not passed.");
    gauge("dunlin_store_window_bytes", of_.store_window_bytes, "Memory of the newest messages.");
    gauge("dunlin_store_alarms", of_.store_alarms, "1 while the store refuses sends; /readyz says why.");
    gauge("dunlin_store_clock_trusted", of_.store_clock_trusted, "0 while the wall clock has jumped, and retention waits.");
  }

  void process() {
    gauge("dunlin_stop_phase", of_.stop_phase, "0 serving, 1 not ready, 2 not accepting, 3 flushing, 4 closing clients.");
    out_.family("dunlin_health", Type::Gauge, "1 if the check of /readyz is green.");
    for (std::size_t i = 0; i < metrics::kChecks.size(); ++i) out_.sample({{"check", metrics::kChecks[i]}}, of_.health_[i].value());
    gauge("dunlin_tls_certificate_end_seconds", of_.tls_certificate_end_seconds,
          "When the first certificate of the chain expires, in seconds since 1970; 0 without TLS.");
    counter("dunlin_config_reloads_total", of_.config_reloads_total, "Reloads applied.");
    counter("dunlin_config_reload_failures_total", of_.config_reload_failures_total, "Reloads refused.");
    config_unsafe();
    kernel();
  }

  void config_unsafe() {
    out_.family("dunlin_config_unsafe", Type::Gauge, "1 for an unsafe setting that is on.");
    const MutexLock lock(of_.mutex_);
    for (const auto& [option, on] : of_.config_unsafe_) out_.sample({{"option", option}}, std::int64_t{on ? 1 : 0});
  }

  void kernel() {
    out_.family("dunlin_log_lines_dropped_total", Type::Counter, "Log lines that stderr did not take.");
    out_.sample({}, log_lines_dropped());
    const metrics::ProcessUsage usage = metrics::process_usage(of_.sockets.value());
    out_.family("process_cpu_seconds_total", Type::Counter, "User and system CPU time.");
    out_.sample({}, usage.cpu_seconds);
    out_.family("process_resident_memory_bytes", Type::Gauge, "Resident memory.");
    out_.sample({}, usage.resident_bytes);
    out_.family("process_open_fds", Type::Gauge, "Open file descriptors.");
    out_.sample({}, usage.open_descriptors);
    out_.family("process_max_fds", Type::Gauge, "Most file descriptors allowed.");
    out_.sample({}, usage.max_descriptors);
    out_.family("process_start_time_seconds", Type::Gauge, "Start of the process, since 1970.");
    out_.sample({}, usage.start_time_seconds);
  }

  const ServerMetrics& of_;
  metrics::Exposition out_;
};

void ServerMetrics::set_config_unsafe(std::string_view option, bool on) {
  const MutexLock lock(mutex_);
  const auto known = config_unsafe_.find(option);
  if (known != config_unsafe_.end()) {
    known->second = on;
  } else if (config_unsafe_.size() < metrics::kMaxUnsafeOptions) {
    config_unsafe_.emplace(option, on);
  }
}

std::string ServerMetrics::expose() const {
  return ServerMetricsWriter(*this).write();
}

}  // namespace dunlin
