#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "admin/health.h"
#include "admin/router.h"
#include "base/clock.h"
#include "metrics/server_metrics.h"

namespace dunlin {

// What /info tells, gathered anew for each request by a function of server/ that must not block.
struct ServerInfo {
  std::string version;
  std::string epoch;
  std::string engine;
  std::string durability;  // the level in force
  std::string node;
  std::string websocket;  // HOST:PORT, empty if off
  std::string tcp;
  bool tls = false;
  std::int64_t max_packet_bytes = 0;
  std::int64_t heartbeat_interval_ms = 0;
  std::int64_t max_devices = 0;
  std::int64_t connections = 0;
  std::int64_t uptime_ms = 0;
  std::int64_t pid = 0;
};

struct AdminSources {
  const Health* health;    // must outlive the server, as must metrics
  ServerMetrics* metrics;  // /metrics brings its health gauges up to date
  std::function<ServerInfo()> info;
  // True while event loops turn: /livez. A process that only waits for its disk is alive.
  std::function<bool()> alive;
  // Brings numbers that others keep up to date in the metrics, right before a scrape; may be empty. Must not block.
  std::function<void()> collect = {};
};

// GET /livez /readyz /info /metrics.
Router make_admin_router(AdminSources sources);

}  // namespace dunlin
