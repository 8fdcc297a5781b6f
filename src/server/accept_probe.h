#pragma once

#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "net/address.h"
#include "net/net_server.h"

namespace dunlin {

// A port of ours as a client meets it.
struct ProbedPort {
  Endpoint bound;
  Transport transport = Transport::WebSocket;
  bool tls = false;
  std::string path;         // WebSocket
  std::string subprotocol;  // WebSocket
};

// Proves that a port takes clients: connects as one does, with TLS handshake and WebSocket upgrade (on TCP: until the first byte has told
// the framing), and hangs up. NetServer knows the connection for a probe: one worker has counted it among its probes_opened() when this
// succeeds. Blocks at most `deadline`, whatever the other end does; any thread but a worker's.
Status probe_port(NetServer& net, const ProbedPort& port, Milliseconds deadline);

}  // namespace dunlin
