#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "metrics/instruments.h"
#include "net/address.h"
#include "net/connection_handler.h"

namespace dunlin {

// One port that clients connect to.
struct ListenerOptions {
  Endpoint address;  // port 0 takes a free one
  Transport transport = Transport::WebSocket;
  bool tls = false;             // with the certificate of NetServer::use_certificate
  bool proxy_protocol = false;  // connections from trusted proxies begin with a PROXY header
  int backlog = 4096;

  // WebSocket
  std::string path;                          // "/im"; empty = any
  std::vector<std::string> subprotocols;     // ours, best first; empty = whatever is offered is ignored
  std::vector<std::string> allowed_origins;  // empty = any

  // both
  std::size_t max_message_bytes = 65536;
  std::size_t max_fragments = 1024;
  std::size_t write_queue_bytes = 128 * 1024;
  Milliseconds header_deadline{10'000};  // TLS, PROXY and HTTP together; on TCP until the first byte
  Milliseconds close_deadline{5'000};    // until the peer answers our close
};

enum class LimitMode : std::uint8_t { Off, Observe, Enforce };

// Limits by IP address (IPv6: by /64); a number of 0 is no limit. Loopback (127.0.0.0/8 and ::1) and trusted proxies are exempt.
struct AdmissionOptions {
  LimitMode mode = LimitMode::Enforce;
  std::uint32_t connections = 1000;             // at the same time
  std::uint32_t handshakes_per_s = 50;          // with a burst of twice that
  std::uint32_t auth_failures_per_minute = 30;  // above it a bad token is answered rate_limited
  std::vector<Cidr> trusted_proxies;            // whose PROXY header and X-Forwarded-For are believed
  bool exempt_loopback = true;                  // off only in tests
};

struct NetOptions {
  std::size_t read_buffer_bytes = 256 * 1024;             // one for each worker
  std::size_t incomplete_bytes = std::size_t{256} << 20;  // of incomplete messages, whole process
  std::size_t header_bytes = std::size_t{16} << 20;       // of incomplete upgrade requests, whole process
  std::size_t max_connections = 1'000'000;                // whole process
  AdmissionOptions admission;
  metrics::Histogram* handshake_seconds = nullptr;  // of clients, accept to open; outlives the NetServer
};

}  // namespace dunlin
