#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/clock.h"
#include "base/ids.h"
#include "base/thread_annotations.h"
#include "session/session_options.h"

namespace dunlin {

// One token bucket a user, shared by all connections of that user on all workers, so that five connections get the same total as one. For
// example, with 100 a second and a burst of 200: who was silent for two seconds may send 200 at once, and then one each 10 ms.
// Each bucket is one number: the time at which it will be full again (GCRA, ITU-T I.371: the theoretical arrival time). Users whose bucket
// is full are forgotten, so the memory is bounded by who has sent within the time of one burst. Owner: the server. Any thread (striped
// locks, held for one look-up).
class UserRate {
 public:
  struct Verdict {
    bool allowed = true;
    Milliseconds retry_after{0};
  };

  // Takes one token of `user`. Does not look at rule.mode.
  Verdict take(std::string_view user, MonotonicTime now, const UserRateRule& rule);
  std::size_t tracked_users() const;

 private:
  using Nanos = std::int64_t;
  struct ViewHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
  };
  struct Stripe {
    mutable Mutex mutex;
    std::unordered_map<std::string, Nanos, ViewHash, std::equal_to<>> full_at GUARDED_BY(mutex);
    std::size_t sweep_at GUARDED_BY(mutex) = kSweepFloor;
  };
  static constexpr std::size_t kStripes = 64;
  static constexpr std::size_t kSweepFloor = 256;

  static void sweep(Stripe& stripe, Nanos now) REQUIRES(stripe.mutex);

  std::array<Stripe, kStripes> stripes_;
};

}  // namespace dunlin
