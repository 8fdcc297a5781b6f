#include "storage/embedded/log/kept_log.h"

#include <algorithm>

namespace dunlin::embedded {

void KeptLog::add(KeptSegment segment) {
  MutexLock lock(mutex_);
  segments_.push_back(std::move(segment));
}

std::vector<std::string> KeptLog::take_passed(LogPosition passed) {
  std::vector<std::string> out;
  MutexLock lock(mutex_);
  while (!segments_.empty() && segments_.front().last <= passed) {
    for (auto& file : segments_.front().files) out.push_back(std::move(file));
    segments_.pop_front();
  }
  return out;
}

std::optional<LogPosition> KeptLog::excess(std::uint64_t bytes) const {
  MutexLock lock(mutex_);
  std::uint64_t sum = 0;
  for (auto segment = segments_.rbegin(); segment != segments_.rend(); ++segment) {
    sum += segment->files.size() * pool_.segment_bytes();
    if (sum > bytes) return segment->last;
  }
  return std::nullopt;
}

std::vector<std::string> KeptLog::files_above(LogPosition position) const {
  std::vector<std::string> out;
  MutexLock lock(mutex_);
  for (const auto& segment : segments_) {
    if (segment.last > position) out.insert(out.end(), segment.files.begin(), segment.files.end());
  }
  return out;
}

std::uint64_t KeptLog::bytes() const {
  MutexLock lock(mutex_);
  std::uint64_t sum = 0;
  for (const auto& segment : segments_) sum += segment.files.size() * pool_.segment_bytes();
  return sum;
}

bool KeptLog::covers(LogPosition after, LogPosition through) const {
  MutexLock lock(mutex_);
  for (const auto& segment : segments_) {
    if (segment.last <= after) continue;
    if (segment.first > after.next()) break;
    after = segment.last;
  }
  return after >= through;
}

std::optional<LogPosition> KeptLog::end_of(const std::string& file) const {
  MutexLock lock(mutex_);
  for (const auto& segment : segments_) {
    if (std::find(segment.files.begin(), segment.files.end(), file) != segment.files.end()) return segment.last;
  }
  return std::nullopt;
}

void KeptLog::changed(const std::string& file) {
  LoadedPtr stale;
  MutexLock lock(mutex_);
  ++changes_;
  if (loaded_ && loaded_->file == file) stale.swap(loaded_);
}

void KeptLog::cool() {
  LoadedPtr unused;
  MutexLock lock(mutex_);
  if (!used_) unused.swap(loaded_);
  used_ = false;
}

std::optional<KeptSegment> KeptLog::segment_behind(LogPosition after) const {
  MutexLock lock(mutex_);
  const auto found = std::upper_bound(segments_.begin(), segments_.end(), after,
                                      [](LogPosition p, const KeptSegment& segment) { return p < segment.last; });
  if (found == segments_.end() || found->first > after.next()) return std::nullopt;
  return *found;
}

KeptLog::LoadedPtr KeptLog::load(const KeptSegment& segment) {
  const std::string& name = segment.files.front();
  std::uint64_t changes = 0;
  {
    MutexLock lock(mutex_);
    used_ = true;
    changes = changes_;
    if (loaded_ && loaded_->file == name && loaded_->last == segment.last) return loaded_;
  }
  auto bytes = read_segment_file(fs_, pool_.path(name));
  if (!bytes.ok()) return nullptr;
  auto loaded = std::make_shared<Loaded>();
  loaded->file = name;
  loaded->last = segment.last;
  loaded->bytes = *std::move(bytes);
  loaded->index = index_segment(loaded->bytes, secret_);
  MutexLock lock(mutex_);
  if (changes == changes_) loaded_ = loaded;  // else it may be of before
  return loaded;
}

std::optional<FeedPage> KeptLog::read(LogPosition after, std::size_t max_messages) {
  const auto segment = segment_behind(after);
  if (!segment) return std::nullopt;
  const LoadedPtr loaded = load(*segment);
  if (!loaded) return std::nullopt;
  FeedPage page;
  page.next = after;
  const auto& batches = loaded->index.batches;
  auto batch = std::upper_bound(batches.begin(), batches.end(), after, [](LogPosition p, const BatchHead& b) { return p < b.last(); });
  while (batch != batches.end() && add_batch(*loaded, *batch, segment->last, max_messages, page)) ++batch;
  if (page.next == after) return std::nullopt;
  return page;
}

// False: the page ends here, at its limit, at the segment's end or at something that cannot be read.
bool KeptLog::add_batch(const Loaded& from, const BatchHead& batch, LogPosition last, std::size_t max_messages, FeedPage& page) const {
  if (batch.first > page.next.next()) return false;
  std::uint32_t at = batch.place.offset + batch_records_offset(batch.count);
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    const LogPosition position(batch.first.value() + i);
    const std::uint32_t bytes = decode_table_row(from.bytes, batch, i).bytes;
    const std::uint32_t begin = at;
    at += bytes;
    if (position <= page.next) continue;
    if (position > last || page.messages.size() >= max_messages) return false;
    DecodedRecord record = decode_record(from.bytes, {batch.place.generation, begin}, at, secret_);
    const bool skipped = record.head_ok && record.body_ok && !record.known;  // of a type that is no message
    if (!skipped && (!record.message || record.position != position)) return false;
    page.next = position;
    if (record.message) page.messages.push_back(std::move(record.message));
  }
  return true;
}

}  // namespace dunlin::embedded
