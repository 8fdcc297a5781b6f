#include "storage/embedded/log/log_scan.h"

#include <algorithm>

namespace dunlin::embedded {
namespace {

class Scan {
 public:
  Scan(FileSystem& files, const std::string& folder, std::uint32_t secret, LogPosition history, LogScanSink& sink)
      : fs_(files), folder_(folder), secret_(secret), history_(history), sink_(sink) {}

  Result<LogScan> run() {
    TRY_ASSIGN(LogChain chain, find_chain(fs_, folder_, secret_, history_));
    out_.files = std::move(chain.files);
    out_.last_generation = chain.last_generation;
    out_.last = history_;
    TRY(refuse_unread(chain.links));
    for (const auto& link : chain.links) find_mark(link);
    out_.synced = mark_;
    if (chain.doubtful) sink_.on_doubt();
    for (const auto& link : chain.links) {
      newest_ = &link == &chain.links.back();
      if (!ended_) {
        TRY(read_segment(link));
      } else if (out_.files[link.file].last > out_.last) {
        out_.files[link.file].set_aside = true;  // the log ended before it, and it is not empty
        out_.broken_off = true;
      }
    }
    return std::move(out_);
  }

 private:
  // What could not be read of a segment is of no matter when history has all up to the next one.
  Status refuse_unread(const std::vector<Link>& links) const {
    for (std::size_t i = 0; i < links.size(); ++i) {
      const SegmentFile& file = out_.files[links[i].file];
      const bool past = links[i].end && i + 1 < links.size() && out_.files[links[i + 1].file].first <= history_.next();
      if (file.unread && !past) return *file.unread;
    }
    return {};
  }

  void find_mark(const Link& link) {
    for (const auto& batch : link.batches) mark_ = std::max({mark_, batch.synced, batch.previous});
  }

  Status read_segment(const Link& link) {
    auto& file = out_.files[link.file];
    if (!link.batches.empty() && link.batches.back().last() <= history_ && complete(link)) {
      out_.end = {link.generation, link.end.value_or(link.batches.back().end())};
      out_.clean_end = link.batches.back().kind == BatchHead::Kind::End;
      if (!file.void_news) out_.past.push_back({link.file, link.batches.front().first, link.batches.back().last()});
      return {};
    }
    if (file.unread) {
      out_.end = {link.generation, *link.end};
      return {};
    }
    TRY_ASSIGN(bytes_, read_segment_file(fs_, folder_ + "/" + file.name));
    segment_told_ = false;
    file_ = link.file;
    link_ = &link;
    if (contradicts_history(link)) {
      ++out_.stale;
      return {};
    }
    until_ = link.until;
    std::uint32_t at = 0;
    for (const BatchHead& batch : link.batches) {
      if (batch.place.offset < at) continue;  // inside a batch that was read: cannot be ours
      if (batch.first >= until_) break;
      if (batch.place.offset > at) bad_region({link.generation, at}, batch.place.offset, batch.first);
      if (!ended_) read_batch(batch);
      if (ended_) return {};
      at = batch.end();
    }
    const auto size = static_cast<std::uint32_t>(bytes_.size());
    if (link.end) {
      if (at < *link.end) bad_region({link.generation, at}, *link.end, std::nullopt);
    } else if (newest_) {
      find_end({link.generation, at});
    } else if (LogPlace{link.generation, at} < mark_) {
      at = salvage({link.generation, at}, size, std::nullopt);
    } else {
      at = keep_whole({link.generation, at}, size);  // the rest is of a batch that was refused before the next segment was begun
    }
    // A segment of which nothing is valid is not part of the log: the next one names the one before it.
    if (ended_ || (newest_ && at == 0)) return {};
    out_.end = {link.generation, link.end.value_or(at)};
    if (any_told_) announce();  // without records, but the way back to those of an older segment leads through it
    return {};
  }

  // The record at history's own position is in the segment, and another one in history: what a failed batch left behind.
  bool contradicts_history(const Link& link) {
    for (const BatchHead& batch : link.batches) {
      if (batch.count == 0 || batch.first > history_ || batch.last() < history_) continue;
      std::uint32_t at = batch.place.offset + batch_records_offset(batch.count);
      std::uint32_t bytes = 0;
      for (std::uint64_t i = 0; i <= history_.value() - batch.first.value(); ++i) {
        at += bytes;
        bytes = decode_table_row(bytes_, batch, static_cast<std::uint32_t>(i)).bytes;
      }
      const DecodedRecord record = decode_record(bytes_, {link.generation, at}, at + bytes, secret_);
      return record.message && !sink_.agrees(*record.message);
    }
    return false;
  }

  // True when the segment's batches follow one another without a hole.
  static bool complete(const Link& link) {
    std::uint32_t at = 0;
    for (const auto& batch : link.batches) {
      if (batch.place.offset != at) return false;
      at = batch.end();
    }
    return !link.end || at == *link.end;
  }

  void read_batch(const BatchHead& batch) {
    out_.clean_end = batch.kind == BatchHead::Kind::End;
    if (batch.count == 0 && batch.first > history_) lose_positions(batch.first);
    if (batch.kind == BatchHead::Kind::Cursors) sink_.on_cursors(decode_cursors(bytes_, batch));
    if (batch.count == 0 || batch.last() <= history_) return;
    if (!(batch.place < mark_) && !all_good(batch)) {
      if (&batch != &link_->batches.back()) out_.broken_off = true;
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
      if (position <= out_.last) continue;
      if (position >= until_) return;
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

  // No good batch stands at `from`: corruption below the mark, the end of the log above it, unless nothing is missing.
  void bad_region(LogPlace from, std::uint32_t to, std::optional<LogPosition> next) {
    if (from < mark_) {
      salvage(from, to, next);
      return;
    }
    const std::uint32_t end = keep_whole(from, to);
    if (next && out_.last.next() == *next) {
      ++out_.damaged;
    } else {
      if (next) out_.broken_off = true;
      cut({from.generation, end});
    }
  }

  // Tells what can be read of a place where no good batch stands. Returns where that ends.
  std::uint32_t salvage(LogPlace from, std::uint32_t to, std::optional<LogPosition> next) {
    const LogPosition before = out_.last;
    std::uint32_t end = to;
    auto at = find_record(bytes_, from, to, secret_);
    while (at) {
      DecodedRecord record = decode_record(bytes_, {from.generation, *at}, to, secret_);
      if ((next && record.position >= *next) || record.position >= until_) {
        end = *at;
        break;
      }
      if (record.position > out_.last) {
        lose_positions(record.position);
        if (record.message) {
          tell(std::move(record.message));
        } else if (record.known || !record.body_ok) {
          lose(record.position, record.conversation_number, record.seq, record.conversation);
        }
      }
      at = find_record(bytes_, {from.generation, *at + record.bytes}, to, secret_);
    }
    if (out_.last != before) ++out_.damaged;
    return end;
  }

  // Tells the records that follow one another, and the last one told, without a hole, up to what the next segment has. Returns where they
  // end.
  std::uint32_t keep_whole(LogPlace from, std::uint32_t to) {
    std::uint32_t end = from.offset;
    auto at = find_record(bytes_, from, to, secret_);
    while (at) {
      DecodedRecord record = decode_record(bytes_, {from.generation, *at}, to, secret_);
      if (record.position > out_.last.next() || record.position >= until_ || !record.body_ok) break;
      if (record.position > out_.last) {
        if (record.message) {
          tell(std::move(record.message));
        } else {
          out_.last = record.position;
        }
      }
      end = *at + record.bytes;
      at = find_record(bytes_, {from.generation, end}, to, secret_);
    }
    return end;
  }

  // Positions that were passed over without a trace.
  void lose_positions(LogPosition next) {
    if (next.value() <= out_.last.value() + 1) return;
    out_.unknown += next.value() - out_.last.value() - 1;
    out_.last = next.prev();
  }

  // Behind the last good batch of the newest segment. If another one was begun there, its head's sector may have reached the disk alone.
  void find_end(LogPlace from) {
    const UnprovenHead head = unproven_batch_head(bytes_, from.offset);
    const std::uint32_t end = keep_whole(from, static_cast<std::uint32_t>(bytes_.size()));
    if (end == from.offset && !(head.begun && head.generation == from.generation)) return;
    cut({from.generation, end});
  }

  void cut(LogPlace place) {
    ended_ = true;
    if (place.offset == 0) out_.broken_off = true;
    if (place.offset != 0 && any_told_) announce();
    std::size_t size = bytes_.find_last_not_of('\0');
    size = size == std::string::npos ? place.offset : std::max<std::size_t>(size + 1, place.offset);
    out_.tail = TornTail{out_.files[file_].name, place.offset, bytes_.substr(place.offset, size - place.offset)};
    out_.clean_end = false;
    // A segment of which nothing is valid is not part of the log: the next one names the one before it.
    if (place.offset != 0) {
      out_.end = place;
    } else if (!link_->batches.empty()) {
      out_.end = link_->batches.front().previous;
    }
  }

  void tell(MessagePtr message) {
    announce();
    out_.last = message->place().position;
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
  LogPlace mark_;
  std::string bytes_;
  std::size_t file_ = 0;
  const Link* link_ = nullptr;  // that is being read
  LogPosition until_;
  bool newest_ = false;
  bool segment_told_ = false;
  bool any_told_ = false;
  bool ended_ = false;
};

}  // namespace

Result<LogScan> scan_log(FileSystem& files, const std::string& folder, std::uint32_t secret, LogPosition history, LogScanSink& sink) {
  return Scan(files, folder, secret, history, sink).run();
}

}  // namespace dunlin::embedded
