#include "client/backoff.h"

#include <gtest/gtest.h>

namespace dunlin::client {
namespace {

TEST(Backoff, PausesAreSpreadBelowABoundThatDoublesUpToTheMost) {
  Milliseconds largest[8] = {};
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    Backoff backoff(seed, Milliseconds(100), Milliseconds(1000));
    for (int attempt = 0; attempt < 8; ++attempt) {
      const Milliseconds pause = backoff.next();
      EXPECT_GE(pause.count(), 0);
      EXPECT_LE(pause, std::min(Milliseconds(100 << attempt), Milliseconds(1000)));
      largest[attempt] = std::max(largest[attempt], pause);
    }
  }
  EXPECT_GT(largest[0], Milliseconds(80));
  EXPECT_GT(largest[7], Milliseconds(900));
}

TEST(Backoff, ResetBeginsAgainAtTheFirstBound) {
  Backoff backoff(7, Milliseconds(10), Milliseconds(100'000));
  for (int i = 0; i < 100; ++i) backoff.next();  // far beyond where shifting would overflow
  backoff.reset();
  EXPECT_LE(backoff.next(), Milliseconds(10));
}

}  // namespace
}  // namespace dunlin::client
