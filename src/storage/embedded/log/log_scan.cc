#include "storage/embedded/log/log_scan.h"

#include <algorithm>

namespace dunlin::embedded {
namespace {

constexpr std::uint64_t kLargestSegment = 1ULL << 31;

bool is_segment_name(std::string_view name) {
  return name.size() > 4 && name.starts_with("p") && name.ends_with(".seg");
}

Result<std::string> read_whole(FileSystem& files, const std::string& path) {
  TRY_ASSIGN(const auto file, files.open(path, OpenMode::Read));
  TRY_ASSIGN(const std::uint64_t size, file->size());
  if (size > kLargestSegment) return Error(ErrorCode::Corrupt, path + " is larger than any segment");
  std::string bytes;
  if (file->read(0, size, bytes).ok()) return bytes;
  // A bad sector: what cannot be read is taken for zeros, and judged as damage like any other.
  constexpr std::uint64_t kStep = 4096;
  bytes.clear();
  std::string piece;
  for (std::uint64_t at = 0; at < size; at += kStep) {
    piece.clear();
    if (!file->read(at, std::min(kStep, size - at), piece).ok()) piece.clear();
    piece.resize(std::min(kStep, size - at), '\0');
    bytes += piece;
  }
  return bytes;
}

// One segment of the chain: the file and the part of it that counts.
struct Link {
  std::size_t file = 0;
  std::optional<std::uint32_t> end;  // where the next segment of the chain says it ends; the newest has none
  SegmentIndex index;
};

class Scan {
 public:
  Scan(FileSystem& files, const std::string& folder, std::uint32_t secret, LogPosition history, LogScanSink& sink)
      : fs_(files), folder_(folder), secret_(secret), history_(history), sink_(sink) {}

  Result<LogScan> run() {
    TRY(index_files());
    build_chain();
    for (const auto& link : chain_) find_mark(link);
    out_.synced = mark_;
    out_.last = history_;
    for (auto& link : chain_) {
      TRY(read_segment(link));
      if (ended_) break;
    }
    return std::move(out_);
  }

 private:
  Status index_files() {
    TRY_ASSIGN(const auto names, fs_.list(folder_));
    for (const auto& name : names) {
      if (!is_segment_name(name)) continue;
      TRY_ASSIGN(const std::string bytes, read_whole(fs_, folder_ + "/" + name));
      SegmentIndex index = index_segment(bytes, secret_);
      out_.last_generation = std::max(out_.last_generation, index.generation);
      SegmentFile file;
      file.name = name;
      file.bytes = bytes.size();
      file.generation = index.generation;
      out_.files.push_back(file);
      indexes_.push_back(std::move(index));
    }
    return {};
  }

  std::optional<std::size_t> file_of(std::uint64_t generation) const {
    for (std::size_t i = 0; i < out_.files.size(); ++i) {
      if (generation != 0 && out_.files[i].generation == generation) return i;
    }
    return std::nullopt;
  }

  // From the newest segment back to the oldest that is still there.
  void build_chain() {
    LogPlace next{out_.last_generation, UINT32_MAX};
    out_.end = {};
    bool newest = true;
    while (const auto file = file_of(next.generation)) {
      Link link;
      link.file = *file;
      link.index = std::move(indexes_[*file]);
      if (!newest) {
        link.end = next.offset;
        std::erase_if(link.index.batches, [&](const BatchHead& b) { return b.place.offset >= next.offset; });
      }
      newest = false;
      const auto& batches = link.index.batches;
      const LogPlace previous = batches.empty() ? LogPlace{} : batches.front().previous;
      chain_.push_back(std::move(link));
      if (previous.generation >= next.generation) break;  // never written by us; ends the walk all the same
      next = previous;
    }
    std::reverse(chain_.begin(), chain_.end());
  }

  void find_mark(const Link& link) {
    for (const auto& batch : link.index.batches) mark_ = std::max({mark_, batch.synced, batch.previous});
  }

  Status read_segment(const Link& link) {
    auto& file = out_.files[link.file];
    if (link.index.batches.empty() && !link.end) return {};
    if (!link.index.batches.empty() && link.index.batches.back().last() <= history_ && complete(link)) {
      file.last = link.index.batches.back().last();
      out_.end = {file.generation, link.end.value_or(link.index.batches.back().end())};
      out_.clean_end = link.index.batches.back().kind == BatchHead::Kind::End;
      return {};
    }
    TRY_ASSIGN(bytes_, read_whole(fs_, folder_ + "/" + file.name));
    segment_told_ = false;
    file_ = link.file;
    std::uint32_t at = 0;
    for (std::size_t i = 0; i < link.index.batches.size() && !ended_; ++i) {
      const BatchHead& batch = link.index.batches[i];
      if (batch.place.offset < at) continue;  // inside a batch that was read: cannot be ours
      if (batch.place.offset > at) {
        bad_region({file.generation, at}, batch.place.offset, batch.first);
        if (ended_) break;
      }
      read_batch(batch);
      at = batch.end();
    }
    if (ended_) return {};
    if (link.end && at < *link.end) bad_region({file.generation, at}, *link.end, std::nullopt);
    if (!link.end) half_written(at);
    if (ended_) return {};
    out_.end = {file.generation, link.end.value_or(at)};
    // Without records, but the way back to those of an older segment leads through it.
    if (at != 0 && any_told_) announce();
    return {};
  }

  // True when the segment's batches follow one another without a hole.
  static bool complete(const Link& link) {
    std::uint32_t at = 0;
    for (const auto& batch : link.index.batches) {
      if (batch.place.offset != at) return false;
      at = batch.end();
    }
    return !link.end || at == *link.end;
  }

  void read_batch(const BatchHead& batch) {
    out_.clean_end = batch.kind == BatchHead::Kind::End;
    if (batch.count == 0 && batch.first > history_) lose_positions(batch.first);
    if (batch.count == 0 || batch.last() <= history_) return;
    if (!(batch.place < mark_) && !all_good(batch)) {
      cut(batch.place);
      return;
    }
    lose_positions(batch.first);
    std::uint32_t at = batch.place.offset + batch_records_offset(batch.count);
    for (std::uint32_t i = 0; i < batch.count; ++i) {
      const TableRow row = decode_table_row(bytes_, batch, i);
      const LogPosition position(batch.first.value() + i);
      DecodedRecord record = decode_record(bytes_, {batch.place.generation, at}, at + row.bytes, secret_);
      at += row.bytes;
      if (position <= history_ || position <= out_.last) continue;
      if (record.message && record.position == position) {
        tell(std::move(record.message));
      } else if (record.head_ok && !record.known && record.body_ok) {
        out_.last = position;  // a type of a later version: skipped
      } else {
        lose(position, row.conversation_number, row.seq, record.head_ok ? record.conversation : std::string_view());
      }
    }
  }

  bool all_good(const BatchHead& batch) const {
    std::uint32_t at = batch.place.offset + batch_records_offset(batch.count);
    for (std::uint32_t i = 0; i < batch.count; ++i) {
      const TableRow row = decode_table_row(bytes_, batch, i);
      const DecodedRecord record = decode_record(bytes_, {batch.place.generation, at}, at + row.bytes, secret_);
      if (!record.head_ok || !record.body_ok) return false;
      at += row.bytes;
    }
    return true;
  }

  // No good batch stands at `from`: corruption below the mark, the end of the log above it.
  void bad_region(LogPlace from, std::uint32_t to, std::optional<LogPosition> next) {
    if (!(from < mark_)) {
      cut(from);
      return;
    }
    for (std::uint32_t at = from.offset; at + kRecordHeadBytes <= to; at += 8) {
      DecodedRecord record = decode_record(bytes_, {from.generation, at}, to, secret_);
      if (!record.head_ok || (next && record.position >= *next)) continue;
      if (record.position > out_.last) {
        lose_positions(record.position);
        if (record.message) {
          tell(std::move(record.message));
        } else if (record.known || !record.body_ok) {
          lose(record.position, record.conversation_number, record.seq, record.conversation);
        }
      }
      if (record.bytes >= kRecordHeadBytes && record.bytes % 8 == 0 && record.bytes <= to - at) at += record.bytes - 8;
    }
  }

  // Positions that were passed over without a trace.
  void lose_positions(LogPosition next) {
    if (next.value() <= out_.last.value() + 1) return;
    out_.unknown += next.value() - out_.last.value() - 1;
    out_.last = next.prev();
  }

  void half_written(std::uint32_t at) {
    // The head's sector reached the disk but not all of its batch did (or its table is damaged): a batch of this generation was begun here.
    if (bytes_.size() < at + kBatchHeadBytes) return;
    std::uint64_t generation = 0;
    std::uint32_t offset = 0;
    std::memcpy(&generation, bytes_.data() + at + 8, sizeof generation);
    std::memcpy(&offset, bytes_.data() + at + 16, sizeof offset);
    if (generation == out_.files[file_].generation && offset == at) cut({generation, at});
  }

  void cut(LogPlace place) {
    ended_ = true;
    out_.end = place;
    if (place.offset != 0 && any_told_) announce();
    std::size_t size = bytes_.find_last_not_of('\0');
    size = size == std::string::npos ? place.offset : std::max<std::size_t>(size + 1, place.offset);
    out_.tail = TornTail{out_.files[file_].name, place.offset, bytes_.substr(place.offset, size - place.offset)};
    out_.clean_end = false;
    // A segment of which nothing is valid is not part of the log: the next one names the one before it.
    if (place.offset == 0 && !chain_.empty()) {
      for (const auto& link : chain_) {
        if (link.file == file_ && !link.index.batches.empty()) out_.end = link.index.batches.front().previous;
      }
    }
  }

  void tell(MessagePtr message) {
    announce();
    out_.last = message->position();
    out_.files[file_].last = out_.last;
    ++out_.records;
    sink_.on_record(std::move(message));
  }

  void lose(LogPosition position, std::uint64_t number, MessageSeq seq, std::string_view conversation) {
    announce();
    out_.last = position;
    out_.files[file_].last = position;
    ++out_.lost;
    sink_.on_lost(position, number, seq, conversation);
  }

  void announce() {
    if (segment_told_) return;
    segment_told_ = any_told_ = true;
    out_.files[file_].in_log = true;
    sink_.on_segment(out_.files[file_].name);
  }

  FileSystem& fs_;
  const std::string& folder_;
  const std::uint32_t secret_;
  const LogPosition history_;
  LogScanSink& sink_;

  LogScan out_;
  std::vector<SegmentIndex> indexes_;
  std::vector<Link> chain_;
  LogPlace mark_;
  std::string bytes_;
  std::size_t file_ = 0;
  bool segment_told_ = false;
  bool any_told_ = false;
  bool ended_ = false;
};

}  // namespace

SegmentIndex index_segment(std::string_view file, std::uint32_t secret) {
  SegmentIndex index;
  if (file.size() > kLargestSegment) return index;
  const auto size = static_cast<std::uint32_t>(file.size());
  for (std::uint32_t at = 0; at + kBatchHeadBytes <= size;) {
    const auto batch = decode_batch_head(file, at, secret);
    if (!batch) {
      at += 8;
      continue;
    }
    if (batch->place.generation > index.generation) {
      index.generation = batch->place.generation;
      index.batches.clear();
    }
    if (batch->place.generation < index.generation) {
      at += 8;  // of an earlier life: its length may reach over a new batch
      continue;
    }
    index.batches.push_back(*batch);
    at += batch->bytes;
  }
  return index;
}

Result<LogScan> scan_log(FileSystem& files, const std::string& folder, std::uint32_t secret, LogPosition history, LogScanSink& sink) {
  return Scan(files, folder, secret, history, sink).run();
}

}  // namespace dunlin::embedded
