#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dunlin {

// A number that one thread changes and any thread reads; no locked instruction.
class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void sub(std::uint64_t n = 1) { value_.store(value_.load(std::memory_order_relaxed) - n, std::memory_order_relaxed); }
  std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// Why a connection was not taken.
enum class Refusal : std::uint8_t {
  IpConnections,   // too many connections of its address
  IpHandshakes,    // too many handshakes a second of its address
  IpAuthFailures,  // its address failed to authenticate too often, and this was one more
  ServerFull,      // NetOptions::max_connections
  NoDescriptors,   // EMFILE or ENFILE
  HeaderTimeout,   // no complete header in time
  BadRequest,      // HTTP, TLS or PROXY bytes that are not valid, or another path, or no upgrade
  Origin,          // not in the allow-list
  Subprotocol,     // none of ours
  PeerGone,        // left before it was open
  HeaderMemory,    // NetOptions::header_bytes
};
inline constexpr std::size_t kRefusals = 11;
std::string_view refusal_name(Refusal refusal);

// One worker's numbers, written by it.
struct NetCounters {
  Counter accepted;
  Counter opened;
  std::array<Counter, kRefusals> refused;
  std::array<Counter, kRefusals> would_have_refused;  // mode: observe
  Counter bytes_in;
  Counter bytes_out;
  Counter messages_in;
  Counter writes;             // system calls
  Counter live;               // connections in any state
  Counter probes;             // our own that were opened
  Counter write_queue_bytes;  // now
};

// The sums over all workers at one moment.
struct NetTotals {
  std::uint64_t accepted = 0;
  std::uint64_t opened = 0;
  std::array<std::uint64_t, kRefusals> refused{};
  std::array<std::uint64_t, kRefusals> would_have_refused{};
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t messages_in = 0;
  std::uint64_t writes = 0;
  std::uint64_t live = 0;
  std::uint64_t write_queue_bytes = 0;
  std::uint64_t incomplete_bytes = 0;
};

}  // namespace dunlin
