#include "storage/embedded/log/segment_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace dunlin::embedded {

void SegmentPool::know(const std::string& name) {
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
  spares_.push_back(name);
}

void SegmentPool::give_dirty(const std::string& name) {
  MutexLock lock(mutex_);
  dirty_.push_back(name);
  dirty_count_.fetch_add(1, std::memory_order_release);
}

Result<SegmentSlot> SegmentPool::take() {
  std::string name;
  {
    MutexLock lock(mutex_);
    if (!spares_.empty()) {
      name = spares_.back();
      spares_.pop_back();
    }
  }
  if (name.empty()) {
    TRY_ASSIGN(name, new_file(true));
  }
  auto file = fs_.open(path(name), OpenMode::Write);
  if (!file.ok()) {
    // Too many open files, say: it is as good as it was, unless it is gone.
    const auto names = fs_.list(folder_);
    if (!names.ok() || std::find(names->begin(), names->end(), name) != names->end()) {
      MutexLock lock(mutex_);
      spares_.insert(spares_.begin(), name);
    }
    return std::move(file).error();
  }
  return SegmentSlot{std::move(name), *std::move(file)};
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
      TRY(fs_.remove(path(name)));
      TRY(fs_.sync_folder(folder_));
    }
    MutexLock lock(mutex_);
    std::erase(dirty_, name);
    if (good) spares_.push_back(name);
    dirty_count_.fetch_sub(1, std::memory_order_release);
  }
  while (true) {
    std::string extra;
    {
      MutexLock lock(mutex_);
      if (spares_.size() == kSpares) return {};
      if (spares_.size() > kSpares) {
        extra = spares_.front();
        spares_.erase(spares_.begin());
      }
    }
    if (!extra.empty()) {
      TRY(fs_.remove(path(extra)));
      TRY(fs_.sync_folder(folder_));
      continue;
    }
    TRY_ASSIGN(std::string name, new_file(true));
    MutexLock lock(mutex_);
    spares_.push_back(std::move(name));
  }
}

Status SegmentPool::make_first() {
  {
    MutexLock lock(mutex_);
    if (!spares_.empty()) return {};
  }
  TRY_ASSIGN(std::string name, new_file(false));
  MutexLock lock(mutex_);
  spares_.push_back(std::move(name));
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
