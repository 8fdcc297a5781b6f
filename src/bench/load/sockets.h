#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace dunlin::bench {

// An owned file descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Fd(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_ = -1;
};

// Raises the soft limit of open files to the hard one and returns it.
std::uint64_t raise_descriptor_limit();

// A listening, non-blocking socket on 127.0.0.1 and a free port, which `port` receives.
Result<Fd> listen_loopback(std::uint16_t& port);

// Source addresses 127.0.0.2, 127.0.0.3, … in turn, `kPerAddress` connections each, so that no address runs out of ports.
class SourceAddresses {
 public:
  in_addr next();

 private:
  static constexpr std::uint32_t kPerAddress = 512;
  static constexpr std::uint32_t kAddresses = 250;
  std::uint32_t count_ = 0;
};

// Begins a non-blocking TCP connection with TCP_NODELAY, from one of `sources` when the target is on loopback. `receive_buffer` 0 = the
// system's.
Result<Fd> begin_connect(const sockaddr_in& target, SourceAddresses& sources, int receive_buffer);

// The same, completed (blocking connect, then non-blocking).
Result<Fd> connect_now(const sockaddr_in& target, SourceAddresses& sources);

// Established loopback connections, both ends non-blocking and in this process; connected[i] belongs to accepted[i].
struct LoopbackPairs {
  static Result<LoopbackPairs> open(int count);
  std::vector<Fd> connected;
  std::vector<Fd> accepted;
};

Result<sockaddr_in> resolve_ipv4(const std::string& host, std::uint16_t port);

}  // namespace dunlin::bench
