#pragma once

#include <cstdint>
#include <string>

namespace dunlin::bench {

// What `dunlin bench SCENARIO` was asked to do. `scale` shrinks every scenario's work for tests of the benchmark itself (1.0 = the
// published work); a scaled run says so in its output and is never a result.
struct BenchOptions {
  std::string scenario;
  bool json = false;
  std::string url;             // ws://HOST:PORT/im of a server that runs already; empty = start one in a temporary folder
  std::string token_key_file;  // HS256 secret of that server
  std::int64_t server_pid = 0;
  std::string ids = "session";        // direct: "session" = <session>-<n>, "random" = ids that the store has to look up
  double rate = 0;                    // direct: messages/s of the open schedule; 0 = half of what the closed run reaches
  std::uint32_t connections = 15000;  // idle
  bool tls = false;                   // idle: over TLS
  std::uint64_t messages = 0;         // soak: as many; 0 = as long as `seconds`
  std::uint64_t seconds = 0;          // soak: at most so long; 0 = kSoakSeconds, or with `messages` without a bound
  double scale = 1.0;
  bool allow_debug = false;
};

}  // namespace dunlin::bench
