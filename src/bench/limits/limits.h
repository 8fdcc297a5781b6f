#pragma once

#include <chrono>

#include "base/result.h"

namespace dunlin::bench {

// What this machine can do with bare system calls: the yardsticks that the scenarios' ratios are taken against. Each function runs
// for about `duration`, uses at most two threads and loopback or a file of its own, and checks what it counted.

// Echoes of 64-byte WebSocket messages a second: 500 connections with 16 in flight, frames parsed in place in one shared buffer, one
// thread as server and one as client.
Result<double> raw_echo_per_s(std::chrono::milliseconds duration);

// The system calls of a login and nothing else: accept, then an upgrade, a connect and an ack of the scenario's sizes, each read and
// answered with one write, then close. 128 at a time, one thread as server and one as load.
struct RawLogins {
  double per_s = 0;
  double per_cpu_s = 0;  // of the server's thread
};
Result<RawLogins> raw_logins(std::chrono::milliseconds duration);

// Frames of 64 bytes written a second by one thread, one write() a frame, over 5,000 sockets in turn while another thread reads them.
Result<double> raw_write_per_s(std::chrono::milliseconds duration);

// Records of 240 bytes made durable a second by one thread: laid out with a checksum, indexed in memory, 512 in one write, then fdatasync,
// over a file that was written full of zeros. The first row of the store's table: what no durable message store can beat.
Result<double> log_appends_per_s(std::chrono::milliseconds duration);

// Median milliseconds of one small write and its fdatasync, on such a file.
Result<double> fsync_ms(std::chrono::milliseconds duration);

}  // namespace dunlin::bench
