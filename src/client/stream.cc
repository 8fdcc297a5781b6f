#include "client/stream.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace dunlin::client {
namespace {

template <auto Free>
struct Freer {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using ContextPtr = std::unique_ptr<SSL_CTX, Freer<SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, Freer<SSL_free>>;
using AddressesPtr = std::unique_ptr<addrinfo, Freer<freeaddrinfo>>;

class Deadline {
 public:
  explicit Deadline(Milliseconds limit) : end_(std::chrono::steady_clock::now() + limit) {}
  int left_ms() const {
    const auto left = std::chrono::duration_cast<Milliseconds>(end_ - std::chrono::steady_clock::now()).count();
    return left > 0 ? static_cast<int>(left) + 1 : 0;
  }

 private:
  MonotonicTime end_;
};

Status wait_for(int fd, short events, const Deadline& deadline) {
  pollfd poll_entry{fd, events, 0};
  for (;;) {
    const int left = deadline.left_ms();
    if (left == 0) return Error(ErrorCode::Timeout, "the server does not answer");
    const int ready = ::poll(&poll_entry, 1, left);
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return errno_error("poll", errno);
  }
}

std::string openssl_error() {
  char text[256] = "unknown TLS error";
  if (const unsigned long code = ::ERR_get_error(); code != 0) ::ERR_error_string_n(code, text, sizeof text);
  ::ERR_clear_error();
  return text;
}

Result<int> connect_socket(const Url& url, const Deadline& deadline) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int code = ::getaddrinfo(url.host.c_str(), std::to_string(url.port).c_str(), &hints, &found); code != 0) {
    return Error(ErrorCode::Io, fmt::format("{}: {}", url.host, ::gai_strerror(code)));
  }
  const AddressesPtr addresses(found);
  Error last(ErrorCode::Io, url.host + ": no address");
  for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
    const int fd = ::socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno_error("socket", errno);
    const int one = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (::connect(fd, address->ai_addr, address->ai_addrlen) == 0) return fd;
    int error = errno;
    if (error == EINPROGRESS) {
      if (Status ready = wait_for(fd, POLLOUT, deadline); !ready.ok()) {
        ::close(fd);
        return std::move(ready).error().with(url.authority());
      }
      socklen_t size = sizeof error;
      ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    }
    if (error == 0) return fd;
    ::close(fd);
    last = errno_error(url.authority(), error);
  }
  return last;
}

}  // namespace

struct Stream::State {
  int fd = -1;
  ContextPtr context;
  SslPtr ssl;

  ~State() {
    ssl.reset();
    if (fd >= 0) ::close(fd);
  }

  Status start_tls(const Url& url, const TlsOptions& options, const Deadline& deadline);
};

Status Stream::State::start_tls(const Url& url, const TlsOptions& options, const Deadline& deadline) {
  context.reset(::SSL_CTX_new(::TLS_client_method()));
  if (!context) return Error(ErrorCode::Io, openssl_error());
  ::SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  const int loaded = options.ca_file.empty() ? ::SSL_CTX_set_default_verify_paths(context.get())
                                             : ::SSL_CTX_load_verify_locations(context.get(), options.ca_file.c_str(), nullptr);
  if (loaded != 1) return Error(ErrorCode::Config, fmt::format("authorities {}: {}", options.ca_file, openssl_error()));
  ::SSL_CTX_set_verify(context.get(), options.insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, nullptr);
  ssl.reset(::SSL_new(context.get()));
  if (!ssl || ::SSL_set_fd(ssl.get(), fd) != 1) return Error(ErrorCode::Io, openssl_error());
  in6_addr scratch{};
  const bool is_address = ::inet_pton(AF_INET, url.host.c_str(), &scratch) == 1 || ::inet_pton(AF_INET6, url.host.c_str(), &scratch) == 1;
  if (is_address) {
    ::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(ssl.get()), url.host.c_str());
  } else {
    ::SSL_set1_host(ssl.get(), url.host.c_str());
    ::SSL_set_tlsext_host_name(ssl.get(), url.host.c_str());
  }
  for (;;) {
    const int result = ::SSL_connect(ssl.get());
    if (result == 1) return {};
    const int reason = ::SSL_get_error(ssl.get(), result);
    if (reason != SSL_ERROR_WANT_READ && reason != SSL_ERROR_WANT_WRITE) {
      return Error(ErrorCode::Io, fmt::format("TLS with {}: {}", url.authority(), openssl_error()));
    }
    TRY(wait_for(fd, reason == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline));
  }
}

Stream::Stream(std::unique_ptr<State> state) : state_(std::move(state)) {}
Stream::~Stream() = default;

Result<std::unique_ptr<Stream>> Stream::open(const Url& url, const TlsOptions& tls, Milliseconds limit) {
  const Deadline deadline(limit);
  auto state = std::make_unique<State>();
  TRY_ASSIGN(state->fd, connect_socket(url, deadline));
  if (url.tls) TRY(state->start_tls(url, tls, deadline));
  return std::unique_ptr<Stream>(new Stream(std::move(state)));
}

int Stream::fd() const {
  return state_->fd;
}

bool Stream::has_pending() const {
  return state_->ssl && ::SSL_pending(state_->ssl.get()) > 0;
}

Result<std::size_t> Stream::read_some(std::span<char> buffer) {
  if (state_->ssl) {
    const int got = ::SSL_read(state_->ssl.get(), buffer.data(), static_cast<int>(buffer.size()));
    if (got > 0) return static_cast<std::size_t>(got);
    const int reason = ::SSL_get_error(state_->ssl.get(), got);
    if (reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE) return std::size_t{0};
    ::ERR_clear_error();
    return Error(ErrorCode::Io, "the connection was closed");
  }
  const ssize_t got = ::recv(state_->fd, buffer.data(), buffer.size(), 0);
  if (got > 0) return static_cast<std::size_t>(got);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return std::size_t{0};
  return got == 0 ? Error(ErrorCode::Io, "the connection was closed") : errno_error("read", errno);
}

Status Stream::write_all(std::string_view bytes, Milliseconds limit) {
  const Deadline deadline(limit);
  while (!bytes.empty()) {
    short wanted = POLLOUT;
    ssize_t sent = 0;
    if (state_->ssl) {
      sent = ::SSL_write(state_->ssl.get(), bytes.data(), static_cast<int>(bytes.size()));
      if (sent <= 0) {
        const int reason = ::SSL_get_error(state_->ssl.get(), static_cast<int>(sent));
        if (reason != SSL_ERROR_WANT_READ && reason != SSL_ERROR_WANT_WRITE) return Error(ErrorCode::Io, openssl_error());
        wanted = reason == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
      }
    } else {
      sent = ::send(state_->fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN && errno != EINTR) return errno_error("write", errno);
    }
    if (sent > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else {
      TRY(wait_for(state_->fd, wanted, deadline));
    }
  }
  return {};
}

}  // namespace dunlin::client
