#include "storage/embedded/log/log_wipe.h"

#include <algorithm>

#include "base/log.h"
#include "storage/embedded/log/log_chain.h"

namespace dunlin::embedded {
namespace {

constexpr std::chrono::milliseconds kAgainAfter{1000};

// Writes zeros where the file holds something else in [from, to).
Status clear(File& file, std::string_view bytes, std::uint32_t from, std::uint32_t to) {
  constexpr std::uint32_t kPiece = 64 << 10;
  static const std::string zeros(kPiece, '\0');
  for (std::uint32_t at = from; at < to; at += kPiece) {
    const std::uint32_t size = std::min(kPiece, to - at);
    if (bytes.substr(at, size).find_first_not_of('\0') == std::string_view::npos) continue;
    TRY(file.write(at, std::string_view(zeros).substr(0, size)));
  }
  return {};
}

// Erases the recalled ones among the batch's records.
Status erase(File& file, std::string_view bytes, const BatchHead& batch, const std::vector<RecallRow>& recalled, std::uint32_t secret) {
  std::uint32_t at = batch.place.offset + batch_records_offset(batch.count);
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    const TableRow row = decode_table_row(bytes, batch, i);
    const LogPosition position(batch.first.value() + i);
    const auto found = std::ranges::lower_bound(recalled, position, {}, &RecallRow::position);
    if (found != recalled.end() && found->position == position && found->conversation_number == row.conversation_number &&
        found->seq == row.seq) {
      std::string record(bytes.substr(at, row.bytes));
      erase_record(record, {batch.place.generation, at}, secret);
      TRY(file.write(at, record));
    }
    at += row.bytes;
  }
  return {};
}

}  // namespace

bool LogWipe::step(bool held) {
  if (!open_) return begin();
  const auto noted = pool_.noted();
  if (noted.empty()) {
    open_ = alarm_ = false;
    recalls_.end_round();
    return false;
  }
  for (const std::string& name : noted) {
    const auto end = kept_.end_of(name);
    if (!end || held) continue;  // its time comes: it is on its way into history, or free and not written anew yet
    Status done;
    if (!wiped_before(name, *end)) done = wipe(name, *end);
    report(done, "a kept segment");
    if (!done.ok()) continue;
    pool_.strike(name);
    return true;
  }
  return false;
}

bool LogWipe::begin() {
  const MonotonicTime now = options_.clock->monotonic();
  if (now < next_ || !recalls_.any_in_log()) return false;
  next_ = now + kAgainAfter;  // should it fail
  const auto blanked = pool_.blank_one();
  report(blanked.ok() ? Status() : Status(blanked.error()), "a spare");
  if (!blanked.ok()) return false;
  if (*blanked) {
    next_ = now;
    return true;
  }
  recalls_.begin_round();
  Status sealed;
  const Status ran = options_.between_batches([&] {
    sealed = options_.seal();
    if (sealed.ok()) open_ = pool_.note_all();
  });
  if (!ran.ok() || !open_) return false;
  next_ = now + options_.every;
  std::erase_if(wiped_, [&](const auto& one) { return kept_.end_of(one.first) != one.second.end; });
  return true;
}

bool LogWipe::wiped_before(const std::string& name, LogPosition end) const {
  const auto found = wiped_.find(name);
  if (found == wiped_.end() || found->second.end != end) return false;
  const auto waiting = recalls_.all();
  const auto inside = std::ranges::lower_bound(waiting, found->second.first, {}, &RecallRow::position);
  return inside == waiting.end() || inside->position > found->second.last;
}

Status LogWipe::wipe(const std::string& name, LogPosition end) {
  TRY_ASSIGN(const std::string bytes, read_segment_file(fs_, pool_.path(name)));
  TRY_ASSIGN(const auto file, fs_.open(pool_.path(name), OpenMode::Write));
  const SegmentIndex index = index_segment(bytes, options_.secret);
  const auto recalled = recalls_.all();
  Wiped wiped{end, LogPosition(UINT64_MAX), LogPosition(0)};
  std::uint32_t at = 0;
  for (const BatchHead& batch : index.batches) {
    TRY(clear(*file, bytes, at, batch.place.offset));
    TRY(erase(*file, bytes, batch, recalled, options_.secret));
    at = batch.end();
    if (batch.count == 0) continue;
    wiped.first = std::min(wiped.first, batch.first);
    wiped.last = std::max(wiped.last, batch.last());
  }
  TRY(clear(*file, bytes, at, static_cast<std::uint32_t>(bytes.size())));
  TRY(file->sync_data());
  kept_.changed(name);
  wiped_[name] = wiped;
  return {};
}

void LogWipe::report(const Status& done, std::string_view what) {
  if (!done.ok() && !alarm_) {
    log_warn("store", "recalled content cannot leave the log; tried again", {{"at", what}, {"error", done.error().to_string()}});
  }
  alarm_ = !done.ok();
}

}  // namespace dunlin::embedded
