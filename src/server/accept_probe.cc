#include "server/accept_probe.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace dunlin {
namespace {

bool is_any(const IpAddress& ip) {
  return ip == IpAddress{} || ip == IpAddress::v4(0);
}

// Where a client of this machine reaches a port that is bound to `bound`.
Endpoint reachable(const Endpoint& bound) {
  if (!is_any(bound.ip)) return bound;
  Endpoint local = bound;
  local.ip = IpAddress::v4(0x7f000001);
  if (!bound.ip.is_v4()) {
    local.ip = IpAddress{};
    local.ip.bytes[15] = 1;
  }
  return local;
}

socklen_t to_sockaddr(const Endpoint& endpoint, sockaddr_storage& out) {
  std::memset(&out, 0, sizeof out);
  if (endpoint.ip.is_v4()) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&out);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(endpoint.port);
    std::memcpy(&v4->sin_addr, endpoint.ip.bytes.data() + 12, 4);
    return sizeof *v4;
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&out);
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(endpoint.port);
  std::memcpy(&v6->sin6_addr, endpoint.ip.bytes.data(), 16);
  return sizeof *v6;
}

Status connect_within(int fd, const Endpoint& to, Milliseconds deadline) {
  sockaddr_storage address;
  const socklen_t size = to_sockaddr(to, address);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), size) == 0) return {};
  if (errno != EINPROGRESS) return errno_error("connecting to " + to.to_string(), errno);
  pollfd waited{.fd = fd, .events = POLLOUT, .revents = 0};
  if (poll(&waited, 1, static_cast<int>(deadline.count())) != 1) return Error(ErrorCode::Io, "no answer from " + to.to_string());
  int error = 0;
  socklen_t error_size = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_size);
  if (error != 0) return errno_error("connecting to " + to.to_string(), error);
  return {};
}

}  // namespace

Status probe_port(const Endpoint& bound, Milliseconds deadline) {
  const Endpoint to = reachable(bound);
  const int fd = socket(to.ip.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno_error("socket", errno);
  Status result = connect_within(fd, to, deadline);
  close(fd);
  return result;
}

}  // namespace dunlin
