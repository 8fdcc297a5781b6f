#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "storage/embedded/history/history.h"

namespace dunlin::embedded {

// Where a dedup entry of the window stands: the part's number and the index in it, or an item of the batch that is being made.
struct DedupPlace {
  static constexpr std::uint32_t kBatch = UINT32_MAX;
  std::uint32_t part = 0;
  std::uint32_t index = 0;
};

// Which dedup keys the window holds: open addressing over 16-byte slots of (half of the key, place). The caller compares the whole key
// at the place. Keys are keyed hashes, so their bits need no mixing. One thread (the committer's).
class DedupIndex {
 public:
  // Calls `same(place)` for each slot whose half of the key matches, until it returns true.
  template <class Same>
  bool find(const DedupKey& key, Same same) const {
    if (slots_.empty()) return false;
    for (std::size_t i = home(key.low);; i = next(i)) {
      const Slot& slot = slots_[i];
      if (slot.place.part == kFree) return false;
      if (slot.low == key.low && same(slot.place)) return true;
    }
  }

  // Call before a batch: until the next call, insert() moves nothing, so that the slot numbers it returns stay good.
  void reserve(std::size_t more) {
    if ((used_ + more) * 2 <= slots_.size()) return;
    std::size_t size = slots_.empty() ? 1024 : slots_.size();
    while ((used_ + more) * 2 > size) size *= 2;
    std::vector<Slot> old(size);
    old.swap(slots_);
    bytes_.store(size * sizeof(Slot), std::memory_order_relaxed);
    for (const Slot& slot : old) {
      if (slot.place.part != kFree) slots_[free_slot(slot.low)] = slot;
    }
  }

  std::size_t insert(const DedupKey& key, DedupPlace place) {
    const std::size_t slot = free_slot(key.low);
    slots_[slot] = {key.low, place};
    ++used_;
    return slot;
  }
  void move(std::size_t slot, DedupPlace place) { slots_[slot].place = place; }

  // Forgets the entry of `key` at `place`. Closes the hole, so that no tombstones gather.
  void erase(const DedupKey& key, DedupPlace place) {
    if (slots_.empty()) return;
    std::size_t hole = home(key.low);
    while (slots_[hole].place.part != place.part || slots_[hole].place.index != place.index) {
      if (slots_[hole].place.part == kFree) return;
      hole = next(hole);
    }
    --used_;
    for (std::size_t i = next(hole); slots_[i].place.part != kFree; i = next(i)) {
      const std::size_t want = home(slots_[i].low);
      const bool stays = hole < i ? (want > hole && want <= i) : (want > hole || want <= i);
      if (stays) continue;
      slots_[hole] = slots_[i];
      hole = i;
    }
    slots_[hole].place.part = kFree;
  }

  std::size_t size() const { return used_; }
  std::size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }  // any thread

 private:
  static constexpr std::uint32_t kFree = UINT32_MAX - 1;
  struct Slot {
    std::uint64_t low = 0;
    DedupPlace place{kFree, 0};
  };

  std::size_t home(std::uint64_t low) const { return static_cast<std::size_t>(low) & (slots_.size() - 1); }
  std::size_t next(std::size_t i) const { return (i + 1) & (slots_.size() - 1); }
  std::size_t free_slot(std::uint64_t low) const {
    std::size_t i = home(low);
    while (slots_[i].place.part != kFree) i = next(i);
    return i;
  }

  std::vector<Slot> slots_;
  std::size_t used_ = 0;
  std::atomic<std::size_t> bytes_{0};
};

}  // namespace dunlin::embedded
