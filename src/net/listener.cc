#include "net/listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"

namespace dunlin {
namespace {

constexpr int kAcceptsPerTurn = 64;
constexpr Milliseconds kRest{100};

int open_reserve() {
  return ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}

Endpoint to_endpoint(const sockaddr_storage& address) {
  Endpoint endpoint;
  if (address.ss_family == AF_INET) {
    const auto& four = reinterpret_cast<const sockaddr_in&>(address);
    endpoint.ip = IpAddress::v4(ntohl(four.sin_addr.s_addr));
    endpoint.port = ntohs(four.sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto& six = reinterpret_cast<const sockaddr_in6&>(address);
    std::memcpy(endpoint.ip.bytes.data(), &six.sin6_addr, 16);
    endpoint.port = ntohs(six.sin6_port);
  }
  return endpoint;
}

socklen_t to_sockaddr(const Endpoint& endpoint, sockaddr_storage& address) {
  address = {};
  if (endpoint.ip.is_v4()) {
    auto& four = reinterpret_cast<sockaddr_in&>(address);
    four.sin_family = AF_INET;
    four.sin_port = htons(endpoint.port);
    std::memcpy(&four.sin_addr, endpoint.ip.bytes.data() + 12, 4);
    return sizeof four;
  }
  auto& six = reinterpret_cast<sockaddr_in6&>(address);
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(endpoint.port);
  std::memcpy(&six.sin6_addr, endpoint.ip.bytes.data(), 16);
  return sizeof six;
}

void set_option(int fd, int level, int option, int value) {
  ::setsockopt(fd, level, option, &value, sizeof value);
}

}  // namespace

Result<int> open_listening_socket(const Endpoint& address, int backlog, bool shared) {
  sockaddr_storage storage;
  const socklen_t size = to_sockaddr(address, storage);
  const int fd = ::socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno_error("socket", errno);
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (shared) set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);  // accepted sockets inherit it
  // [::] serves IPv4 clients too, unless the machine says otherwise; 0.0.0.0 beside it would be a port in use.
  if (::bind(fd, reinterpret_cast<sockaddr*>(&storage), size) != 0 || ::listen(fd, backlog) != 0) {
    const int why = errno;
    ::close(fd);
    const std::string what = "cannot listen on " + address.to_string();
    if (why == EADDRINUSE) return Error(ErrorCode::Busy, what + ": the port is in use by another process");
    return errno_error(what, why);
  }
  return fd;
}

Result<Endpoint> local_endpoint(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return errno_error("getsockname", errno);
  return to_endpoint(storage);
}

Listener::Listener(ConnectionSet& set, const Listening& listening, int fd)
    : set_(set), listening_(listening), fd_(fd), reserve_fd_(open_reserve()) {}

Listener::~Listener() {
  close();
  if (reserve_fd_ >= 0) ::close(reserve_fd_);
}

void Listener::start() {
  if (fd_ < 0 || watched_) return;
  const Status status = set_.worker().watch(fd_, EPOLLIN, *this);
  if (!status.ok()) return log_error("net", "cannot watch a listening socket", {{"error", status.error().to_string()}});
  watched_ = true;
}

void Listener::pause() {
  set_.worker().timers().cancel(*this);
  if (watched_) set_.worker().unwatch(fd_);
  watched_ = false;
}

void Listener::close() {
  pause();
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void Listener::on_ready(std::uint32_t) {
  for (int i = 0; i < kAcceptsPerTurn && watched_; ++i) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    const int fd = ::accept4(fd_, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EAGAIN) return;
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) return out_of_descriptors();
      continue;  // this client is gone already; the next may not be
    }
    set_.adopt(fd, listening_, to_endpoint(peer));
  }
}

void Listener::out_of_descriptors() {
  set_.counters().refused[static_cast<std::size_t>(Refusal::NoDescriptors)].add();
  if (reserve_fd_ >= 0) {
    ::close(reserve_fd_);
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) ::close(fd);
  }
  reserve_fd_ = open_reserve();
  pause();
  set_.worker().timers().arm(*this, set_.worker().now() + kRest);
}

}  // namespace dunlin
