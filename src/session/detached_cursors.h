#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/thread_annotations.h"
#include "messaging/ports/device_states.h"

namespace dunlin {

// Where devices were when their sessions ended, until the state store has confirmed it. For example: a phone has acked seq 7, loses its
// network and is back in 20 ms, on another worker. Its row in the store may still say 5; here it finds 7 and gets nothing twice.
// Shared by all workers; any thread; one mutex, a leaf. Bound: kMax devices; beyond it a device may see a repeat, never a loss.
class DetachedCursors {
 public:
  static constexpr std::size_t kMax = 100'000;

  // Gives the number by which this very entry is forgotten later; 0: not taken.
  std::uint64_t put(std::string_view user, std::string_view device, const DeviceCursor& cursor) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (entries_.size() >= kMax) return 0;
    entries_.insert_or_assign(key(user, device), Entry{++last_number_, cursor});
    return last_number_;
  }
  std::optional<DeviceCursor> find(std::string_view user, std::string_view device) const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (entries_.empty()) return std::nullopt;
    const auto found = entries_.find(key(user, device));
    return found == entries_.end() ? std::nullopt : std::optional(found->second.cursor);
  }
  std::map<DeviceId, DeviceCursor> of(std::string_view user) const EXCLUDES(mutex_) {
    std::map<DeviceId, DeviceCursor> out;
    const std::string first = key(user, {});
    MutexLock lock(mutex_);
    for (auto it = entries_.lower_bound(first); it != entries_.end() && it->first.starts_with(first); ++it) {
      out.emplace(std::string_view(it->first).substr(first.size()), it->second.cursor);
    }
    return out;
  }
  // The row is stored: a newer entry of the same device stays.
  void stored(std::string_view user, std::string_view device, std::uint64_t number) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    const auto found = entries_.find(key(user, device));
    if (found != entries_.end() && found->second.number <= number) entries_.erase(found);
  }
  // The device was forgotten, or is attached again and has its own cursor.
  void forget(std::string_view user, std::string_view device) EXCLUDES(mutex_) { stored(user, device, UINT64_MAX); }
  std::size_t size() const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return entries_.size();
  }

 private:
  struct Entry {
    std::uint64_t number;
    DeviceCursor cursor;
  };
  static std::string key(std::string_view user, std::string_view device) {
    std::string text(user);
    text += '\0';  // no id holds it
    text += device;
    return text;
  }

  mutable Mutex mutex_;
  std::map<std::string, Entry> entries_ GUARDED_BY(mutex_);
  std::uint64_t last_number_ GUARDED_BY(mutex_) = 0;
};

}  // namespace dunlin
