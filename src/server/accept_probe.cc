#include "server/accept_probe.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include "codec/http_upgrade.h"
#include "net/tls.h"

namespace dunlin {
namespace {

bool is_any(const IpAddress& ip) {
  return ip == IpAddress{} || ip == IpAddress::v4(0);
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

Endpoint from_sockaddr(const sockaddr_storage& address) {
  Endpoint endpoint;
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    endpoint.ip = IpAddress::v4(ntohl(v4.sin_addr.s_addr));
    endpoint.port = ntohs(v4.sin_port);
  } else {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    std::memcpy(endpoint.ip.bytes.data(), &v6.sin6_addr, 16);
    endpoint.port = ntohs(v6.sin6_port);
  }
  return endpoint;
}

// False where IPv6 is switched off (net.ipv6.conf.all.disable_ipv6): [::] can be listened on there, and serves IPv4.
bool is_local(const IpAddress& ip) {
  sockaddr_storage address;
  const socklen_t size = to_sockaddr({ip, 0}, address);
  const int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const bool bound = bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0;
  ::close(fd);
  return bound;
}

// Where a client of this machine reaches a port that is bound to `bound`.
Endpoint reachable(const Endpoint& bound) {
  if (!is_any(bound.ip)) return bound;
  IpAddress loopback6;
  loopback6.bytes[15] = 1;
  const bool over_ipv6 = !bound.ip.is_v4() && is_local(loopback6);
  return {over_ipv6 ? loopback6 : IpAddress::v4(0x7f000001), bound.port};
}

// One connection to one port, from an address that the server knows. Ends with a reset, so that no probe leaves a port in TIME_WAIT.
class Probe {
 public:
  Probe(NetServer& net, const ProbedPort& port, Milliseconds deadline)
      : net_(net), port_(port), to_(reachable(port.bound)), until_(std::chrono::steady_clock::now() + deadline) {}
  ~Probe() {
    tls_.reset();
    if (fd_ >= 0) ::close(fd_);
    if (known_) net_.probes().remove(source_);
  }
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  Status run() {
    TRY(open());
    TRY(connect());
    if (port_.tls) TRY(shake_hands());
    if (port_.transport == Transport::Tcp) {
      TRY(write("{"));
      return read_end();
    }
    TRY(write(upgrade_request(to_.to_string(), port_.path.empty() ? "/" : port_.path, kKey, port_.subprotocol)));
    return read_upgraded();
  }

 private:
  static constexpr std::string_view kKey = "ZHVubGluIGl0cyBwcm9iZQ==";  // any 16 bytes
  static constexpr std::string_view kUpgraded = "HTTP/1.1 101";

  Error late(const std::string& what) const { return Error(ErrorCode::Timeout, to_.to_string() + ": " + what + " in time"); }
  Error broken(const std::string& what) const { return Error(ErrorCode::Io, to_.to_string() + ": " + what); }

  Status open() {
    fd_ = socket(to_.ip.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd_ < 0) return errno_error("socket", errno);
    const linger reset{.l_onoff = 1, .l_linger = 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    sockaddr_storage address;
    socklen_t size = to_sockaddr({to_.ip, 0}, address);
    if (bind(fd_, reinterpret_cast<sockaddr*>(&address), size) != 0) return errno_error("bind", errno);
    size = sizeof address;
    if (getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) return errno_error("getsockname", errno);
    source_ = from_sockaddr(address);
    net_.probes().add(source_);
    known_ = true;
    return {};
  }

  Status connect() {
    sockaddr_storage address;
    const socklen_t size = to_sockaddr(to_, address);
    if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), size) == 0) return {};
    if (errno != EINPROGRESS) return errno_error("connecting to " + to_.to_string(), errno);
    if (!wait(POLLOUT)) return late("not connected");
    int error = 0;
    socklen_t error_size = sizeof error;
    getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &error_size);
    if (error != 0) return errno_error("connecting to " + to_.to_string(), error);
    return {};
  }

  Status shake_hands() {
    static const std::shared_ptr<TlsContext> client = TlsContext::trusting_client();
    if (client) tls_ = TlsStream::connect(client, fd_);
    if (!tls_) return broken("no TLS client");
    for (;;) {
      const TlsStep step = tls_->handshake();
      if (step == TlsStep::Done) return {};
      if (step != TlsStep::WantRead && step != TlsStep::WantWrite) return broken("the TLS handshake failed");
      if (!wait(step == TlsStep::WantRead ? POLLIN : POLLOUT)) return late("no TLS handshake");
    }
  }

  // What is asked is far smaller than any socket's buffer.
  Status write(std::string_view bytes) {
    if (!tls_) {
      if (::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size())) return {};
      return broken("the connection ended at once");
    }
    std::size_t put = 0;
    if (tls_->write(bytes, put) == TlsStep::Done && put == bytes.size()) return {};
    return broken("the connection ended at once");
  }

  // More of the answer; false at its end.
  Result<bool> read(std::string& answer) {
    static constexpr std::size_t kPiece = 32 * 1024;  // TlsStream reads whole records
    const std::size_t before = answer.size();
    for (;;) {
      answer.resize(before + kPiece);
      std::size_t got = 0;
      bool ended = false;
      bool failed = false;
      if (tls_) {
        const TlsStep step = tls_->read(answer.data() + before, kPiece, got);
        ended = step == TlsStep::Ended;
        failed = step == TlsStep::Failed;
      } else {
        const ssize_t count = ::recv(fd_, answer.data() + before, kPiece, 0);
        ended = count == 0;
        failed = count < 0 && errno != EAGAIN && errno != EINTR;
        got = count > 0 ? static_cast<std::size_t>(count) : 0;
      }
      answer.resize(before + got);
      if (got > 0) return true;
      if (ended) return false;
      if (failed) return broken("the connection was reset");
      if (!wait(POLLIN)) return late("no answer");
    }
  }

  Status read_upgraded() {
    std::string answer;
    while (answer.size() < kUpgraded.size()) {
      TRY_ASSIGN(const bool more, read(answer));
      if (!more) return broken("closed without an answer");
    }
    if (!answer.starts_with(kUpgraded)) return broken("answered " + answer.substr(0, kUpgraded.size()));
    return {};
  }

  // A connection that was refused is reset or ends too, but nobody counts it as opened.
  Status read_end() {
    std::string answer;
    for (bool more = true; more;) {
      TRY_ASSIGN(more, read(answer));
    }
    return {};
  }

  bool wait(short events) const {
    const auto left = std::chrono::duration_cast<Milliseconds>(until_ - std::chrono::steady_clock::now());
    pollfd waited{.fd = fd_, .events = events, .revents = 0};
    return left.count() > 0 && poll(&waited, 1, static_cast<int>(left.count())) == 1;
  }

  NetServer& net_;
  const ProbedPort& port_;
  const Endpoint to_;
  const MonotonicTime until_;
  Endpoint source_;
  bool known_ = false;
  int fd_ = -1;
  std::unique_ptr<TlsStream> tls_;
};

}  // namespace

Status probe_port(NetServer& net, const ProbedPort& port, Milliseconds deadline) {
  return Probe(net, port, deadline).run();
}

}  // namespace dunlin
