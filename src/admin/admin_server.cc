#include "admin/admin_server.h"

#include <fmt/format.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <list>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "base/log.h"

namespace dunlin {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

class AdminConnection;

// What the connections of one AdminServer share; on the admin thread only.
struct AdminShared {
  AdminOptions options;
  Router router;
  std::list<AdminConnection*> open;  // the one whose last request is longest ago in front
};

constexpr std::uint32_t kMaxHeaderBytes = 8192;

// Reads a request, answers it, and reads the next. One operation is pending at any time and owns the connection.
class AdminConnection final : public std::enable_shared_from_this<AdminConnection> {
 public:
  AdminConnection(tcp::socket socket, AdminShared& shared)
      : stream_(std::move(socket)), shared_(shared), place_(shared.open.insert(shared.open.end(), this)) {}
  ~AdminConnection() { shared_.open.erase(place_); }

  void read() {
    parser_.emplace();
    parser_->header_limit(kMaxHeaderBytes);
    parser_->body_limit(shared_.options.max_body_bytes);
    stream_.expires_after(shared_.options.request_deadline);
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](beast::error_code error, std::size_t) { self->on_read(error); });
  }

  void close() { stream_.close(); }

 private:
  void on_read(beast::error_code error) {
    shared_.open.splice(shared_.open.end(), shared_.open, place_);
    if (!error) return respond(shared_.router.handle(request()), parser_->get().keep_alive());
    const bool malformed = error.category() == http::make_error_code(http::error::bad_method).category() &&
                           error != http::error::end_of_stream && error != http::error::partial_message;
    if (!malformed) return;
    const unsigned status = error == http::error::body_limit ? 413 : error == http::error::header_limit ? 431 : 400;
    respond({status, "application/json", R"({"error":"bad request"})"}, false);
  }

  AdminRequest request() const {
    const auto& message = parser_->get();
    AdminRequest request;
    request.method = std::string(message.method_string());
    const std::string target(message.target());
    const auto mark = target.find('?');
    request.path = target.substr(0, mark);
    if (mark != std::string::npos) request.query = target.substr(mark + 1);
    request.body = message.body();
    return request;
  }

  void respond(AdminResponse answer, bool keep_alive) {
    log_debug("admin", "request",
              {{"path", std::string(parser_->get().target().substr(0, parser_->get().target().find('?')))}, {"status", answer.status}});
    response_ = {};
    response_.result(answer.status);
    response_.set(http::field::content_type, answer.content_type);
    response_.set(http::field::cache_control, "no-store");
    response_.set("X-Content-Type-Options", "nosniff");
    response_.keep_alive(keep_alive);
    response_.content_length(answer.body.size());
    if (parser_->get().method() != http::verb::head) response_.body() = std::move(answer.body);
    stream_.expires_after(shared_.options.request_deadline);
    http::async_write(stream_, response_, [self = shared_from_this(), keep_alive](beast::error_code error, std::size_t) {
      if (!error && keep_alive) return self->read();
      beast::error_code ignored;
      self->stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    });
  }

  beast::tcp_stream stream_;
  AdminShared& shared_;
  const std::list<AdminConnection*>::iterator place_;
  beast::flat_buffer buffer_{kMaxHeaderBytes + (1 << 16)};
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
};

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
      for (AdminConnection* connection : shared_.open) connection->close();
    });
    thread_.join();
  }

  const std::string& address() const { return address_; }

 private:
  void accept() {
    acceptor_.async_accept([this](boost::system::error_code error, tcp::socket socket) {
      if (!acceptor_.is_open()) return;
      if (error) return accept_later(error);
      // One of those that ask for nothing makes room: a health check must get through.
      if (shared_.open.size() >= shared_.options.max_connections) shared_.open.front()->close();
      std::make_shared<AdminConnection>(std::move(socket), shared_)->read();
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
