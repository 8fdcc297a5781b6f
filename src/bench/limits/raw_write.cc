#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <string>
#include <thread>

#include "bench/limits/limits.h"
#include "bench/load/sockets.h"

namespace dunlin::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kSockets = 5000;
constexpr std::size_t kFrame = 2 + 64;

// Reads all that arrives, so that the writer never finds a full socket for long; returns the bytes.
std::uint64_t drain(const std::vector<Fd>& sockets, const std::atomic<bool>& stop) {
  const Fd poll(::epoll_create1(EPOLL_CLOEXEC));
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = sockets[i].get();
    ::epoll_ctl(poll.get(), EPOLL_CTL_ADD, sockets[i].get(), &event);
  }
  std::uint64_t bytes = 0;
  std::array<epoll_event, 512> events;
  std::array<char, 65536> buffer;
  for (;;) {
    const bool last_round = stop.load();
    const int count = ::epoll_wait(poll.get(), events.data(), static_cast<int>(events.size()), last_round ? 50 : 20);
    if (count <= 0 && last_round) return bytes;
    for (int i = 0; i < count; ++i) {
      const ssize_t got = ::read(events[static_cast<std::size_t>(i)].data.fd, buffer.data(), buffer.size());
      if (got > 0) bytes += static_cast<std::uint64_t>(got);
    }
  }
}

}  // namespace

Result<double> raw_write_per_s(std::chrono::milliseconds duration) {
  raise_descriptor_limit();
  TRY_ASSIGN(LoopbackPairs pairs, LoopbackPairs::open(kSockets));
  std::atomic<bool> stop{false};
  std::uint64_t read_bytes = 0;
  std::thread reader([&] { read_bytes = drain(pairs.connected, stop); });

  const std::string frame = std::string("\x82\x40", 2) + std::string(64, 'x');
  std::uint64_t written = 0;
  bool failed = false;
  const auto start = SteadyClock::now();
  while (!failed && SteadyClock::now() < start + duration) {
    for (const Fd& socket : pairs.accepted) {
      const ssize_t sent = ::write(socket.get(), frame.data(), kFrame);
      if (sent == static_cast<ssize_t>(kFrame)) {
        ++written;
      } else if (sent >= 0 || errno != EAGAIN) {
        failed = true;
      }
    }
  }
  const double seconds = std::chrono::duration<double>(SteadyClock::now() - start).count();
  stop = true;
  reader.join();
  if (failed) return Error(ErrorCode::Io, "raw write: a socket took part of a frame only");
  if (read_bytes != written * kFrame) return Error(ErrorCode::Io, "raw write: not every byte written was read");
  return static_cast<double>(written) / seconds;
}

}  // namespace dunlin::bench
