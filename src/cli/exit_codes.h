#pragma once

#include <string_view>

#include "base/error.h"

namespace dunlin {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;  // wrong arguments or configuration

// Prints `dunlin: <what>: <error>` on stderr and gives the exit code that fits the error.
int fail(std::string_view what, const Error& error);

}  // namespace dunlin
