#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

struct ssl_ctx_st;
struct ssl_st;

namespace dunlin {

// A certificate chain and key, ready for connections; immutable and shared: a reload makes a new one, live connections keep theirs.
class TlsContext {
 public:
  // The error begins with the path of the file that is wrong. Nobody is asked for a passphrase: an encrypted key is an error.
  static Result<std::shared_ptr<TlsContext>> load(const std::string& chain_file, const std::string& key_file);
  // For TlsStream::connect: believes any certificate.
  static std::shared_ptr<TlsContext> trusting_client();
  explicit TlsContext(ssl_ctx_st* context) : context_(context) {}
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  ssl_ctx_st* native() const { return context_; }
  // When the first certificate of the chain expires.
  WallTime expires() const { return expires_; }

 private:
  ssl_ctx_st* context_;
  WallTime expires_ = WallTime::max();
};

enum class TlsStep : unsigned char { Done, WantRead, WantWrite, Ended, Failed };

// TLS 1.2 or 1.3, mostly the server's side, on a non-blocking socket that the connection owns. OpenSSL works on the descriptor itself and
// gives its buffers back between records, so that an idle connection keeps only the session's state.
class TlsStream {
 public:
  static std::unique_ptr<TlsStream> accept(std::shared_ptr<TlsContext> context, int fd);
  // The client's side, for probes of our own ports.
  static std::unique_ptr<TlsStream> connect(std::shared_ptr<TlsContext> context, int fd);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  TlsStep handshake();
  // Fills `data` with what is there; `got` may be > 0 with any step.
  TlsStep read(char* data, std::size_t size, std::size_t& got);
  TlsStep write(std::string_view data, std::size_t& put);
  void send_close_notify();

 private:
  static std::unique_ptr<TlsStream> on(std::shared_ptr<TlsContext> context, int fd);
  TlsStream(std::shared_ptr<TlsContext> context, ssl_st* ssl) : context_(std::move(context)), ssl_(ssl) {}
  TlsStep step_of(int result);

  std::shared_ptr<TlsContext> context_;
  ssl_st* ssl_;
};

}  // namespace dunlin
