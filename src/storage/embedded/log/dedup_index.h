#pragma once

#include <atomic>
#include <cstdint>

#include "base/open_table.h"
#include "storage/embedded/history/history.h"

namespace dunlin::embedded {

// Where a dedup entry of the window stands: the part's number and the index in it, or an item of the batch that is being made.
struct DedupPlace {
  static constexpr std::uint32_t kBatch = UINT32_MAX;
  std::uint32_t part = 0;
  std::uint32_t index = 0;
};

// Which dedup keys the window holds: half of the key and its place, 16 bytes. The caller compares the whole key at the place. Keys are
// keyed hashes, so their bits need no mixing. One thread (the committer's).
class DedupIndex {
 public:
  // Calls `same(place)` for each slot whose half of the key matches, until it returns true.
  template <class Same>
  bool find(const DedupKey& key, Same same) const {
    return table_.find(key.low, [&](const Slot& slot) { return same(slot.place); }) != nullptr;
  }

  // Call before a batch: until the next call, insert() moves nothing, so that the slot numbers it returns stay good.
  void reserve(std::size_t more) {
    table_.reserve(more);
    bytes_.store(table_.bytes(), std::memory_order_relaxed);
  }

  std::size_t insert(const DedupKey& key, DedupPlace place) { return table_.index(table_.add({key.low, place})); }
  void move(std::size_t slot, DedupPlace place) { table_.slot(slot).place = place; }

  // Forgets the entry of `key` at `place`.
  void erase(const DedupKey& key, DedupPlace place) {
    Slot* const found =
        table_.find(key.low, [&](const Slot& slot) { return slot.place.part == place.part && slot.place.index == place.index; });
    if (found != nullptr) table_.erase(*found);
  }

  std::size_t size() const { return table_.size(); }
  std::size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }  // any thread

 private:
  static constexpr std::uint32_t kFree = UINT32_MAX - 1;
  struct Slot {
    std::uint64_t low = 0;
    DedupPlace place{kFree, 0};
  };
  struct Rule {
    static bool free(const Slot& slot) { return slot.place.part == kFree; }
    static std::size_t hash(const Slot& slot) { return static_cast<std::size_t>(slot.low); }
    static constexpr std::size_t kFirst = 1024;
    static constexpr std::size_t kLoad = 4;
  };

  OpenTable<Slot, Rule> table_;
  std::atomic<std::size_t> bytes_{0};
};

}  // namespace dunlin::embedded
