#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

#include "bench/limits/limits.h"
#include "bench/load/sockets.h"

namespace dunlin::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::uint32_t kAtOnce = 128;
constexpr std::size_t kSteps = 3;
// Bytes of upgrade, connect and ack, and of their answers, as the scenario's clients have them.
constexpr std::array<std::size_t, kSteps> kRequests{260, 420, 330};
constexpr std::array<std::size_t, kSteps> kResponses{165, 5200, 110};

struct Visit {
  Fd fd;
  std::size_t step = 0;
  std::size_t have = 0;  // of what the other side sends in this step
};

bool watch(const Fd& poll, const Fd& fd, std::uint32_t index, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u32 = index;
  return ::epoll_ctl(poll.get(), EPOLL_CTL_ADD, fd.get(), &event) == 0;
}

double thread_cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

// Answers each whole request with so many bytes and closes when the client does. One accept a turn, as many as wait.
class LoginServer {
 public:
  explicit LoginServer(Fd listener) : listener_(std::move(listener)), poll_(::epoll_create1(EPOLL_CLOEXEC)) {
    failed_ = !watch(poll_, listener_, kListener, EPOLLIN);
  }

  void run(const std::atomic<bool>& stop) {
    const double cpu_before = thread_cpu_seconds();
    std::array<epoll_event, 512> events;
    while (!stop.load(std::memory_order_relaxed)) {
      const int count = ::epoll_wait(poll_.get(), events.data(), static_cast<int>(events.size()), 20);
      for (int i = 0; i < count; ++i) {
        const std::uint32_t index = events[static_cast<std::size_t>(i)].data.u32;
        if (index == kListener) {
          accept_all();
        } else {
          serve(index);
        }
      }
    }
    cpu_seconds_ = thread_cpu_seconds() - cpu_before;
  }

  bool failed() const { return failed_; }
  double finished_per_cpu_s() const { return cpu_seconds_ > 0 ? static_cast<double>(finished_) / cpu_seconds_ : 0; }

 private:
  static constexpr std::uint32_t kListener = UINT32_MAX;

  void accept_all() {
    for (;;) {
      Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd.valid()) return;
      if (free_.empty()) {
        free_.push_back(static_cast<std::uint32_t>(visits_.size()));
        visits_.emplace_back();
      }
      const std::uint32_t index = free_.back();
      free_.pop_back();
      visits_[index].step = visits_[index].have = 0;
      visits_[index].fd = std::move(fd);
      failed_ = failed_ || !watch(poll_, visits_[index].fd, index, EPOLLIN);
    }
  }

  void serve(std::uint32_t index) {
    Visit& visit = visits_[index];
    const ssize_t got = ::read(visit.fd.get(), buffer_.data(), buffer_.size());
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      if (visit.step == kSteps) ++finished_;
      visit.fd = Fd();
      free_.push_back(index);
      return;
    }
    visit.have += static_cast<std::size_t>(got);
    if (visit.step == kSteps || visit.have > kRequests[visit.step]) {
      failed_ = true;
      return;
    }
    if (visit.have < kRequests[visit.step]) return;
    visit.have = 0;
    const std::size_t bytes = kResponses[visit.step++];
    if (::write(visit.fd.get(), buffer_.data(), bytes) != static_cast<ssize_t>(bytes)) failed_ = true;
  }

  Fd listener_;
  Fd poll_;
  std::vector<Visit> visits_;
  std::vector<std::uint32_t> free_;
  std::uint64_t finished_ = 0;
  double cpu_seconds_ = 0;
  bool failed_ = false;
  std::array<char, 65536> buffer_{};
};

// Keeps kAtOnce logins under way and counts those that got every byte.
class LoginLoad {
 public:
  explicit LoginLoad(const sockaddr_in& target) : target_(target), visits_(kAtOnce), poll_(::epoll_create1(EPOLL_CLOEXEC)) {
    for (std::uint32_t i = 0; i < kAtOnce; ++i) begin(i);
  }

  std::uint64_t run_until(SteadyClock::time_point end) {
    const std::uint64_t before = done_;
    std::array<epoll_event, 512> events;
    while (!failed_ && SteadyClock::now() < end) {
      const int count = ::epoll_wait(poll_.get(), events.data(), static_cast<int>(events.size()), 20);
      for (int i = 0; i < count; ++i) receive(events[static_cast<std::size_t>(i)].data.u32);
    }
    return done_ - before;
  }

  bool failed() const { return failed_; }

 private:
  void begin(std::uint32_t index) {
    auto fd = connect_now(target_, sources_);
    if (!fd.ok()) {
      failed_ = true;
      return;
    }
    visits_[index].fd = *std::move(fd);
    visits_[index].step = visits_[index].have = 0;
    failed_ = failed_ || !watch(poll_, visits_[index].fd, index, EPOLLIN);
    send(index);
  }

  void send(std::uint32_t index) {
    const std::size_t bytes = kRequests[visits_[index].step];
    if (::write(visits_[index].fd.get(), buffer_.data(), bytes) != static_cast<ssize_t>(bytes)) failed_ = true;
  }

  void receive(std::uint32_t index) {
    Visit& visit = visits_[index];
    const ssize_t got = ::read(visit.fd.get(), buffer_.data(), buffer_.size());
    if (got < 0 && errno == EAGAIN) return;
    visit.have += got > 0 ? static_cast<std::size_t>(got) : 0;
    if (got <= 0 || visit.have > kResponses[visit.step]) {
      failed_ = true;
      return;
    }
    if (visit.have < kResponses[visit.step]) return;
    visit.have = 0;
    if (++visit.step < kSteps) return send(index);
    ++done_;
    visit.fd = Fd();
    begin(index);
  }

  const sockaddr_in target_;
  SourceAddresses sources_;
  std::vector<Visit> visits_;
  Fd poll_;
  std::uint64_t done_ = 0;
  bool failed_ = false;
  std::array<char, 65536> buffer_{};
};

}  // namespace

Result<RawLogins> raw_logins(std::chrono::milliseconds duration) {
  std::uint16_t port = 0;
  TRY_ASSIGN(Fd listener, listen_loopback(port));
  TRY_ASSIGN(const sockaddr_in target, resolve_ipv4("127.0.0.1", port));
  LoginServer server(std::move(listener));
  std::atomic<bool> stop{false};
  std::thread serving([&] { server.run(stop); });
  LoginLoad load(target);
  load.run_until(SteadyClock::now() + duration / 5);
  const auto start = SteadyClock::now();
  const std::uint64_t done = load.run_until(start + duration);
  const double seconds = std::chrono::duration<double>(SteadyClock::now() - start).count();
  stop = true;
  serving.join();
  if (server.failed() || load.failed() || done == 0) return Error(ErrorCode::Io, "raw logins: a connection was cut or answered wrongly");
  return RawLogins{static_cast<double>(done) / seconds, server.finished_per_cpu_s()};
}

}  // namespace dunlin::bench
