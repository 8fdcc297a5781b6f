#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "net/connection_handle.h"
#include "wire/envelope.h"

namespace dunlin {

// The sends of one worker that the store has not answered yet: who asked, under which request id, since when. An append carries the index
// of its entry here (ReplyAddress::request), and its answer brings it back: so an idle session keeps nothing and a busy one allocates
// nothing. Worker-bound. Bounded by the sessions' max_pending_sends; every entry ends, because the store answers every append exactly once.
class PendingSends {
 public:
  struct Entry {
    ConnectionHandle connection;
    std::optional<wire::RequestId> request;  // nothing: the client wants no reply
    MonotonicTime started;
  };

  std::uint64_t add(const Entry& entry) {
    if (free_ == kNone) {
      slots_.push_back({entry, kTaken});
      ++count_;
      return slots_.size() - 1;
    }
    const std::uint32_t index = free_;
    free_ = slots_[index].next_free;
    slots_[index] = {entry, kTaken};
    ++count_;
    return index;
  }

  Entry take(std::uint64_t index) {
    CHECK(index < slots_.size() && slots_[index].next_free == kTaken);
    Slot& slot = slots_[index];
    slot.next_free = free_;
    free_ = static_cast<std::uint32_t>(index);
    --count_;
    return slot.entry;
  }

  std::size_t count() const { return count_; }

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;
  static constexpr std::uint32_t kTaken = UINT32_MAX - 1;
  struct Slot {
    Entry entry;
    std::uint32_t next_free;
  };

  std::vector<Slot> slots_;
  std::uint32_t free_ = kNone;
  std::size_t count_ = 0;
};

}  // namespace dunlin
