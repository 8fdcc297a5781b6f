#include "admin/control_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "base/log.h"

namespace dunlin {
namespace {

constexpr std::size_t kMaxLineBytes = 4096;
constexpr Milliseconds kWriteDeadline{5000};

using Deadline = std::chrono::steady_clock::time_point;

Deadline in(Milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};

// The socket's address through the folder's descriptor: sun_path holds 107 bytes, folders may be deeper.
struct Address {
  Descriptor folder;
  sockaddr_un name{};
};

Result<Address> address_in(const std::string& folder) {
  Address address{Descriptor(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)), {}};
  if (!address.folder.valid()) return errno_error("opening " + folder, errno);
  address.name.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(address.folder.get()) + "/control.sock";
  path.copy(address.name.sun_path, sizeof address.name.sun_path - 1);
  return address;
}

// False at the deadline, and as soon as `stop` (if any) is readable.
bool wait_for(int fd, short events, Deadline deadline, int stop = -1) {
  while (true) {
    const auto left = std::chrono::ceil<Milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd fds[] = {{fd, events, 0}, {stop, POLLIN, 0}};
    const int ready = ::poll(fds, 2, static_cast<int>(std::max(left, Milliseconds(0)).count()));
    if (ready < 0 && errno == EINTR) continue;
    return ready > 0 && fds[1].revents == 0;
  }
}

// The whole line within kWriteDeadline, however slowly the peer takes it.
bool write_line(int fd, std::string line) {
  line += '\n';
  const Deadline deadline = in(kWriteDeadline);
  std::string_view rest = line;
  while (!rest.empty()) {
    if (!wait_for(fd, POLLOUT, deadline)) return false;
    const ssize_t written = ::send(fd, rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (written < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (written <= 0) return false;
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

// The next line without its end; `buffer` keeps what follows it. Nothing at the peer's end, after the deadline, beyond the bound, or when
// `stop` (if any) is readable.
std::optional<std::string> read_line(int fd, std::string& buffer, Deadline deadline, int stop = -1) {
  while (true) {
    const std::size_t end = buffer.find('\n');
    if (end != std::string::npos) {
      std::string line = buffer.substr(0, end);
      buffer.erase(0, end + 1);
      return line;
    }
    if (buffer.size() >= kMaxLineBytes || !wait_for(fd, POLLIN, deadline, stop)) return std::nullopt;
    char chunk[1024];
    const ssize_t got = ::recv(fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got <= 0) return std::nullopt;
    buffer.append(chunk, static_cast<std::size_t>(got));
  }
}

// Error texts are ours, but they may carry file names: one line whatever they hold.
std::string one_line(std::string text) {
  std::replace_if(text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return text.substr(0, kMaxLineBytes - 64);
}

}  // namespace

struct ControlSocket::Impl {
  Address address;
  Descriptor listener;
  Descriptor stop_event;
  std::map<std::string, Handler> handlers;
  Milliseconds request_deadline;
  std::atomic<bool> stopping{false};
  std::thread thread;

  void run() {
    while (true) {
      pollfd fds[] = {{listener.get(), POLLIN, 0}, {stop_event.get(), POLLIN, 0}};
      if (::poll(fds, 2, -1) < 0) continue;
      if (fds[1].revents != 0) return;
      const Descriptor client(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (client.valid()) serve(client.get());
    }
  }

  void serve(int fd) {
    std::string buffer;
    const auto line = read_line(fd, buffer, in(request_deadline), stop_event.get());
    if (!line) return;
    const std::size_t space = std::min(line->find(' '), line->size());
    const auto handler = handlers.find(line->substr(0, space));
    Status status = Error(ErrorCode::UnknownCommand, "unknown control command");
    if (handler != handlers.end()) {
      log_info("control", "request", {{"command", handler->first}});
      const Progress progress = [this, fd](std::uint64_t done, std::uint64_t total) {
        return !stopping.load(std::memory_order_relaxed) &&
               write_line(fd, "progress " + std::to_string(done) + " " + std::to_string(total));
      };
      status = handler->second(line->substr(std::min(space + 1, line->size())), progress);
    }
    if (!status.ok()) log_warn("control", "request failed", {{"error", status.error().to_string()}});
    write_line(fd, status.ok() ? "ok" : one_line("error " + status.error().to_string()));
  }
};

Result<std::unique_ptr<ControlSocket>> ControlSocket::open(const std::string& folder, std::map<std::string, Handler> handlers,
                                                           Milliseconds request_deadline) {
  TRY_ASSIGN(Address address, address_in(folder));
  Descriptor listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener.valid()) return errno_error("socket", errno);
  // The data folder's lock is held by this process, so a socket file that is there was left by one that has gone.
  ::unlink(address.name.sun_path);
  // The file gets the socket's own mode: no moment at which it is wider, and no umask that other threads would see.
  if (::fchmod(listener.get(), 0600) != 0) return errno_error("chmod of a socket", errno);
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address.name), sizeof address.name) != 0) {
    return errno_error("binding " + folder + "/control.sock", errno);
  }
  if (::listen(listener.get(), 4) != 0) return errno_error("listening on " + folder + "/control.sock", errno);
  auto impl = std::make_unique<Impl>();
  impl->address = std::move(address);
  impl->listener = std::move(listener);
  impl->stop_event = Descriptor(::eventfd(0, EFD_CLOEXEC));
  impl->handlers = std::move(handlers);
  impl->request_deadline = request_deadline;
  impl->thread = std::thread([raw = impl.get()] { raw->run(); });
  return std::unique_ptr<ControlSocket>(new ControlSocket(std::move(impl)));
}

ControlSocket::ControlSocket(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ControlSocket::~ControlSocket() {
  impl_->stopping.store(true, std::memory_order_relaxed);
  ::eventfd_write(impl_->stop_event.get(), 1);
  impl_->thread.join();
  ::unlink(impl_->address.name.sun_path);
}

Status control_request(const std::string& folder, const std::string& command, const std::string& argument, Milliseconds silence,
                       const std::function<void(std::uint64_t done, std::uint64_t total)>& progress) {
  TRY_ASSIGN(const Address address, address_in(folder));
  const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return errno_error("socket", errno);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address.name), sizeof address.name) != 0) {
    return Error(ErrorCode::NotFound, "no server is running on " + folder);
  }
  if (!write_line(socket.get(), command + " " + argument)) return Error(ErrorCode::Io, "the server went away");
  std::string buffer;
  while (const auto line = read_line(socket.get(), buffer, in(silence))) {
    if (*line == "ok") return {};
    if (line->starts_with("error ")) return Error(ErrorCode::Internal, line->substr(6));
    std::uint64_t done = 0;
    std::uint64_t total = 0;
    const char* end = line->data() + line->size();
    if (!line->starts_with("progress ")) continue;
    const auto first = std::from_chars(line->data() + 9, end, done);
    if (first.ec == std::errc() && first.ptr != end) std::from_chars(first.ptr + 1, end, total);
    if (progress) progress(done, total);
  }
  return Error(ErrorCode::Timeout, "the server did not answer, or went away");
}

}  // namespace dunlin
