#pragma once

#include <cstdio>
#include <cstdlib>

namespace dunlin {

[[noreturn]] inline void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "bug: CHECK(%s) failed at %s:%d\n", condition, file, line);
  std::abort();
}

}  // namespace dunlin

// For bugs of ours only, on in every build. What a user, a disk or a peer can cause never reaches a CHECK: that is a Result.
#define CHECK(condition)                                      \
  do {                                                        \
    if (!(condition)) [[unlikely]]                            \
      ::dunlin::check_failed(#condition, __FILE__, __LINE__); \
  } while (false)
