#include "cli/exit_codes.h"

#include <fmt/format.h>

#include <cstdio>

namespace dunlin {

int fail(std::string_view what, const Error& error) {
  fmt::print(stderr, "dunlin: {}: {}\n", what, error.context());
  return error.code() == ErrorCode::Config || error.code() == ErrorCode::BadRequest ? kExitUsage : kExitFailure;
}

}  // namespace dunlin
