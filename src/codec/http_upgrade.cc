#include "codec/http_upgrade.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cctype>

namespace dunlin {
namespace {

constexpr std::string_view kEndOfHeader = "\r\n\r\n";

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

// RFC 9110 section 5.6.2
bool is_token_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}
bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char);
}
bool is_target(std::string_view text) {
  return !text.empty() && text[0] == '/' && std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}
bool is_field_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f); });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Calls fn(item) for each trimmed, non-empty item of a comma-separated list until it returns true; gives whether one did.
template <class F>
bool any_item(std::string_view list, F&& fn) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    const std::string_view item = trimmed(list.substr(0, comma));
    if (!item.empty() && fn(item)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}
bool list_names(std::string_view list, std::string_view name) {
  return any_item(list, [&](std::string_view item) { return same_ignoring_case(item, name); });
}

void append_item(std::string& list, std::string_view value) {
  if (!list.empty()) list += ',';
  list += value;
}

HttpParse bad(int status, const char* text) {
  return {HttpParse::Type::Bad, 0, status, text};
}

// Calls fn(name, value) for each field line of `block`; fn gives null or what is wrong. Lines end with CRLF and nothing else.
template <class F>
const char* each_field(std::string_view block, F&& fn) {
  std::size_t count = 0;
  while (!block.empty()) {
    const std::size_t end = block.find("\r\n");
    const std::string_view line = block.substr(0, end);
    block.remove_prefix(end + 2);
    if (++count > kMaxHttpHeaders) return "too many headers";
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return "malformed header name";
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (!is_field_value(value)) return "control character in a header";
    if (const char* wrong = fn(line.substr(0, colon), value)) return wrong;
  }
  return nullptr;
}

// "GET /im HTTP/1.1"
const char* parse_request_line(std::string_view line, HttpRequest& request, int& status) {
  const std::size_t first = line.find(' ');
  const std::size_t second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  if (second == std::string_view::npos) return "malformed request line";
  request.method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, second - first - 1);
  const std::string_view version = line.substr(second + 1);
  if (!is_token(request.method) || !is_target(target)) return "malformed request line";
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    status = version.starts_with("HTTP/") ? 505 : 400;
    return "HTTP/1.1 is spoken here";
  }
  request.http11 = version == "HTTP/1.1";
  const std::size_t question = target.find('?');
  request.path = target.substr(0, question);
  request.query = question == std::string_view::npos ? std::string_view() : target.substr(question + 1);
  return nullptr;
}

const char* set_once(std::string_view& slot, bool& seen, std::string_view value) {
  if (seen) return "a header that must be single is repeated";
  seen = true;
  slot = value;
  return nullptr;
}

struct Seen {
  bool host = false, key = false, version = false, origin = false;
};

const char* take_field(std::string_view name, std::string_view value, HttpRequest& request, Seen& seen) {
  const auto is = [&](std::string_view other) { return same_ignoring_case(name, other); };
  if (is("Host")) return set_once(request.host, seen.host, value);
  if (is("Origin")) return set_once(request.origin, seen.origin, value);
  if (is("Sec-WebSocket-Key")) return set_once(request.ws_key, seen.key, value);
  if (is("Sec-WebSocket-Version")) return set_once(request.ws_version, seen.version, value);
  if (is("Sec-WebSocket-Protocol")) append_item(request.subprotocols, value);
  if (is("X-Forwarded-For")) append_item(request.forwarded_for, value);
  if (is("Upgrade")) request.upgrade_websocket |= list_names(value, "websocket");
  if (is("Connection")) request.connection_upgrade |= list_names(value, "upgrade");
  if (is("Transfer-Encoding")) return "a request to upgrade has no body";
  if (is("Content-Length") && value != "0") return "a request to upgrade has no body";
  return nullptr;
}

UpgradeVerdict refuse(int status, const char* text) {
  UpgradeVerdict verdict;
  verdict.status = status;
  verdict.text = text;
  return verdict;
}

// 16 bytes in base64 (RFC 6455 section 4.1).
bool is_ws_key(std::string_view key) {
  return key.size() == 24 && key.ends_with("==") && std::all_of(key.begin(), key.end() - 2, [](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) || c == '+' || c == '/';
         });
}

bool origin_allowed(std::string_view origin, const std::vector<std::string>* allowed) {
  if (!allowed || allowed->empty() || origin.empty()) return true;
  return std::any_of(allowed->begin(), allowed->end(),
                     [&](const std::string& one) { return one == "*" || same_ignoring_case(one, origin); });
}

std::string_view status_text(int status) {
  switch (status) {
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 426: return "Upgrade Required";
    case 431: return "Request Header Fields Too Large";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Error";
  }
}

ErrorCode status_code(int status) {
  switch (status) {
    case 403: return ErrorCode::Forbidden;
    case 404: return ErrorCode::NotFound;
    case 408: return ErrorCode::Timeout;
    case 431: return ErrorCode::TooLarge;
    case 503: return ErrorCode::TooManyConnections;
    case 505: return ErrorCode::UnsupportedVersion;
    default: return ErrorCode::BadRequest;
  }
}

}  // namespace

HttpParse parse_http_request(std::string_view bytes, HttpRequest& request) {
  if (bytes.empty()) return {};
  if (!is_token_char(bytes[0])) return bad(400, "this port speaks HTTP/1.1");
  const std::size_t end = bytes.substr(0, kMaxHttpHeaderBytes).find(kEndOfHeader);
  if (end == std::string_view::npos) return bytes.size() < kMaxHttpHeaderBytes ? HttpParse{} : bad(431, "the header is too large");
  const std::size_t line_end = bytes.find("\r\n");
  request = {};
  int status = 400;
  if (const char* wrong = parse_request_line(bytes.substr(0, line_end), request, status)) return bad(status, wrong);
  Seen seen;
  const char* wrong = each_field(bytes.substr(line_end + 2, end - line_end),
                                 [&](std::string_view name, std::string_view value) { return take_field(name, value, request, seen); });
  if (wrong) return bad(std::string_view(wrong) == "too many headers" ? 431 : 400, wrong);
  if (request.http11 && !seen.host) return bad(400, "Host is missing");
  return {HttpParse::Type::Complete, end + kEndOfHeader.size(), 0, ""};
}

bool worth_parsing(std::string_view bytes, std::size_t looked) {
  const std::size_t from = looked < kEndOfHeader.size() ? 0 : looked - (kEndOfHeader.size() - 1);
  return bytes.size() >= kMaxHttpHeaderBytes || bytes.find(kEndOfHeader, from) != std::string_view::npos;
}

UpgradeVerdict judge_upgrade(const HttpRequest& request, const UpgradeRules& rules) {
  if (!rules.path.empty() && request.path != rules.path) return refuse(404, "nothing is served at this path");
  if (request.method != "GET") return refuse(405, "WebSocket begins with GET");
  if (!request.upgrade_websocket) return refuse(426, "this path speaks WebSocket");
  if (!request.http11) return refuse(400, "WebSocket needs HTTP/1.1");
  if (!request.connection_upgrade) return refuse(400, "Connection: Upgrade is missing");
  if (request.ws_version != "13") return refuse(426, "Sec-WebSocket-Version must be 13");
  if (!is_ws_key(request.ws_key)) return refuse(400, "Sec-WebSocket-Key is not 16 bytes in base64");
  if (!origin_allowed(request.origin, rules.allowed_origins)) {
    UpgradeVerdict verdict = refuse(403, "this origin is not allowed");
    verdict.bad_origin = true;
    return verdict;
  }
  UpgradeVerdict verdict;
  if (!rules.subprotocols || rules.subprotocols->empty() || request.subprotocols.empty()) return verdict;
  const bool found = any_item(request.subprotocols, [&](std::string_view offered) {
    const auto match = std::find(rules.subprotocols->begin(), rules.subprotocols->end(), offered);
    verdict.subprotocol = static_cast<int>(match - rules.subprotocols->begin());
    return match != rules.subprotocols->end();
  });
  if (found) return verdict;
  verdict = refuse(400, "none of the offered subprotocols is spoken here");
  verdict.bad_subprotocol = true;
  return verdict;
}

std::string ws_accept(std::string_view key) {
  std::string input(key);
  input += "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  EVP_Digest(input.data(), input.size(), digest.data(), &size, EVP_sha1(), nullptr);
  std::array<unsigned char, 4 * ((EVP_MAX_MD_SIZE + 2) / 3) + 1> text;
  const int length = EVP_EncodeBlock(text.data(), digest.data(), static_cast<int>(size));
  return std::string(reinterpret_cast<const char*>(text.data()), static_cast<std::size_t>(length));
}

std::string upgrade_response(std::string_view key, std::string_view subprotocol) {
  std::string out = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
  out += ws_accept(key);
  if (!subprotocol.empty()) (out += "\r\nSec-WebSocket-Protocol: ") += subprotocol;
  return out += "\r\n\r\n";
}

std::string http_refusal(int status, std::string_view text, int retry_after_s, std::optional<ErrorCode> code) {
  const ErrorInfo& error = error_info(code.value_or(status_code(status)));
  const std::string body =
      fmt::format("{{\"error\":{{\"code\":{},\"name\":\"{}\",\"message\":\"{}\",\"temporary\":{},\"retry_after_ms\":{}}}}}\n",
                  static_cast<int>(error.code), error.name, text, error.temporary, retry_after_s * 1000);
  std::string extra;
  if (status == 426) extra = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
  if (status == 405) extra = "Allow: GET\r\n";
  if (retry_after_s > 0) extra += fmt::format("Retry-After: {}\r\n", retry_after_s);
  return fmt::format("HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}Connection: {}\r\n\r\n{}", status,
                     status_text(status), body.size(), extra, status == 426 ? "close, Upgrade" : "close", body);
}

std::string upgrade_request(std::string_view host, std::string_view target, std::string_view key, std::string_view subprotocols) {
  std::string out = fmt::format(
      "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n",
      target, host, key);
  if (!subprotocols.empty()) out += fmt::format("Sec-WebSocket-Protocol: {}\r\n", subprotocols);
  return out += "\r\n";
}

UpgradeAnswer parse_upgrade_answer(std::string_view bytes, std::string_view key) {
  UpgradeAnswer answer;
  const std::size_t end = bytes.substr(0, kMaxHttpHeaderBytes).find(kEndOfHeader);
  if (end == std::string_view::npos) {
    if (bytes.size() >= kMaxHttpHeaderBytes) answer.type = UpgradeAnswer::Type::Bad;
    return answer;
  }
  answer.consumed = end + kEndOfHeader.size();
  answer.type = UpgradeAnswer::Type::Bad;
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (end < 12 || !bytes.starts_with("HTTP/1.1 ") || !std::all_of(bytes.begin() + 9, bytes.begin() + 12, is_digit)) return answer;
  answer.status = (bytes[9] - '0') * 100 + (bytes[10] - '0') * 10 + (bytes[11] - '0');
  bool upgrade = false, connection = false, accepted = false;
  const std::size_t line_end = bytes.find("\r\n");
  const char* wrong =
      each_field(bytes.substr(line_end + 2, end - line_end), [&](std::string_view name, std::string_view value) -> const char* {
        if (same_ignoring_case(name, "Upgrade")) upgrade = same_ignoring_case(value, "websocket");
        if (same_ignoring_case(name, "Connection")) connection |= list_names(value, "upgrade");
        if (same_ignoring_case(name, "Sec-WebSocket-Accept")) accepted = value == ws_accept(key);
        if (same_ignoring_case(name, "Sec-WebSocket-Protocol")) answer.subprotocol = value;
        if (same_ignoring_case(name, "Retry-After")) answer.retry_after = value;
        return nullptr;
      });
  if (wrong) return answer;
  if (answer.status != 101) {
    answer.type = UpgradeAnswer::Type::Refused;
  } else if (upgrade && connection && accepted) {
    answer.type = UpgradeAnswer::Type::Accepted;
  }
  return answer;
}

}  // namespace dunlin
