#include "admin/admin_server.h"

#include <fmt/format.h>

#include <boost/asio/dispatch.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <charconv>
#include <thread>
#include <utility>

#include "admin/admin_connection.h"
#include "base/log.h"

namespace dunlin {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

Result<tcp::endpoint> parse_endpoint(const std::string& listen) {
  const auto colon = listen.rfind(':');
  std::string host = listen.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  boost::system::error_code error;
  const auto address = asio::ip::make_address(host, error);
  unsigned port = 65536;
  if (colon != std::string::npos) std::from_chars(listen.data() + colon + 1, listen.data() + listen.size(), port);
  if (error || port > 65535) return Error(ErrorCode::Config, "admin.listen: " + listen + " is not HOST:PORT");
  return tcp::endpoint(address, static_cast<unsigned short>(port));
}

}  // namespace

// Everything below start() and stop() runs on thread_.
class AdminServer::Impl {
 public:
  Impl(AdminOptions options, Router router) : shared_{std::move(options), std::move(router), {}}, acceptor_(context_), pause_(context_) {}
  ~Impl() { stop(); }

  Status start() {
    TRY_ASSIGN(const tcp::endpoint endpoint, parse_endpoint(shared_.options.listen));
    boost::system::error_code error;
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
      const ErrorCode code = error == asio::error::address_in_use ? ErrorCode::Busy : ErrorCode::Io;
      return Error(code, fmt::format("admin.listen: cannot listen on {}: {}", shared_.options.listen, error.message()));
    }
    const tcp::endpoint bound = acceptor_.local_endpoint(error);
    const std::string host = bound.address().to_string();
    address_ = bound.address().is_v6() ? fmt::format("[{}]:{}", host, bound.port()) : fmt::format("{}:{}", host, bound.port());
    accept();
    thread_ = std::thread([this] { context_.run(); });
    return {};
  }

  void stop() {
    if (!thread_.joinable()) return;
    asio::post(context_, [this] {
      boost::system::error_code ignored;
      acceptor_.close(ignored);
      pause_.cancel();
      shared_.close_all();
    });
    thread_.join();
  }

  const std::string& address() const { return address_; }

 private:
  void accept() {
    acceptor_.async_accept([this](boost::system::error_code error, tcp::socket socket) {
      if (!acceptor_.is_open()) return;
      if (error) return accept_later(error);
      if (shared_.open_count() < shared_.options.max_connections) serve_admin_connection(std::move(socket), shared_);
      accept();
    });
  }

  // Out of descriptors: the connection stays in the backlog, so asking again at once would only spin.
  void accept_later(boost::system::error_code error) {
    log_warn("admin", "cannot accept", {{"error", error.message()}});
    pause_.expires_after(std::chrono::milliseconds(200));
    pause_.async_wait([this](boost::system::error_code) {
      if (acceptor_.is_open()) accept();
    });
  }

  AdminShared shared_;
  asio::io_context context_{1};
  tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  std::string address_;
  std::thread thread_;
};

AdminServer::AdminServer(AdminOptions options, Router router) : impl_(std::make_unique<Impl>(std::move(options), std::move(router))) {}
AdminServer::~AdminServer() = default;
Status AdminServer::start() {
  return impl_->start();
}
void AdminServer::stop() {
  impl_->stop();
}
std::string AdminServer::address() const {
  return impl_->address();
}

}  // namespace dunlin
