#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <algorithm>
#include <ctime>

namespace dunlin {
namespace {

constexpr std::size_t kLargestRecord = 16 * 1024;

Error tls_error(const std::string& what) {
  char text[256] = "unknown error";
  if (const unsigned long code = ERR_get_error()) ERR_error_string_n(code, text, sizeof text);
  ERR_clear_error();
  return Error(ErrorCode::Config, what + ": " + text);
}

// OpenSSL would ask on the terminal, and the process would wait there.
int no_passphrase(char*, int, int, void* asked) {
  if (asked != nullptr) *static_cast<bool*>(asked) = true;
  return -1;
}

WallTime end_of(const X509* certificate) {
  tm end{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) != 1) return WallTime::max();
  return WallTime(std::chrono::seconds(timegm(&end)));
}

WallTime first_end(SSL_CTX* context) {
  WallTime end = end_of(SSL_CTX_get0_certificate(context));
  STACK_OF(X509)* chain = nullptr;
  if (SSL_CTX_get0_chain_certs(context, &chain) != 1) return end;
  for (int i = 0; i < sk_X509_num(chain); ++i) end = std::min(end, end_of(sk_X509_value(chain, i)));
  return end;
}

}  // namespace

Result<std::shared_ptr<TlsContext>> TlsContext::load(const std::string& chain_file, const std::string& key_file) {
  auto context = std::make_shared<TlsContext>(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* const native = context->native();
  if (!native) return tls_error("SSL_CTX_new");
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native,
                      SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);  // resumption is by tickets, which cost no memory here
  bool asked = false;
  SSL_CTX_set_default_passwd_cb(native, no_passphrase);
  SSL_CTX_set_default_passwd_cb_userdata(native, &asked);
  if (SSL_CTX_use_certificate_chain_file(native, chain_file.c_str()) != 1) return tls_error(chain_file + ": no certificate");
  // Which also finds out whether they belong together.
  if (SSL_CTX_use_PrivateKey_file(native, key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
    if (asked) return tls_error(key_file + ": the key is encrypted, and nobody is asked for its passphrase: store it without one");
    if (ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_X509) return tls_error(key_file + ": not the key of the certificate " + chain_file);
    return tls_error(key_file + ": no private key");
  }
  if (SSL_CTX_check_private_key(native) != 1) return tls_error(key_file + ": not the key of the certificate " + chain_file);
  SSL_CTX_set_default_passwd_cb_userdata(native, nullptr);
  context->expires_ = first_end(native);
  return context;
}

std::shared_ptr<TlsContext> TlsContext::trusting_client() {
  SSL_CTX* const native = SSL_CTX_new(TLS_client_method());
  if (!native) return nullptr;
  SSL_CTX_set_verify(native, SSL_VERIFY_NONE, nullptr);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
  return std::make_shared<TlsContext>(native);
}

TlsContext::~TlsContext() {
  SSL_CTX_free(context_);
}

std::unique_ptr<TlsStream> TlsStream::on(std::shared_ptr<TlsContext> context, int fd) {
  SSL* ssl = SSL_new(context->native());
  if (!ssl) return nullptr;
  if (SSL_set_fd(ssl, fd) != 1) {
    SSL_free(ssl);
    return nullptr;
  }
  return std::unique_ptr<TlsStream>(new TlsStream(std::move(context), ssl));
}

std::unique_ptr<TlsStream> TlsStream::accept(std::shared_ptr<TlsContext> context, int fd) {
  auto stream = on(std::move(context), fd);
  if (stream) SSL_set_accept_state(stream->ssl_);
  return stream;
}

std::unique_ptr<TlsStream> TlsStream::connect(std::shared_ptr<TlsContext> context, int fd) {
  auto stream = on(std::move(context), fd);
  if (stream) SSL_set_connect_state(stream->ssl_);
  return stream;
}

TlsStream::~TlsStream() {
  SSL_free(ssl_);
}

TlsStep TlsStream::step_of(int result) {
  const int error = SSL_get_error(ssl_, result);
  ERR_clear_error();
  switch (error) {
    case SSL_ERROR_WANT_READ: return TlsStep::WantRead;
    case SSL_ERROR_WANT_WRITE: return TlsStep::WantWrite;
    case SSL_ERROR_ZERO_RETURN: return TlsStep::Ended;
    default: return TlsStep::Failed;
  }
}

TlsStep TlsStream::handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  return result == 1 ? TlsStep::Done : step_of(result);
}

// Reads on while another whole record fits, so that nothing stays inside OpenSSL where epoll cannot see it.
TlsStep TlsStream::read(char* data, std::size_t size, std::size_t& got) {
  got = 0;
  ERR_clear_error();
  while (size - got >= kLargestRecord) {
    std::size_t count = 0;
    const int result = SSL_read_ex(ssl_, data + got, size - got, &count);
    if (result != 1) return step_of(result);
    got += count;
  }
  return TlsStep::Done;
}

TlsStep TlsStream::write(std::string_view data, std::size_t& put) {
  put = 0;
  ERR_clear_error();
  const int result = SSL_write_ex(ssl_, data.data(), data.size(), &put);
  return result == 1 ? TlsStep::Done : step_of(result);
}

void TlsStream::send_close_notify() {
  ERR_clear_error();
  SSL_shutdown(ssl_);
  ERR_clear_error();
}

}  // namespace dunlin
