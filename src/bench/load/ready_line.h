#pragma once

#include <chrono>
#include <string>

#include "base/result.h"

namespace dunlin::bench {

// The first line that comes out of a pipe, with what came behind it. Timeout: it was not whole by then. Io: the other end closed first.
Result<std::string> read_line(int fd, std::chrono::milliseconds limit);

}  // namespace dunlin::bench
