#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

#include "bench/limits/limits.h"
#include "bench/load/sockets.h"

namespace dunlin::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kConnections = 500;
constexpr int kInFlight = 16;
constexpr std::size_t kPayload = 64;
constexpr std::size_t kRequest = 2 + 4 + kPayload;  // header, mask, payload
constexpr std::size_t kResponse = 2 + kPayload;
constexpr std::array<unsigned char, 4> kMask{0x1f, 0x8d, 0x33, 0xe2};

// The least that an echo server can do: read what is there, answer each whole frame, write once. A cut frame waits in `tail`.
class EchoServer {
 public:
  explicit EchoServer(std::vector<Fd> sockets)
      : sockets_(std::move(sockets)), tails_(sockets_.size()), poll_(::epoll_create1(EPOLL_CLOEXEC)) {
    for (std::uint32_t i = 0; i < sockets_.size(); ++i) {
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u32 = i;
      ::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, sockets_[i].get(), &event);
    }
  }

  void run(const std::atomic<bool>& stop) {
    std::array<epoll_event, 512> events;
    while (!stop.load(std::memory_order_relaxed)) {
      const int count = ::epoll_wait(poll_.get(), events.data(), static_cast<int>(events.size()), 20);
      for (int i = 0; i < count; ++i) serve(events[static_cast<std::size_t>(i)].data.u32);
    }
  }

  bool failed() const { return failed_; }

 private:
  void serve(std::uint32_t index) {
    std::string& tail = tails_[index];
    std::memcpy(in_.data(), tail.data(), tail.size());
    const ssize_t got = ::read(sockets_[index].get(), in_.data() + tail.size(), in_.size() - tail.size());
    if (got <= 0) {
      if (got == 0 || errno != EAGAIN) failed_ = true;
      return;
    }
    const std::size_t end = tail.size() + static_cast<std::size_t>(got);
    std::size_t at = 0;
    std::size_t out = 0;
    while (end - at >= kRequest) {
      // Frame lengths are read as a server must, though the load sends one size only.
      const std::size_t length = in_[at + 1] & 0x7fU;
      if (length != kPayload) {
        failed_ = true;
        return;
      }
      out_[out] = 0x82;
      out_[out + 1] = static_cast<unsigned char>(length);
      std::uint32_t mask;
      std::memcpy(&mask, &in_[at + 2], 4);
      const std::uint64_t wide = (static_cast<std::uint64_t>(mask) << 32) | mask;
      for (std::size_t i = 0; i < length; i += 8) {
        std::uint64_t word;
        std::memcpy(&word, &in_[at + 6 + i], 8);
        word ^= wide;
        std::memcpy(&out_[out + 2 + i], &word, 8);
      }
      at += kRequest;
      out += kResponse;
    }
    tail.assign(reinterpret_cast<const char*>(&in_[at]), end - at);
    if (out != 0 && ::write(sockets_[index].get(), out_.data(), out) != static_cast<ssize_t>(out)) failed_ = true;
  }

  std::vector<Fd> sockets_;
  std::vector<std::string> tails_;
  Fd poll_;
  bool failed_ = false;
  std::array<unsigned char, 65536> in_;
  std::array<unsigned char, 65536> out_;
};

std::string request_burst() {
  std::string burst;
  for (int n = 0; n < kInFlight; ++n) {
    burst += '\x82';
    burst += static_cast<char>(0x80 | kPayload);
    burst.append(reinterpret_cast<const char*>(kMask.data()), 4);
    for (std::size_t i = 0; i < kPayload; ++i) burst += static_cast<char>(static_cast<unsigned char>('a' + i % 26) ^ kMask[i % 4]);
  }
  return burst;
}

// Keeps kInFlight requests under way on each socket and counts whole answers.
class EchoLoad {
 public:
  explicit EchoLoad(std::vector<Fd> sockets)
      : sockets_(std::move(sockets)), received_(sockets_.size()), poll_(::epoll_create1(EPOLL_CLOEXEC)) {
    for (std::uint32_t i = 0; i < sockets_.size(); ++i) {
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u32 = i;
      ::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, sockets_[i].get(), &event);
      send(i, kInFlight);
    }
  }

  // Answers counted until `end`.
  std::uint64_t run_until(SteadyClock::time_point end) {
    std::uint64_t answers = 0;
    std::array<epoll_event, 512> events;
    while (!failed_ && SteadyClock::now() < end) {
      const int count = ::epoll_wait(poll_.get(), events.data(), static_cast<int>(events.size()), 20);
      for (int i = 0; i < count; ++i) answers += receive(events[static_cast<std::size_t>(i)].data.u32);
    }
    return answers;
  }

  bool failed() const { return failed_; }

 private:
  std::uint64_t receive(std::uint32_t index) {
    const ssize_t got = ::read(sockets_[index].get(), in_.data(), in_.size());
    if (got <= 0) {
      failed_ = failed_ || got == 0 || errno != EAGAIN;
      return 0;
    }
    std::size_t& have = received_[index];
    // The last payload byte of each answer tells that frames are whole and in place.
    have += static_cast<std::size_t>(got);
    const std::size_t whole = have / kResponse;
    have %= kResponse;
    if (have == 0 && in_[static_cast<std::size_t>(got) - 1] != static_cast<unsigned char>('a' + (kPayload - 1) % 26)) failed_ = true;
    if (whole != 0) send(index, whole);
    return whole;
  }

  void send(std::uint32_t index, std::size_t requests) {
    const std::size_t bytes = requests * kRequest;
    if (bytes > burst_.size() || ::write(sockets_[index].get(), burst_.data(), bytes) != static_cast<ssize_t>(bytes)) failed_ = true;
  }

  const std::string burst_ = request_burst();
  std::vector<Fd> sockets_;
  std::vector<std::size_t> received_;
  Fd poll_;
  bool failed_ = false;
  std::array<unsigned char, 65536> in_;
};

}  // namespace

Result<double> raw_echo_per_s(std::chrono::milliseconds duration) {
  TRY_ASSIGN(LoopbackPairs pairs, LoopbackPairs::open(kConnections));
  EchoServer server(std::move(pairs.accepted));
  std::atomic<bool> stop{false};
  std::thread serving([&] { server.run(stop); });
  EchoLoad load(std::move(pairs.connected));
  load.run_until(SteadyClock::now() + duration / 5);
  const auto start = SteadyClock::now();
  const std::uint64_t answers = load.run_until(start + duration);
  const double seconds = std::chrono::duration<double>(SteadyClock::now() - start).count();
  stop = true;
  serving.join();
  if (server.failed() || load.failed() || answers == 0) return Error(ErrorCode::Io, "raw echo: a frame was cut or wrong");
  return static_cast<double>(answers) / seconds;
}

}  // namespace dunlin::bench
