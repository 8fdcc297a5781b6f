#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "codec/bytes.h"
#include "net/connection.h"

namespace dunlin {

// What a connection needs before it is open: TLS handshake, PROXY header, HTTP upgrade or the first byte of TCP. Owned by its connection
// until then; at most one HTTP header of input is kept, and of all connections together at most NetOptions::header_bytes (beyond it who
// keeps more than kSmallHeader is refused). One deadline for all of it (ListenerOptions::header_deadline).
class Opening {
 public:
  static constexpr std::size_t kSmallHeader = 4096;

  explicit Opening(Connection& connection);
  ~Opening();
  Opening(const Opening&) = delete;
  Opening& operator=(const Opening&) = delete;

  // Ends with the connection open, refused or waiting for more; the object may be gone then.
  void on_ready();
  void on_deadline();
  MonotonicTime accepted() const { return accepted_; }

 private:
  enum class Step : std::uint8_t { Tls, Proxy, Http, FirstByte };

  Step after_tls() const;
  Step after_proxy() const;
  bool shake_hands();
  void take(MutableBytes input);
  void keep();
  bool account();
  bool advance(MutableBytes& input);
  bool take_proxy();
  void refuse_proxy();
  bool take_http(MutableBytes& input);
  bool take_first_byte(MutableBytes& input);
  bool admit_client(const Endpoint& client);
  void refuse_http(Refusal refusal, int status, std::string_view text, int retry_after_s = 0, std::optional<ErrorCode> code = {});

  Connection& connection_;
  const MonotonicTime accepted_;
  std::string kept_;           // input of an incomplete header
  std::size_t accounted_ = 0;  // bytes of it, as the total of all knows them
  Step step_;
};

}  // namespace dunlin
