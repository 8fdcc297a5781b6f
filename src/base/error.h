#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace dunlin {

// Every way an operation can fail, in one closed list. Those with a wire number (base/error_codes.inc) may be shown to a
// client; the ones below it stay inside the server and are mapped before they leave it (see wire_code()).
enum class ErrorCode : std::uint16_t {
#define X(enumerator, number, name, temporary, text) enumerator = number,
#include "base/error_codes.inc"
#undef X
  Io = 1,         // A system call failed; the context has errno's text.
  NoSpace = 2,    // The disk or its reserve is full.
  Corrupt = 3,    // Stored bytes do not match their checksum or grammar.
  Config = 4,     // A setting is wrong; the context names it.
  Cancelled = 5,  // The caller's connection or the server is going away.
  Busy = 6,       // Another process holds the resource; the context names it.
};

struct ErrorInfo {
  ErrorCode code;
  std::string_view name;  // snake_case, as on the wire
  bool temporary;         // the same request may succeed later
  std::string_view text;  // one plain sentence
};

// The row of `code`; internal codes give the row they are mapped to on the wire.
const ErrorInfo& error_info(ErrorCode code);

// The code a client sees: internal codes become StoreUnavailable (Io, NoSpace, Corrupt) or Internal.
ErrorCode wire_code(ErrorCode code);

// All rows with a wire number, ascending.
struct ErrorTable {
  const ErrorInfo* begin_;
  const ErrorInfo* end_;
  const ErrorInfo* begin() const { return begin_; }
  const ErrorInfo* end() const { return end_; }
};
ErrorTable error_table();

// A failure: what kind, and where and with what (never a token, a secret or a message body).
class [[nodiscard]] Error {
 public:
  explicit Error(ErrorCode code, std::string context = {}) : code_(code), context_(std::move(context)) {}

  ErrorCode code() const { return code_; }
  const std::string& context() const { return context_; }

  // The same error seen from one level up: "opening /x: <context>".
  Error with(std::string_view prefix) && {
    context_ = context_.empty() ? std::string(prefix) : std::string(prefix) + ": " + context_;
    return std::move(*this);
  }

  std::string to_string() const { return std::string(error_info(code_).name) + ": " + context_; }

 private:
  ErrorCode code_;
  std::string context_;
};

// Error with errno's text appended to `what`; ENOSPC and EDQUOT give NoSpace, all else Io.
Error errno_error(std::string_view what, int errno_value);

}  // namespace dunlin
