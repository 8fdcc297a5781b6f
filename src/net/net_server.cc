#include "net/net_server.h"

#include <unistd.h>

#include <csignal>
#include <utility>

#include "base/check.h"
#include "net/listener.h"
#include "net/tls.h"

namespace dunlin {
namespace {
constexpr int kPortAttempts = 8;  // when another process takes the free port between two binds
}

NetServer::NetServer(std::vector<Worker*> workers, NetOptions options) : admission_(options.admission), workers_(std::move(workers)) {
  shared_.options = std::move(options);
  shared_.admission = &admission_;
  std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to sockets without MSG_NOSIGNAL
  for (Worker* worker : workers_) sets_.push_back(std::make_unique<ConnectionSet>(*worker, shared_));
}

NetServer::~NetServer() {
  listeners_.clear();
}

namespace {

// One socket for each worker on the same port. The first bind is without SO_REUSEPORT, which would share a port that another process
// serves.
Result<std::vector<int>> open_sockets(Endpoint& address, int backlog, std::size_t count) {
  TRY_ASSIGN(const int probe, open_listening_socket(address, 1, false));
  const auto bound = local_endpoint(probe);
  ::close(probe);
  TRY_ASSIGN(address, bound);
  std::vector<int> sockets;
  while (sockets.size() < count) {
    auto socket = open_listening_socket(address, backlog, true);
    if (!socket.ok()) {
      for (int fd : sockets) ::close(fd);
      return std::move(socket).error();
    }
    sockets.push_back(*socket);
  }
  return sockets;
}

}  // namespace

Result<Endpoint> NetServer::listen(ListenerOptions options, std::vector<ConnectionHandler*> handlers) {
  CHECK(handlers.size() == workers_.size());
  if (options.tls && !shared_.tls.load()) return Error(ErrorCode::Config, "TLS needs a certificate");
  const Endpoint wanted = options.address;
  auto sockets = open_sockets(options.address, options.backlog, workers_.size());
  for (int attempt = 1; !sockets.ok() && wanted.port == 0 && attempt < kPortAttempts; ++attempt) {
    options.address = wanted;
    sockets = open_sockets(options.address, options.backlog, workers_.size());
  }
  if (!sockets.ok()) return std::move(sockets).error();
  const WsLimits limits{WsRole::Server, options.max_message_bytes, static_cast<std::uint32_t>(options.max_fragments)};
  const Endpoint bound = options.address;
  listenings_.push_back(std::make_unique<Listening>(Listening{std::move(options), limits, std::move(handlers)}));
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    listeners_.push_back(std::make_unique<Listener>(*sets_[i], *listenings_.back(), (*sockets)[i]));
    Listener* const listener = listeners_.back().get();
    if (!workers_[i]->post([listener] { listener->start(); })) return Error(ErrorCode::Overloaded, "a worker takes no job");
  }
  return bound;
}

void NetServer::use_certificate(std::shared_ptr<TlsContext> certificate) {
  shared_.tls.store(std::move(certificate));
}

void NetServer::set_admission(AdmissionOptions options) {
  admission_.set_options(std::move(options));
}

void NetServer::for_listeners(void (Listener::*method)()) {
  for (std::size_t i = 0; i < listeners_.size(); ++i) {
    Listener* const listener = listeners_[i].get();
    Worker& worker = *workers_[i % workers_.size()];
    if (!worker.post([listener, method] { (listener->*method)(); })) return;  // it is stopping
  }
}

void NetServer::stop_listening() {
  for_listeners(&Listener::close);
}

void NetServer::close_all(ErrorCode code) {
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    ConnectionSet* const set = sets_[i].get();
    if (!workers_[i]->post([set, code] { set->close_all(code); })) return;
  }
}

void NetServer::give_back() {
  shared_.most_live.store(connection_count(), std::memory_order_relaxed);
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    ConnectionSet* const set = sets_[i].get();
    if (!workers_[i]->post([set] { set->give_back(); })) return;
  }
}

std::size_t NetServer::connection_count() const {
  return shared_.live.load(std::memory_order_relaxed);
}

std::size_t NetServer::most_connections() const {
  return shared_.most_live.load(std::memory_order_relaxed);
}

std::uint64_t NetServer::probes_opened(std::uint16_t worker) const {
  return std::as_const(*sets_[worker]).counters().probes.get();
}

NetTotals NetServer::totals() const {
  NetTotals sum;
  for (const auto& set : sets_) {
    const NetCounters& one = set->counters();
    sum.accepted += one.accepted.get();
    sum.opened += one.opened.get();
    for (std::size_t i = 0; i < kRefusals; ++i) {
      sum.refused[i] += one.refused[i].get();
      sum.would_have_refused[i] += one.would_have_refused[i].get();
    }
    sum.bytes_in += one.bytes_in.get();
    sum.bytes_out += one.bytes_out.get();
    sum.messages_in += one.messages_in.get();
    sum.writes += one.writes.get();
    sum.live += one.live.get();
    sum.write_queue_bytes += one.write_queue_bytes.get();
  }
  sum.incomplete_bytes = shared_.incomplete_bytes.load(std::memory_order_relaxed);
  return sum;
}

}  // namespace dunlin
