#include "storage/embedded/state/cursor_riders.h"

#include <algorithm>

#include "storage/embedded/history/bytes.h"
#include "storage/embedded/state/state_rows.h"

namespace dunlin::embedded {
namespace {

// Saved ones among those that wait are passed over, so many in one batch at most.
constexpr std::size_t kMaxPassed = 1024;

}  // namespace

std::uint64_t CursorRiders::next_order(std::size_t count) {
  const auto now = static_cast<std::uint64_t>(std::max<std::int64_t>(to_ms(clock_.wall()), 0)) * 1000;
  std::uint64_t last = last_order_.load(std::memory_order_relaxed);
  std::uint64_t first = 0;
  do {
    first = std::max(last + 1, now);
  } while (!last_order_.compare_exchange_weak(last, first + count, std::memory_order_relaxed));
  return first;
}

std::string CursorRiders::device_of(const DeviceStates::CursorWrite& write) {
  std::string device;
  device.reserve(write.user.view().size() + write.device.view().size() + 4);
  append_sized(device, write.user.view());
  append_sized(device, write.device.view());
  return device;
}

void CursorRiders::note(std::span<const DeviceStates::CursorWrite> writes) {
  std::uint64_t order = next_order(writes.size());
  while (!writes.empty()) {
    const auto slice = writes.first(std::min(writes.size(), kSlice));
    writes = writes.subspan(slice.size());
    std::vector<RidingCursor> noted;
    noted.reserve(slice.size());
    for (const DeviceStates::CursorWrite& write : slice) {
      RidingCursor one{device_of(write), encode_cursor(write.cursor, order), order};
      ++order;
      if (one.device.size() + one.row.size() <= kMaxBytes) noted.push_back(std::move(one));
    }
    MutexLock lock(mutex_);
    for (RidingCursor& one : noted) {
      const auto found = entries_.find(one.device);
      if (found == entries_.end() && entries_.size() >= kMax) continue;
      Entry& entry = found != entries_.end() ? found->second : entries_[one.device];
      if (one.order <= entry.order) continue;
      entry.order = one.order;
      entry.row = std::move(one.row);
      if (entry.waiting) continue;
      entry.waiting = true;
      waiting_.push_back(std::move(one.device));
    }
  }
}

void CursorRiders::take(LogPosition last, std::size_t budget, std::string& out) {
  if (!mutex_.try_lock()) return;
  // Positions that were taken back with a failed batch: what should have ridden there rides now.
  while (!ridden_.empty() && ridden_.back().first > last) {
    const auto found = entries_.find(ridden_.back().second);
    if (found != entries_.end() && found->second.rode == ridden_.back().first) {
      found->second.rode = LogPosition(0);
      if (!std::exchange(found->second.waiting, true)) waiting_.push_back(found->first);
    }
    ridden_.pop_back();
  }
  for (std::size_t passed = 0; !waiting_.empty() && passed < kMaxPassed;) {
    const auto found = entries_.find(waiting_.front());
    Entry& entry = found->second;
    if (entry.row.empty()) {
      entries_.erase(found);
      waiting_.pop_front();
      ++passed;
      continue;
    }
    if (out.size() + found->first.size() + entry.row.size() + 2 > budget) break;
    out += found->first;
    append_sized(out, entry.row);
    entry.waiting = false;
    entry.rode = last;
    ridden_.emplace_back(last, std::move(waiting_.front()));
    waiting_.pop_front();
  }
  mutex_.unlock();
}

// The cursor of that order is in the state. Where a newer one waits, only the copy in the log does not matter any more.
void CursorRiders::done(const std::string& device, std::uint64_t order, LogPosition rode) {
  const auto found = entries_.find(device);
  if (found == entries_.end()) return;
  Entry& entry = found->second;
  if (entry.order > order) {
    if (entry.rode <= rode) entry.rode = LogPosition(0);
    return;
  }
  entry.row.clear();
  entry.rode = LogPosition(0);
  if (!entry.waiting) entries_.erase(found);
}

void CursorRiders::saved(std::span<const DeviceStates::CursorWrite> writes, std::uint64_t order) {
  while (!writes.empty()) {
    const auto slice = writes.first(std::min(writes.size(), kSlice));
    writes = writes.subspan(slice.size());
    MutexLock lock(mutex_);
    if (entries_.empty()) return;
    for (const DeviceStates::CursorWrite& write : slice) done(device_of(write), order++, LogPosition(0));
  }
}

Result<std::size_t> CursorRiders::keep_through(LogPosition through, const Keep& keep) {
  std::size_t count = 0;
  while (true) {
    std::vector<RidingCursor> slice;
    std::vector<LogPosition> rode;
    {
      MutexLock lock(mutex_);
      for (std::size_t looked = 0; looked < kMaxPassed && !ridden_.empty() && ridden_.front().first <= through; ++looked) {
        const auto found = entries_.find(ridden_.front().second);
        if (found != entries_.end() && found->second.rode == ridden_.front().first) {
          slice.push_back({found->first, found->second.row, found->second.order});
          rode.push_back(found->second.rode);
        }
        ridden_.pop_front();
      }
      if (slice.empty() && (ridden_.empty() || ridden_.front().first > through)) return count;
    }
    if (slice.empty()) continue;
    Status kept = keep(slice);
    MutexLock lock(mutex_);
    for (std::size_t i = slice.size(); i-- > 0;) {
      if (kept.ok()) {
        done(slice[i].device, slice[i].order, rode[i]);
      } else {
        ridden_.emplace_front(rode[i], std::move(slice[i].device));
      }
    }
    if (!kept.ok()) return std::move(kept).error();
    count += slice.size();
  }
}

void CursorRiders::read_back(std::string_view bytes) {
  MutexLock lock(mutex_);
  while (!bytes.empty() && bytes.front() != '\0') {
    ByteReader reader(bytes);
    reader.sized();
    reader.sized();
    const std::string_view device = bytes.substr(0, bytes.size() - reader.rest().size());
    const std::string_view row = reader.sized();
    const auto order = cursor_order(row);
    if (!reader.ok() || !order) return;  // of a later version
    bytes = reader.rest();
    std::uint64_t last = last_order_.load(std::memory_order_relaxed);
    if (*order > last) last_order_.store(*order, std::memory_order_relaxed);
    Entry& entry = entries_[std::string(device)];
    if (*order <= entry.order) continue;
    entry.order = *order;
    entry.row = row;
  }
}

Result<std::size_t> CursorRiders::keep_read_back(const Keep& keep) {
  std::unordered_map<std::string, Entry> all;
  {
    MutexLock lock(mutex_);
    all.swap(entries_);
  }
  std::vector<RidingCursor> slice;
  for (auto& [device, entry] : all) {
    slice.push_back({device, std::move(entry.row), entry.order});
    if (slice.size() < kSlice) continue;
    TRY(keep(slice));
    slice.clear();
  }
  if (!slice.empty()) TRY(keep(slice));
  return all.size();
}

std::size_t CursorRiders::size() const {
  MutexLock lock(mutex_);
  return entries_.size();
}

}  // namespace dunlin::embedded
