#include "messaging/delivery/device_turns.h"

#include <optional>

namespace dunlin {

Completion<DeviceTurns::Turn> DeviceTurns::take(const UserId& user) {
  auto [completer, completion] = make_completion<Turn>();
  Stripe& there = stripe(user.str());
  {
    const MutexLock lock(there.mutex);
    const auto [entry, free] = there.waiting.try_emplace(user.str());
    if (!free) {
      entry->second.push_back(std::move(completer));
      return std::move(completion);
    }
  }
  completer.complete(Turn(*this, user.str()));
  return std::move(completion);
}

// One whose waiter is gone gets its turn too, and ends it at once.
void DeviceTurns::end(const std::string& user) {
  std::optional<Completer<Turn>> next;
  Stripe& there = stripe(user);
  {
    const MutexLock lock(there.mutex);
    const auto entry = there.waiting.find(user);
    if (entry->second.empty()) {
      there.waiting.erase(entry);
      return;
    }
    next = std::move(entry->second.front());
    entry->second.erase(entry->second.begin());
  }
  next->complete(Turn(*this, user));
}

std::size_t DeviceTurns::users() const {
  std::size_t sum = 0;
  for (const Stripe& one : stripes_) {
    const MutexLock lock(one.mutex);
    sum += one.waiting.size();
  }
  return sum;
}

}  // namespace dunlin
