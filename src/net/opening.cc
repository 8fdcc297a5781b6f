#include "net/opening.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "codec/http_upgrade.h"
#include "codec/proxy_header.h"
#include "net/admission.h"
#include "net/connection_set.h"
#include "net/tls.h"

namespace dunlin {
namespace {

// More than a whole header: what follows it is the client's first frames.
constexpr std::size_t kReadBytes = kMaxHttpHeaderBytes + 16 * 1024;

// Spread by address, so that those who are refused together do not come back together.
int retry_after_s(const IpAddress& ip) {
  return 1 + static_cast<int>(std::hash<IpAddress>{}(ip) % 10);
}

}  // namespace

// A PROXY header comes before TLS, in clear text; so with both the handshake waits for it.
Opening::Opening(Connection& connection) : connection_(connection), accepted_(connection.now()) {
  const ListenerOptions& options = connection_.listening_->options;
  // From anyone else such a header is no HTTP and no TLS, and is refused as that.
  const bool proxied = options.proxy_protocol && !connection_.probe_ && connection_.set_->shared_.admission->trusts(connection_.peer_.ip);
  step_ = proxied ? Step::Proxy : after_proxy();
}

Opening::~Opening() {
  connection_.set_->shared_.header_bytes.fetch_sub(accounted_, std::memory_order_relaxed);
}

Opening::Step Opening::after_proxy() const {
  return connection_.tls_ ? Step::Tls : after_tls();
}

Opening::Step Opening::after_tls() const {
  return connection_.transport() == Transport::WebSocket ? Step::Http : Step::FirstByte;
}

void Opening::on_ready() {
  if (step_ == Step::Tls && !shake_hands()) return;
  char* const buffer = connection_.set_->read_buffer_.get();
  Connection::StreamEnd end = Connection::StreamEnd::None;
  if (step_ == Step::Proxy) {
    if (take_proxy()) on_ready();
    return;
  }
  const std::size_t got = connection_.read_into(buffer, std::min(kReadBytes, connection_.net_options().read_buffer_bytes), end);
  if (got > 0) return take({buffer, got});
  if (end != Connection::StreamEnd::None) connection_.refuse(Refusal::PeerGone, {});
}

bool Opening::shake_hands() {
  const TlsStep step = connection_.tls_->handshake();
  connection_.want_write_ = step == TlsStep::WantWrite;
  connection_.update_interest();
  if (step == TlsStep::Done) step_ = after_tls();
  if (step == TlsStep::Ended || step == TlsStep::Failed) connection_.refuse(Refusal::BadRequest, {});
  return step == TlsStep::Done;
}

void Opening::take(MutableBytes input) {
  if (kept_.empty()) {
    if (!advance(input)) return;  // opened or refused
    kept_.assign(input.view());
    return keep();
  }
  const std::size_t looked = kept_.size();
  kept_.append(input.view());
  if (step_ == Step::Http && !worth_parsing(kept_, looked)) return keep();
  std::string all = std::exchange(kept_, {});
  account();
  MutableBytes view{all.data(), all.size()};
  if (!advance(view)) return;
  kept_ = std::move(all);
  keep();
}

void Opening::keep() {
  if (account() || kept_.size() <= kSmallHeader) return;
  refuse_http(Refusal::HeaderMemory, 503, "too many incomplete requests", retry_after_s(connection_.peer_.ip), ErrorCode::Overloaded);
}

// Tells the total of all connections what is kept now; false when that is over its bound.
bool Opening::account() {
  const std::size_t now = kept_.capacity() > std::string().capacity() ? kept_.capacity() : 0;
  auto& total = connection_.set_->shared_.header_bytes;
  const std::uint64_t before = total.fetch_add(now - accounted_, std::memory_order_relaxed);
  const std::uint64_t sum = before + now - accounted_;
  accounted_ = now;
  return sum <= connection_.net_options().header_bytes;
}

// True while more input is needed; false once the connection is open or refused (and this object gone).
bool Opening::advance(MutableBytes& input) {
  return step_ == Step::Http ? take_http(input) : take_first_byte(input);
}

// True once the header is taken. TLS may follow it, of which not a byte may be taken here: so it looks first, and takes what belongs to the
// header.
bool Opening::take_proxy() {
  char* const buffer = connection_.set_->read_buffer_.get();
  const ssize_t seen = ::recv(connection_.fd_, buffer, kMaxProxyHeaderBytes, MSG_PEEK);
  if (seen < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (seen <= 0) {
    connection_.refuse(Refusal::PeerGone, {});
    return false;
  }
  const std::size_t before = kept_.size();
  kept_.append(buffer, static_cast<std::size_t>(seen));
  ProxyHeader header;
  const ProxyParse parse = parse_proxy_header(kept_, header);
  const bool complete = parse.type == ProxyParse::Type::Complete;
  const bool incomplete = parse.type == ProxyParse::Type::NeedMore && kept_.size() <= kMaxProxyHeaderBytes;
  const std::size_t taken = complete ? parse.consumed - before : static_cast<std::size_t>(seen);
  if ((!complete && !incomplete) || ::recv(connection_.fd_, buffer, taken, 0) != static_cast<ssize_t>(taken)) {
    refuse_proxy();
    return false;
  }
  if (incomplete) return false;
  kept_.clear();
  step_ = after_proxy();
  return header.local || admit_client({IpAddress{header.source_ip}, header.source_port});
}

// In HTTP's words where a client would speak HTTP: who gets no answer here is a balancer that is configured otherwise than this port.
void Opening::refuse_proxy() {
  if (after_proxy() == Step::Http) return refuse_http(Refusal::BadRequest, 400, "a PROXY header must come first");
  connection_.refuse(Refusal::BadRequest, {});
}

// Counts the connection for the client behind the proxy instead of the proxy; false if that is refused.
bool Opening::admit_client(const Endpoint& client) {
  ConnectionSet& set = *connection_.set_;
  Admission& admission = *set.shared_.admission;
  if (connection_.counted_) admission.release(connection_.peer_.ip);
  connection_.counted_ = false;
  connection_.peer_ = client;
  const Admission::Verdict verdict = admission.admit(client.ip, connection_.now());
  connection_.counted_ = verdict.counted;
  if (verdict.admitted) {
    if (verdict.refusal) set.counters_.would_have_refused[static_cast<std::size_t>(*verdict.refusal)].add();
    return true;
  }
  if (step_ == Step::Http) {
    refuse_http(*verdict.refusal, 503, "too many connections from this address", retry_after_s(client.ip));
  } else {
    connection_.refuse(*verdict.refusal, {});
  }
  return false;
}

bool Opening::take_http(MutableBytes& input) {
  HttpRequest request;
  const HttpParse parse = parse_http_request(input.view(), request);
  if (parse.type == HttpParse::Type::NeedMore) return true;
  if (parse.type == HttpParse::Type::Bad) {
    refuse_http(Refusal::BadRequest, parse.status, parse.text);
    return false;
  }
  Endpoint client = connection_.peer_;
  const auto named = connection_.set_->shared_.admission->client_of(client.ip, request.forwarded_for);
  if (!named) {
    refuse_http(Refusal::BadRequest, 400, "X-Forwarded-For is not a list of addresses");
    return false;
  }
  client.ip = *named;
  if (client.ip != connection_.peer_.ip && !admit_client(client)) return false;
  const ListenerOptions& options = connection_.listening_->options;
  const UpgradeVerdict verdict =
      judge_upgrade(request, {.path = options.path, .subprotocols = &options.subprotocols, .allowed_origins = &options.allowed_origins});
  if (verdict.status != 101) {
    const Refusal why = verdict.bad_origin ? Refusal::Origin : verdict.bad_subprotocol ? Refusal::Subprotocol : Refusal::BadRequest;
    const auto code = verdict.bad_subprotocol ? std::optional(ErrorCode::UnsupportedVersion) : std::nullopt;
    refuse_http(why, verdict.status, verdict.text, 0, code);
    return false;
  }
  connection_.subprotocol_ = static_cast<std::int8_t>(verdict.subprotocol);
  connection_.framing_ = Framing::WebSocket;
  connection_.enqueue(upgrade_response(
      request.ws_key,
      verdict.subprotocol >= 0 ? std::string_view(options.subprotocols[static_cast<std::size_t>(verdict.subprotocol)]) : ""));
  input.advance(parse.consumed);
  connection_.opened(input);
  return false;
}

bool Opening::take_first_byte(MutableBytes& input) {
  const auto framing = TcpDecoder::framing_of(*input.data);
  if (!framing) {
    connection_.refuse(Refusal::BadRequest, TcpDecoder::wrong_first_byte_line());
    return false;
  }
  connection_.framing_ = *framing;
  connection_.opened(input);
  return false;
}

void Opening::refuse_http(Refusal refusal, int status, std::string_view text, int retry_after, std::optional<ErrorCode> code) {
  std::string().swap(kept_);
  account();
  connection_.refuse(refusal, http_refusal(status, text, retry_after, code));
}

void Opening::on_deadline() {
  const bool said_something = step_ == Step::Http && !kept_.empty();
  if (!said_something) return connection_.refuse(Refusal::HeaderTimeout, {});
  if (connection_.surplus_) return refuse_http(Refusal::ServerFull, 503, "too many connections", retry_after_s(connection_.peer_.ip));
  refuse_http(Refusal::HeaderTimeout, 408, "the header did not come in time");
}

}  // namespace dunlin
