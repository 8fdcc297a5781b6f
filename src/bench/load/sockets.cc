#include "bench/load/sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace dunlin::bench {
namespace {

bool is_loopback(const in_addr& address) {
  return (ntohl(address.s_addr) >> 24) == 127;
}

Result<Fd> open_socket(const sockaddr_in& target, SourceAddresses& sources, int flags) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  if (!fd.valid()) return errno_error("socket", errno);
  const int one = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (!is_loopback(target.sin_addr)) return fd;
  // The port is chosen at connect, so that it has to be free for this target only.
  ::setsockopt(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  sockaddr_in source{};
  source.sin_family = AF_INET;
  source.sin_addr = sources.next();
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&source), sizeof source) != 0)
    return errno_error("bind to a loopback address", errno);
  return fd;
}

}  // namespace

void Fd::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

std::uint64_t raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

Result<Fd> listen_loopback(std::uint16_t& port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return errno_error("socket", errno);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) return errno_error("bind", errno);
  if (::listen(fd.get(), 4096) != 0) return errno_error("listen", errno);
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) return errno_error("getsockname", errno);
  port = ntohs(address.sin_port);
  return fd;
}

in_addr SourceAddresses::next() {
  const std::uint32_t index = (count_++ / kPerAddress) % kAddresses;
  in_addr address{};
  address.s_addr = htonl(0x7f000002U + index);
  return address;
}

Result<Fd> begin_connect(const sockaddr_in& target, SourceAddresses& sources, int receive_buffer) {
  TRY_ASSIGN(Fd fd, open_socket(target, sources, SOCK_NONBLOCK));
  if (receive_buffer > 0) ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&target), sizeof target) != 0 && errno != EINPROGRESS) {
    return errno_error("connect", errno);
  }
  return fd;
}

Result<Fd> connect_now(const sockaddr_in& target, SourceAddresses& sources) {
  TRY_ASSIGN(Fd fd, open_socket(target, sources, 0));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&target), sizeof target) != 0) return errno_error("connect", errno);
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
  return fd;
}

Result<LoopbackPairs> LoopbackPairs::open(int count) {
  std::uint16_t port = 0;
  TRY_ASSIGN(const Fd listener, listen_loopback(port));
  TRY_ASSIGN(const sockaddr_in target, resolve_ipv4("127.0.0.1", port));
  SourceAddresses sources;
  LoopbackPairs pairs;
  for (int i = 0; i < count; ++i) {
    TRY_ASSIGN(Fd connected, connect_now(target, sources));
    Fd accepted(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!accepted.valid()) return errno_error("accept", errno);
    const int one = 1;
    ::setsockopt(accepted.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    pairs.connected.push_back(std::move(connected));
    pairs.accepted.push_back(std::move(accepted));
  }
  return pairs;
}

Result<sockaddr_in> resolve_ipv4(const std::string& host, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) == 1) return address;
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int code = ::getaddrinfo(host.c_str(), nullptr, &hints, &found); code != 0) {
    return Error(ErrorCode::Io, "resolving " + host + ": " + ::gai_strerror(code));
  }
  address.sin_addr = reinterpret_cast<const sockaddr_in*>(found->ai_addr)->sin_addr;
  ::freeaddrinfo(found);
  return address;
}

}  // namespace dunlin::bench
