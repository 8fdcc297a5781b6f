#include "storage/embedded/log/log_writer.h"

#include <algorithm>
#include <cstdlib>

#include "base/check.h"
#include "base/log.h"

namespace dunlin::embedded {

// One reusable encoding buffer, aligned to pages so that the kernel copies whole ones.
struct LogWriter::Buffer {
  char* bytes = nullptr;
  std::size_t capacity = 0;
  ~Buffer() { std::free(bytes); }
  char* need(std::size_t size) {
    if (size > capacity) {
      std::free(bytes);
      capacity = (size + 65535) & ~std::size_t{65535};
      bytes = static_cast<char*>(std::aligned_alloc(4096, capacity));
      CHECK(bytes != nullptr);
    }
    return bytes;
  }
};

LogWriter::LogWriter(SegmentPool& pool, Start start)
    : pool_(pool),
      secret_(start.secret),
      // A quarter, so that what is unsynced (one and a half times as much at most), what is owed, and a batch fit into a new segment
      // together, with their head.
      max_batch_bytes_(static_cast<std::uint32_t>(std::min<std::uint64_t>(pool.segment_bytes() / 4, 1U << 30))),
      good_batch_bytes_(std::min(max_batch_bytes_, 4U << 20)),
      buffer_(std::make_unique<Buffer>()),
      previous_(start.end),
      synced_(start.end),
      last_generation_(start.last_generation),
      synced_through_(start.last),
      written_through_(start.last) {}

LogWriter::~LogWriter() = default;

Status LogWriter::append(std::span<const MessagePtr> messages, LogPosition first, bool sync_now, std::string_view cursors) {
  sync_took_ = {};
  if (broken_) {
    TRY(failover(messages, first, BatchHead::Kind::Records));
  } else {
    auto done = write_batch(messages, first, BatchHead::Kind::Records, cursors);
    if (done.ok() && sync_now) {
      const auto start = std::chrono::steady_clock::now();
      done = slot_.file->sync_data();
      sync_took_ = std::chrono::steady_clock::now() - start;
    }
    if (done.ok()) {
      if (sync_now) {
        note_synced();
      } else {
        unsynced_.insert(unsynced_.end(), messages.begin(), messages.end());
        for (const auto& message : messages) unsynced_bytes_ += record_bytes(*message) + kTableRowBytes;
      }
    } else {
      log_error("store", "the log's segment failed; a new one is begun", {{"file", slot_.name}, {"error", done.error().to_string()}});
      TRY(failover(messages, first, BatchHead::Kind::Records));
    }
  }
  written_through_ = messages.empty() ? written_through_ : messages.back()->place().position;
  if (unsynced_.empty()) {
    synced_through_ = written_through_;
    return {};
  }
  if (unsynced_bytes_ > good_batch_bytes_ / 2) ignore(sync());  // a failure shows at the next append; these were promised less
  return {};
}

void LogWriter::owe(std::span<const MessagePtr> messages) {
  unsynced_.insert(unsynced_.end(), messages.begin(), messages.end());
  for (const auto& message : messages) unsynced_bytes_ += record_bytes(*message) + kTableRowBytes;
  written_through_ = messages.back()->place().position;
}

Status LogWriter::sync() {
  if (unsynced_.empty() && !broken_) return {};
  const LogPosition next = written_through_.next();
  if (broken_) return failover({}, next, BatchHead::Kind::Records);
  auto done = slot_.file->sync_data();
  if (!done.ok()) return failover({}, next, BatchHead::Kind::Records);
  note_synced();
  synced_through_ = written_through_;
  return {};
}

Status LogWriter::seal() {
  TRY(sync());
  if (slot_.file && offset_ > 0) seal_current(offset_);
  return {};
}

Status LogWriter::end(LogPosition next) {
  if (broken_) return failover({}, next, BatchHead::Kind::End);  // also when nothing is left to write: what was refused must be void
  if (!slot_.file && unsynced_.empty()) return {};               // nothing was written in this life
  TRY(sync());
  TRY(write_batch({}, next, BatchHead::Kind::End));
  return slot_.file->sync_data();
}

Status LogWriter::heal(LogPosition next) {
  return broken_ ? failover({}, next, BatchHead::Kind::Records) : Status();
}

Status LogWriter::write_batch(std::span<const MessagePtr> messages, LogPosition first, BatchHead::Kind kind, std::string_view cursors) {
  const std::uint32_t own = encoded_bytes(messages);
  const std::uint32_t bytes = own + (cursors.empty() ? 0 : cursors_bytes(cursors.size()));
  const bool full = slot_.file && offset_ + bytes > pool_.segment_bytes();
  if (full) {
    if (!unsynced_.empty()) {
      TRY(slot_.file->sync_data());
      note_synced();
    }
    seal_current(offset_);
  }
  if (!slot_.file) TRY(begin_segment());
  BatchHead head;
  head.place = {generation_, offset_};
  head.bytes = own;
  head.first = first;
  head.synced = synced_;
  head.previous = previous_;
  head.count = static_cast<std::uint32_t>(messages.size());
  head.kind = kind;
  char* out = buffer_->need(bytes);
  encode_batch(head, messages, secret_, out);
  if (!cursors.empty()) {
    head.place.offset += own;
    head.bytes = bytes - own;
    head.first = LogPosition(first.value() + messages.size());
    head.count = 0;
    head.kind = BatchHead::Kind::Cursors;
    encode_cursors(head, cursors, secret_, out + own);
  }
  TRY(slot_.file->write(offset_, {out, bytes}));
  offset_ += bytes;
  return {};
}

Status LogWriter::begin_segment() {
  TRY_ASSIGN(slot_, pool_.take());
  generation_ = ++last_generation_;
  offset_ = 0;
  return {};
}

void LogWriter::seal_current(std::uint32_t valid_end) {
  const Sealed sealed{slot_.name, generation_};
  slot_ = {};
  if (valid_end == 0) {
    pool_.give_dirty(sealed.file);  // nothing of it is valid; previous_ stays
    return;
  }
  previous_ = {generation_, valid_end};
  on_seal(sealed);
}

Status LogWriter::failover(std::span<const MessagePtr> messages, LogPosition first, BatchHead::Kind kind) {
  broken_ = true;
  if (slot_.file) {
    // Only what was synced is believed. synced_ is in this segment, or still the end of the one before.
    seal_current(synced_.generation == generation_ ? synced_.offset : 0);
  }
  std::vector<MessagePtr> all = unsynced_;
  all.insert(all.end(), messages.begin(), messages.end());
  if (!unsynced_.empty()) first = unsynced_.front()->place().position;
  Status done;
  for (int attempt = 0; attempt < 2; ++attempt) {
    done = try_spare(all, first, kind);
    if (done.ok()) break;
  }
  if (!done.ok()) return done;
  broken_ = false;
  ++failovers_;
  note_synced();
  log_warn("store", "the log goes on in a new segment", {{"file", slot_.name}, {"generation", generation_}});
  if (messages.empty()) synced_through_ = written_through_;
  return {};
}

Status LogWriter::try_spare(std::span<const MessagePtr> messages, LogPosition first, BatchHead::Kind kind) {
  auto done = write_batch(messages, first, kind);
  if (done.ok()) done = slot_.file->sync_data();
  if (!done.ok() && slot_.file) {
    pool_.give_dirty(slot_.name);
    slot_ = {};
  }
  return done;
}

void LogWriter::note_synced() {
  unsynced_.clear();
  unsynced_bytes_ = 0;
  synced_ = {generation_, offset_};
}

}  // namespace dunlin::embedded
