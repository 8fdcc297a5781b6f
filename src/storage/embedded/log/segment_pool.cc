#include "storage/embedded/log/segment_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace dunlin::embedded {

void SegmentPool::know(const std::string& name) {
  {
    MutexLock lock(mutex_);
    all_.insert(name);
  }
  const auto dash = name.find('-');
  if (dash == std::string::npos) return;
  std::uint64_t number = 0;
  std::from_chars(name.data() + dash + 1, name.data() + name.size(), number, 16);
  MutexLock lock(mutex_);
  last_number_ = std::max(last_number_, number);
}

void SegmentPool::give(const std::string& name, bool full_size) {
  if (!full_size) return give_dirty(name);
  MutexLock lock(mutex_);
  if (noted_.contains(name)) {
    freed_.push_back(name);
  } else {
    spares_.push_back({name, false});
  }
}

void SegmentPool::give_dirty(const std::string& name) {
  MutexLock lock(mutex_);
  dirty_.push_back(name);
  dirty_count_.fetch_add(1, std::memory_order_release);
}

Result<SegmentSlot> SegmentPool::take() {
  Spare taken;
  {
    MutexLock lock(mutex_);
    if (!spares_.empty()) {
      auto best = std::find_if(spares_.rbegin(), spares_.rend(), [](const Spare& spare) { return spare.blank; });
      if (best == spares_.rend()) best = spares_.rbegin();
      taken = *best;
      spares_.erase(std::next(best).base());
    }
  }
  if (taken.name.empty()) {
    TRY_ASSIGN(taken.name, new_file(true));
    taken.blank = true;
  }
  auto file = fs_.open(path(taken.name), OpenMode::Write);
  if (!file.ok()) {
    // Too many open files, say: it is as good as it was, unless it is gone.
    const auto names = fs_.list(folder_);
    const bool there = !names.ok() || std::find(names->begin(), names->end(), taken.name) != names->end();
    MutexLock lock(mutex_);
    if (there) {
      spares_.insert(spares_.begin(), std::move(taken));
    } else {
      all_.erase(taken.name);
      noted_.erase(taken.name);
    }
    return std::move(file).error();
  }
  return SegmentSlot{std::move(taken.name), *std::move(file)};
}

Status SegmentPool::maintain() {
  while (true) {
    std::string name;
    {
      MutexLock lock(mutex_);
      if (dirty_.empty()) break;
      name = dirty_.back();
    }
    const bool good = fill(name, true).ok();
    if (!good) {
      // A bad sector, say: without the file its void content is gone as well.
      TRY(remove(name));
    }
    MutexLock lock(mutex_);
    std::erase(dirty_, name);
    if (good) {
      noted_.erase(name);
      spares_.push_back({name, true});
    }
    dirty_count_.fetch_sub(1, std::memory_order_release);
  }
  TRY(maintain_freed());
  while (true) {
    std::string extra;
    {
      MutexLock lock(mutex_);
      if (spares_.size() == kSpares) return {};
      if (spares_.size() > kSpares) {
        extra = spares_.front().name;
        spares_.erase(spares_.begin());
      }
    }
    if (!extra.empty()) {
      TRY(remove(extra));
      continue;
    }
    TRY_ASSIGN(std::string name, new_file(true));
    MutexLock lock(mutex_);
    spares_.push_back({std::move(name), true});
  }
}

// Those that are not needed as spares are removed, which costs less than writing them.
Status SegmentPool::maintain_freed() {
  while (true) {
    std::string name;
    bool needed = false;
    {
      MutexLock lock(mutex_);
      if (freed_.empty()) return {};
      name = freed_.back();
      needed = spares_.size() < kSpares;
    }
    const bool good = needed && fill(name, true).ok();
    if (!good) TRY(remove(name));
    MutexLock lock(mutex_);
    std::erase(freed_, name);
    if (!good) continue;
    noted_.erase(name);
    spares_.push_back({name, true});
  }
}

Status SegmentPool::remove(const std::string& name) {
  TRY(fs_.remove(path(name)));
  TRY(fs_.sync_folder(folder_));
  MutexLock lock(mutex_);
  all_.erase(name);
  noted_.erase(name);
  return {};
}

Result<bool> SegmentPool::blank_one() {
  std::string name;
  {
    MutexLock lock(mutex_);
    const auto stale = std::find_if(spares_.begin(), spares_.end(), [](const Spare& spare) { return !spare.blank; });
    if (stale == spares_.end()) return false;
    name = stale->name;
    spares_.erase(stale);
  }
  // One that fails is as good a spare as it was, unless it was cut short: then it is tried again before it is used.
  if (auto filled = fill(name, true); !filled.ok()) {
    give_dirty(name);
    return std::move(filled).error();
  }
  MutexLock lock(mutex_);
  noted_.erase(name);
  spares_.push_back({name, true});
  return true;
}

bool SegmentPool::note_all() {
  MutexLock lock(mutex_);
  if (std::any_of(spares_.begin(), spares_.end(), [](const Spare& spare) { return !spare.blank; })) return false;
  noted_ = all_;
  for (const Spare& spare : spares_) noted_.erase(spare.name);
  return true;
}

std::vector<std::string> SegmentPool::noted() const {
  MutexLock lock(mutex_);
  return {noted_.begin(), noted_.end()};
}

void SegmentPool::strike(const std::string& name) {
  MutexLock lock(mutex_);
  noted_.erase(name);
}

Status SegmentPool::make_first() {
  {
    MutexLock lock(mutex_);
    if (!spares_.empty()) return {};
  }
  TRY_ASSIGN(std::string name, new_file(false));
  MutexLock lock(mutex_);
  spares_.push_back({std::move(name), true});
  return {};
}

Result<std::string> SegmentPool::new_file(bool durable) {
  std::string name;
  {
    MutexLock lock(mutex_);
    name = fmt::format("p0-{:08x}.seg", ++last_number_);
  }
  if (auto filled = fill(name, durable); !filled.ok()) {
    ignore(fs_.remove(path(name)));  // a part of a segment is of no use, and the disk may be full
    return std::move(filled).error();
  }
  MutexLock lock(mutex_);
  all_.insert(name);
  return name;
}

Status SegmentPool::fill(const std::string& name, bool durable) {
  // Zeros are really written, not allocated: overwriting written blocks needs no metadata at sync (measured twice as fast).
  constexpr std::size_t kChunk = 1 << 20;
  const std::string zeros(std::min<std::uint64_t>(kChunk, segment_bytes_), '\0');
  TRY_ASSIGN(const auto file, fs_.open(path(name), OpenMode::Create));
  TRY(file->truncate(segment_bytes_));
  for (std::uint64_t at = 0; at < segment_bytes_; at += zeros.size()) {
    TRY(file->write(at, std::string_view(zeros).substr(0, std::min<std::uint64_t>(zeros.size(), segment_bytes_ - at))));
  }
  if (durable) TRY(file->sync_data());
  return fs_.sync_folder(folder_);
}

}  // namespace dunlin::embedded
