#include "admin/admin_connection.h"

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <memory>
#include <optional>
#include <utility>

#include "base/log.h"

namespace dunlin {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;

constexpr std::uint32_t kMaxHeaderBytes = 8192;

// Reads a request, answers it, and reads the next. One operation is pending at any time and owns the connection.
class AdminConnection : public std::enable_shared_from_this<AdminConnection> {
 public:
  AdminConnection(boost::asio::ip::tcp::socket socket, AdminShared& shared) : stream_(std::move(socket)), shared_(shared) {}
  ~AdminConnection() { shared_.open.erase(this); }

  void start() {
    shared_.open.emplace(this, [this] { stream_.close(); });
    read();
  }

 private:
  void read() {
    parser_.emplace();
    parser_->header_limit(kMaxHeaderBytes);
    parser_->body_limit(shared_.options.max_body_bytes);
    stream_.expires_after(shared_.options.request_deadline);
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](beast::error_code error, std::size_t) { self->on_read(error); });
  }

  void on_read(beast::error_code error) {
    if (!error) return respond(shared_.router.handle(request()), parser_->get().keep_alive());
    const bool malformed = error.category() == http::make_error_code(http::error::bad_method).category() &&
                           error != http::error::end_of_stream && error != http::error::partial_message;
    if (!malformed) return;
    const unsigned status = error == http::error::body_limit ? 413 : error == http::error::header_limit ? 431 : 400;
    respond({status, "application/json", R"({"error":"bad request"})"}, false);
  }

  HttpRequest request() const {
    const auto& message = parser_->get();
    HttpRequest request;
    request.method = std::string(message.method_string());
    const std::string target(message.target());
    const auto mark = target.find('?');
    request.path = target.substr(0, mark);
    if (mark != std::string::npos) request.query = target.substr(mark + 1);
    request.body = message.body();
    return request;
  }

  void respond(HttpResponse answer, bool keep_alive) {
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
      self->stream_.socket().shutdown(boost::asio::ip::tcp::socket::shutdown_send, ignored);
    });
  }

  beast::tcp_stream stream_;
  AdminShared& shared_;
  beast::flat_buffer buffer_{kMaxHeaderBytes + (1 << 16)};
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
};

}  // namespace

void serve_admin_connection(boost::asio::ip::tcp::socket socket, AdminShared& shared) {
  std::make_shared<AdminConnection>(std::move(socket), shared)->start();
}

}  // namespace dunlin
