#include <rocksdb/db.h>

#include <algorithm>

#include "base/log.h"
#include "storage/embedded/history/rocks_history.h"

namespace dunlin::embedded {
namespace {

constexpr std::chrono::hours kDedupLife{24};
constexpr std::chrono::milliseconds kClockTolerance = std::chrono::hours(1);

bool expired(const SpanRow& span, WallTime now, std::chrono::milliseconds life) {
  return from_ms(static_cast<std::int64_t>(span.last_time_ms)) + life < now;
}

}  // namespace

Status RocksHistory::retain(WallTime now) {
  TRY(prepare_write());
  for (auto& column : std::exchange(spare_, {})) drop_column(column);
  if (!clock_trusted(now)) return {};
  if (const std::size_t count = volumes_to_drop(*catalog(), now); count > 0) TRY(drop_volumes(count));
  return drop_generations(now);
}

// A wall clock that jumps must not expire anything: what it says is believed only while it moves as the monotonic clock does and is not
// behind the newest record.
bool RocksHistory::clock_trusted(WallTime now) {
  const auto by_monotonic = opened_wall_ + std::chrono::duration_cast<Milliseconds>(options_.clock->monotonic() - opened_monotonic_);
  const auto newest = from_ms(static_cast<std::int64_t>(catalog()->newest.newest_time_ms));
  const bool trusted = std::chrono::abs(now - by_monotonic) <= kClockTolerance && now + kClockTolerance >= newest;
  if (!trusted && !clock_alarm_) {
    log_warn(
        "history",
        "the wall clock has moved by more than an hour; retention and dedup expiry wait until it is right again or the server restarts",
        {{"now_ms", to_ms(now)}, {"expected_ms", to_ms(by_monotonic)}, {"newest_record_ms", to_ms(newest)}});
  }
  clock_alarm_ = !trusted;
  return trusted;
}

std::size_t RocksHistory::volumes_to_drop(const Catalog& catalog, WallTime now) const {
  std::size_t count = 0;
  if (options_.retention.count() > 0) {
    while (count < catalog.volumes.size() && expired(catalog.volumes[count].span, now, options_.retention)) ++count;
  }
  if (options_.retention_bytes == 0) return count;
  std::uint64_t bytes = 0;
  for (std::size_t kept = catalog.volumes.size(); kept > count; --kept) {
    const Volume& volume = catalog.volumes[kept - 1];
    bytes += volume.timeline->file_bytes() + volume.activity->file_bytes();
    if (bytes > options_.retention_bytes) return std::min(kept, catalog.volumes.size() - 1);  // the newest stays
  }
  return count;
}

// The watermark is durable before anything goes, so that a crash in between never shows a hole: readers behind it get `truncated`.
Status RocksHistory::drop_volumes(std::size_t count) {
  Catalog next = *catalog();
  std::vector<Volume> dropped(next.volumes.begin(), next.volumes.begin() + static_cast<std::ptrdiff_t>(count));
  next.volumes.erase(next.volumes.begin(), next.volumes.begin() + static_cast<std::ptrdiff_t>(count));
  next.watermark = std::max(next.watermark, dropped.back().span.last);
  std::vector<MetaRow> rows{{watermark_key(), encode_watermark(next.watermark)}};
  for (const auto& volume : dropped) rows.push_back({volume_key(volume.number), std::nullopt});
  TRY(ingest_meta(next, std::move(rows)));
  fault_point("watermark");
  log_info("history", "retention drops volumes", {{"volumes", count}, {"trimmed_through", next.watermark.value()}});
  publish(std::move(next));
  for (auto& volume : dropped) {
    drop_column(volume.timeline);
    fault_point("drop");
    drop_column(volume.activity);
  }
  return {};
}

Status RocksHistory::drop_generations(WallTime now) {
  Catalog next = *catalog();
  std::vector<Generation> dropped;
  while (!next.generations.empty() && expired(next.generations.front().span, now, kDedupLife)) {
    dropped.push_back(std::move(next.generations.front()));
    next.generations.erase(next.generations.begin());
  }
  if (dropped.empty()) return {};
  std::vector<MetaRow> rows;
  for (const auto& generation : dropped) rows.push_back({generation_key(generation.number), std::nullopt});
  TRY(ingest_meta(next, std::move(rows)));
  publish(std::move(next));
  for (auto& generation : dropped) drop_column(generation.dedup);
  return {};
}

// Reads that hold the family go on; its files go away with the last of them.
void RocksHistory::drop_column(ColumnPtr& column) {
  const rocksdb::Status status = db_->DropColumnFamily(column->handle());
  if (!status.ok()) {
    log_warn("history", "a family could not be dropped; it is tried again", {{"family", column->name()}, {"error", status.ToString()}});
    spare_.push_back(std::move(column));
  }
  column.reset();
}

}  // namespace dunlin::embedded
