#include "base/error.h"

#include <array>
#include <cerrno>
#include <cstring>

namespace dunlin {
namespace {

constexpr auto kTable = std::to_array<ErrorInfo>({
#define X(enumerator, number, name, temporary, text) {ErrorCode::enumerator, name, temporary, text},
#include "base/error_codes.inc"
#undef X
});

}  // namespace

ErrorTable error_table() {
  return {kTable.data(), kTable.data() + kTable.size()};
}

ErrorCode wire_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::Io:
    case ErrorCode::NoSpace:
    case ErrorCode::Corrupt: return ErrorCode::StoreUnavailable;
    case ErrorCode::Config:
    case ErrorCode::Cancelled:
    case ErrorCode::Busy: return ErrorCode::Internal;
    default: return code;
  }
}

const ErrorInfo& error_info(ErrorCode code) {
  const ErrorCode wire = wire_code(code);
  for (const ErrorInfo& row : kTable) {
    if (row.code == wire) return row;
  }
  return error_info(ErrorCode::Internal);
}

Error errno_error(std::string_view what, int errno_value) {
  const bool full = errno_value == ENOSPC || errno_value == EDQUOT;
  return Error(full ? ErrorCode::NoSpace : ErrorCode::Io, std::string(what) + ": " + std::strerror(errno_value));
}

}  // namespace dunlin
