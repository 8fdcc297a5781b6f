#include "session/user_rate.h"

#include <algorithm>

namespace dunlin {

UserRate::Verdict UserRate::take(std::string_view user, MonotonicTime now, const UserRateRule& rule) {
  if (rule.per_second == 0) return {};
  const Nanos at = std::chrono::duration_cast<std::chrono::nanoseconds>(now.time_since_epoch()).count();
  const Nanos step = 1'000'000'000 / static_cast<Nanos>(rule.per_second);
  const Nanos tolerance = step * static_cast<Nanos>(std::max<std::uint32_t>(rule.burst, 1));

  Stripe& stripe = stripes_[ViewHash{}(user) % kStripes];
  MutexLock lock(stripe.mutex);
  auto found = stripe.full_at.find(user);
  const Nanos full_at = found == stripe.full_at.end() ? at : std::max(found->second, at);
  const Nanos next = full_at + step;
  if (next - at > tolerance) {
    const Nanos wait = next - at - tolerance;
    return {.allowed = false, .retry_after = Milliseconds(wait / 1'000'000 + 1)};
  }
  if (found != stripe.full_at.end()) {
    found->second = next;
    return {};
  }
  if (stripe.full_at.size() >= stripe.sweep_at) sweep(stripe, at);
  stripe.full_at.emplace(user, next);
  return {};
}

void UserRate::sweep(Stripe& stripe, Nanos now) {
  std::erase_if(stripe.full_at, [now](const auto& entry) { return entry.second <= now; });
  // Amortised: the next sweep comes when as many users again have been added.
  stripe.sweep_at = std::max(kSweepFloor, stripe.full_at.size() * 2);
}

std::size_t UserRate::tracked_users() const {
  std::size_t count = 0;
  for (const Stripe& stripe : stripes_) {
    MutexLock lock(stripe.mutex);
    count += stripe.full_at.size();
  }
  return count;
}

}  // namespace dunlin
