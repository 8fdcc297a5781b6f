#pragma once

#include <algorithm>
#include <cstdint>
#include <random>

#include "base/clock.h"

namespace dunlin::client {

// Pauses between attempts to connect: "full jitter", a random time up to a bound that doubles. Clients that lost one server at the same
// moment come back spread out. One owner, one thread.
class Backoff {
 public:
  explicit Backoff(std::uint64_t seed, Milliseconds first = Milliseconds(500), Milliseconds most = Milliseconds(30'000))
      : first_(first), most_(most), random_(seed) {}

  Milliseconds next() {
    const Milliseconds bound = std::min(most_, first_ * (std::int64_t{1} << std::min(attempts_, 20)));
    ++attempts_;
    return Milliseconds(std::uniform_int_distribution<std::int64_t>(0, bound.count())(random_));
  }
  // After a connection that worked.
  void reset() { attempts_ = 0; }

 private:
  Milliseconds first_;
  Milliseconds most_;
  int attempts_ = 0;
  std::mt19937_64 random_;
};

}  // namespace dunlin::client
