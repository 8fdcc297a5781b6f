#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace dunlin {

// Slots in one array, found by the hash that each has of its content: open addressing with linear probing. Erasing closes the hole, so that
// no tombstones gather and no probe grows longer than the load makes it (Knuth, The Art of Computer Programming 3, algorithm 6.4 R). For
// tables of millions of small entries, or of pointers, where a node each would cost more than the entry.
//
// Slots: default-constructed is free; movable. What tells them apart is the user's:
//   struct Rule {
//     static bool free(const Slot&);
//     static std::size_t hash(const Slot&);      // of one that is not free; its low bits choose the place, so they must be mixed
//     static constexpr std::size_t kFirst = 16;  // slots of the first allocation, a power of two; nothing is allocated before
//     static constexpr std::size_t kLoad = 7;    // eighths of the slots that may be taken, at most 7
//   };
// Pointers to slots, and indices, are good until the next add(), reserve() or erase(). Single-threaded.
template <class Slot, class Rule>
class OpenTable {
 public:
  // The slot with this hash for which `same(slot)` says yes; null when there is none.
  template <class Same>
  Slot* find(std::size_t hash, Same same) {
    if (slots_.empty()) return nullptr;
    for (std::size_t i = hash & mask(); !Rule::free(slots_[i]); i = (i + 1) & mask()) {
      if (Rule::hash(slots_[i]) == hash && same(slots_[i])) return &slots_[i];
    }
    return nullptr;
  }
  template <class Same>
  const Slot* find(std::size_t hash, Same same) const {
    return const_cast<OpenTable*>(this)->find(hash, same);
  }

  // Takes it, although there may be an equal one. May move all others, but not after reserve(1).
  Slot& add(Slot slot) {
    reserve(1);
    Slot& place = free_slot(Rule::hash(slot));
    place = std::move(slot);
    ++used_;
    return place;
  }

  // Room for so many more: until they are added, nothing moves.
  void reserve(std::size_t more) {
    std::size_t size = std::max(slots_.size(), Rule::kFirst);
    while ((used_ + more) * 8 > size * Rule::kLoad) size *= 2;
    if (size == slots_.size()) return;
    std::vector<Slot> old(size);
    old.swap(slots_);
    for (Slot& slot : old) {
      if (!Rule::free(slot)) free_slot(Rule::hash(slot)) = std::move(slot);
    }
  }

  // Those behind it that may stand in the hole move up.
  void erase(Slot& gone) {
    auto hole = static_cast<std::size_t>(&gone - slots_.data());
    for (std::size_t i = (hole + 1) & mask(); !Rule::free(slots_[i]); i = (i + 1) & mask()) {
      const std::size_t home = Rule::hash(slots_[i]) & mask();
      if (((i - home) & mask()) < ((i - hole) & mask())) continue;
      slots_[hole] = std::move(slots_[i]);
      hole = i;
    }
    slots_[hole] = Slot{};
    --used_;
  }

  std::size_t size() const { return used_; }
  std::size_t slot_count() const { return slots_.size(); }
  std::size_t bytes() const { return slots_.size() * sizeof(Slot); }  // NOLINT(bugprone-sizeof-expression): of pointers too
  // Any of them, the free ones too: i < slot_count().
  Slot& slot(std::size_t i) { return slots_[i]; }
  const Slot& slot(std::size_t i) const { return slots_[i]; }
  std::size_t index(const Slot& slot) const { return static_cast<std::size_t>(&slot - slots_.data()); }

 private:
  std::size_t mask() const { return slots_.size() - 1; }
  Slot& free_slot(std::size_t hash) {
    std::size_t i = hash & mask();
    while (!Rule::free(slots_[i])) i = (i + 1) & mask();
    return slots_[i];
  }

  std::vector<Slot> slots_;  // a power of two, never full
  std::size_t used_ = 0;
};

}  // namespace dunlin
