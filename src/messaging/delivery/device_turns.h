#pragma once

#include <array>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/thread_annotations.h"
#include "runtime/completion.h"

namespace dunlin {

// One at a time for each user, whatever the worker: who reads which devices a user has and then changes them (a device that connects, is
// forgotten or logs out) does it in his turn. So what was counted is still true when it is written.
//
// One for the server, outlives everyone who may hold a turn. Any thread; 16 stripes with a mutex each, a leaf. Turns are given in the order
// in which they were asked for. Bound: an entry for each user of whom a turn is held, and a place for each who waits: at most one for
// each connection that logs in or out. Who waits does so with a deadline; the turn that comes to a place that was given up ends at once.
class DeviceTurns {
 public:
  // Ends with its destruction; the next one's begins.
  class [[nodiscard]] Turn {
   public:
    Turn() = default;
    Turn(DeviceTurns& turns, std::string user) : turns_(&turns), user_(std::move(user)) {}
    Turn(Turn&& other) noexcept : turns_(std::exchange(other.turns_, nullptr)), user_(std::move(other.user_)) {}
    Turn& operator=(Turn&&) = delete;
    ~Turn() {
      if (turns_ != nullptr) turns_->end(user_);
    }

   private:
    DeviceTurns* turns_ = nullptr;
    std::string user_;
  };

  // Completes when the turn has come: mostly at once. Asked for now, also when it is awaited later.
  Completion<Turn> take(const UserId& user);
  std::size_t users() const;  // of whom a turn is held

 private:
  struct Stripe {
    mutable Mutex mutex;
    std::unordered_map<std::string, std::vector<Completer<Turn>>> waiting GUARDED_BY(mutex);
  };
  Stripe& stripe(const std::string& user) { return stripes_[std::hash<std::string>{}(user) % stripes_.size()]; }
  void end(const std::string& user);

  std::array<Stripe, 16> stripes_;
};

}  // namespace dunlin
