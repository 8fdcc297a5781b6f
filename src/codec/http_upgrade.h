#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace dunlin {

inline constexpr std::size_t kMaxHttpHeaderBytes = 32 * 1024;  // the cookies of a large site come with it
inline constexpr std::size_t kMaxHttpHeaders = 64;

// What the upgrade needs of an HTTP/1.1 request; views into the parsed bytes. A header that is absent is empty.
struct HttpRequest {
  std::string_view method;
  std::string_view path;   // without the query
  std::string_view query;  // without '?'
  bool http11 = false;
  bool upgrade_websocket = false;   // Upgrade names websocket
  bool connection_upgrade = false;  // Connection names upgrade
  std::string_view host;
  std::string_view ws_key;
  std::string_view ws_version;
  std::string_view origin;
  std::string subprotocols;   // all Sec-WebSocket-Protocol headers, comma-joined
  std::string forwarded_for;  // all X-Forwarded-For headers, comma-joined, as they came
};

struct HttpParse {
  enum class Type : std::uint8_t { NeedMore, Complete, Bad } type = Type::NeedMore;
  std::size_t consumed = 0;  // Complete: bytes of the header; what follows is the first frames
  int status = 400;          // Bad: 400, 431 or 505
  const char* text = "";     // Bad: why
};

// Parses the header of a request from the first byte. Strict, as smuggling needs leniency: CRLF only, no folding, no space before a colon,
// one Host, no body (Content-Length other than 0, Transfer-Encoding), limits on size and number of headers.
HttpParse parse_http_request(std::string_view bytes, HttpRequest& request);

// True when `bytes`, of which the first `looked` were looked at before, hold the end of a header or more than one may have: for who gets it
// in small pieces, and would else parse it again with each.
bool worth_parsing(std::string_view bytes, std::size_t looked);

struct UpgradeRules {
  std::string_view path{};                                    // empty = any
  const std::vector<std::string>* subprotocols = nullptr;     // empty = offers are ignored
  const std::vector<std::string>* allowed_origins = nullptr;  // empty = any; a request without Origin is no browser's and passes
};

struct UpgradeVerdict {
  int status = 101;       // or the refusal: 400, 403, 404, 405, 426
  const char* text = "";  // refusal: why, one line
  bool bad_origin = false;
  bool bad_subprotocol = false;
  int subprotocol = -1;  // index into the rules' list
};
UpgradeVerdict judge_upgrade(const HttpRequest& request, const UpgradeRules& rules);

// Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 section 4.2.2).
std::string ws_accept(std::string_view key);

// "HTTP/1.1 101 ..." ; subprotocol empty = none named.
std::string upgrade_response(std::string_view key, std::string_view subprotocol);
// A refusal that ends the connection, with `text` as body. retry_after_s > 0 adds Retry-After. `code`: where the status alone says too
// little.
std::string http_refusal(int status, std::string_view text, int retry_after_s = 0, std::optional<ErrorCode> code = {});

// -- the client's side
std::string upgrade_request(std::string_view host, std::string_view target, std::string_view key, std::string_view subprotocols);
struct UpgradeAnswer {
  enum class Type : std::uint8_t { NeedMore, Accepted, Refused, Bad } type = Type::NeedMore;
  std::size_t consumed = 0;
  int status = 0;
  std::string_view subprotocol;
  std::string_view retry_after;
};
UpgradeAnswer parse_upgrade_answer(std::string_view bytes, std::string_view key);

}  // namespace dunlin
