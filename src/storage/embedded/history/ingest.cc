#include <rocksdb/db.h>

#include <algorithm>

#include "storage/embedded/history/rocks_history.h"
#include "storage/embedded/history/segment_rows.h"
#include "storage/embedded/history/sorted_file.h"
#include "storage/embedded/history/sorted_segment.h"

namespace dunlin::embedded {
namespace {

void extend(SpanRow& span, const SealedSegment& segment) {
  if (span.first == LogPosition(0)) {
    span.first = segment.first;
    span.first_time_ms = segment.first_time_ms;
  }
  span.last = segment.last;
  span.last_time_ms = std::max(span.last_time_ms, segment.last_time_ms);
}

bool older_than(const SpanRow& span, const SealedSegment& segment, std::chrono::milliseconds age) {
  return segment.last_time_ms >= span.first_time_ms + static_cast<std::uint64_t>(age.count());
}

}  // namespace

Status RocksHistory::ingest(const SealedSegment& segment) {
  const CatalogPtr now = catalog();
  if (segment.last <= now->newest.position) {
    return Error(ErrorCode::WrongState, "segment " + std::to_string(segment.id) + " is in history already");
  }
  TRY(prepare_write());
  const SortedSegment sorted(segment, [&](const ConversationId& conversation) {
    const auto stored = stored_head(*now, conversation.view());
    return stored.ok() && *stored ? (*stored)->first_user_count : 0;
  });
  fault_point("sort");
  TRY_ASSIGN(Catalog next, with_room_for(segment, sorted));
  fault_point("volume");
  SortedFiles files(incoming_folder(), cache_);
  TRY(write_files(sorted, segment, next, files));
  fault_point("files");
  TRY(ingest_files(files));
  fault_point("ingest");
  publish(std::move(next));
  return {};
}

// Contains what compactions found, and lets files go again once a manifest that failed has been replaced.
Status RocksHistory::prepare_write() {
  const CatalogPtr now = catalog();
  for (const auto& name : damage_.take_failed_columns()) {
    const auto contain = [&](const ColumnPtr& column) {
      if (column && column->name() == name) column->contain();
    };
    for (const auto& column : {now->meta, now->heads, now->list}) contain(column);
    for (const auto& volume : now->volumes) {
      contain(volume.timeline);
      contain(volume.activity);
    }
    for (const auto& generation : now->generations) contain(generation.dedup);
  }
  let_files_go();
  if (damage_.is_stopped()) return Error(ErrorCode::Io, "history has stopped taking writes until the next start");
  return {};
}

void RocksHistory::let_files_go() {
  if (!manifest_.take_renewed()) return;
  for (int left = damage_.take_manifest_failures(); left > 0; --left) db_->EnableFileDeletions(false).PermitUncheckedError();
}

// The catalog as it will be once `segment` is in: a new volume when the newest is old, large or damaged, and the same for dedup.
Result<Catalog> RocksHistory::with_room_for(const SealedSegment& segment, const SortedSegment& sorted) {
  Catalog next = *catalog();
  next.newest.position = segment.last;
  next.newest.segment = segment.id;
  next.newest.newest_time_ms = std::max(next.newest.newest_time_ms, segment.last_time_ms);
  next.newest.last_number = std::max(next.newest.last_number, sorted.last_number());
  if (sorted.empty()) return next;

  // Retention drops whole volumes: a volume spans at most an eighth of what is kept.
  std::chrono::seconds span = options_.volume_span;
  if (options_.retention.count() > 0) span = std::min(span, std::max(options_.retention / 8, std::chrono::seconds(1)));
  std::uint64_t bytes = options_.volume_bytes;
  if (options_.retention_bytes > 0) bytes = std::min(bytes, std::max<std::uint64_t>(options_.retention_bytes / 8, 1));

  const auto full = [&](const Volume& v) {
    return older_than(v.span, segment, span) || v.timeline->damaged() || v.activity->damaged() || v.timeline->file_bytes() >= bytes;
  };
  if (next.volumes.empty() || full(next.volumes.back())) {
    std::uint32_t number = next.volumes.empty() ? 1 : next.volumes.back().number + 1;
    while (lost_.contains(timeline_name(number)) || lost_.contains(activity_name(number))) ++number;
    TRY_ASSIGN(ColumnPtr timeline, create_column(timeline_name(number)));
    TRY_ASSIGN(ColumnPtr activity, create_column(activity_name(number)));
    next.volumes.push_back({number, {}, std::move(timeline), std::move(activity)});
  }
  extend(next.volumes.back().span, segment);

  const auto turned = [&](const Generation& g) {
    return older_than(g.span, segment, std::chrono::hours(6)) || g.dedup->damaged() || g.dedup->file_bytes() >= options_.volume_bytes;
  };
  if (next.generations.empty() || turned(next.generations.back())) {
    std::uint32_t number = next.generations.empty() ? 1 : next.generations.back().number + 1;
    while (lost_.contains(dedup_name(number))) ++number;
    TRY_ASSIGN(ColumnPtr dedup, create_column(dedup_name(number)));
    next.generations.push_back({number, {}, std::move(dedup)});
  }
  extend(next.generations.back().span, segment);
  return next;
}

Result<ColumnPtr> RocksHistory::create_column(const std::string& name) {
  const auto spare = std::find_if(spare_.begin(), spare_.end(), [&](const ColumnPtr& column) { return column->name() == name; });
  if (spare != spare_.end()) {
    ColumnPtr column = *spare;
    if (column->file_bytes() == 0) return column;  // of an ingest that failed
    spare_.erase(spare);                           // of a drop that was cut
    drop_column(column);
  }
  rocksdb::ColumnFamilyHandle* handle = nullptr;
  const rocksdb::Status status = db_->CreateColumnFamily(history_column_options(family_of(name), cache_), name, &handle);
  // It exists: an earlier attempt failed after its entry in the manifest.
  if (status.IsInvalidArgument()) lost_.insert(name);
  if (!status.ok()) return rocks_error("creating " + name, status);
  auto column = std::make_shared<Column>(db_.get(), handle, name, family_of(name));
  spare_.push_back(column);
  return column;
}

Status RocksHistory::write_files(const SortedSegment& sorted, const SealedSegment& segment, const Catalog& next, SortedFiles& files) {
  write_meta_rows(next, files.begin(next.meta));
  if (!sorted.empty()) {
    write_timeline_rows(sorted, files.begin(next.volumes.back().timeline));
    SortedFile& activity = files.begin(next.volumes.back().activity);
    write_order_rows(sorted, activity);
    write_activity_rows(sorted, activity);
    write_dedup_rows(sorted, segment.dedup, files.begin(next.generations.back().dedup));
    write_head_rows(sorted, files.begin(next.heads));
    write_list_rows(sorted, files.begin(next.list));
  }
  return files.finish();
}

Status RocksHistory::ingest_files(const SortedFiles& files) {
  std::vector<rocksdb::IngestExternalFileArg> arguments;
  for (const auto& file : files.files()) {
    if (!file->written()) continue;
    rocksdb::IngestExternalFileArg argument;
    argument.column_family = file->column().handle();
    argument.external_files = {file->path()};
    argument.options.move_files = true;
    argument.options.write_global_seqno = false;  // the manifest holds it, the file stays as it was written
    argument.options.allow_blocking_flush = false;
    arguments.push_back(std::move(argument));
  }
  const rocksdb::Status status = db_->IngestExternalFiles(arguments);
  if (!status.ok()) return rocks_error("ingest", status);
  for (const auto& argument : arguments) {
    std::erase_if(spare_, [&](const ColumnPtr& column) { return column->handle() == argument.column_family; });
  }
  return {};
}

Status RocksHistory::ingest_meta(const Catalog& next, std::vector<MetaRow> rows) {
  std::sort(rows.begin(), rows.end(), [](const MetaRow& a, const MetaRow& b) { return a.key < b.key; });
  SortedFiles files(incoming_folder(), cache_);
  SortedFile& file = files.begin(next.meta);
  for (const auto& row : rows) {
    if (!(row.value ? file.put(row.key, *row.value) : file.remove(row.key))) break;
  }
  TRY(files.finish());
  return ingest_files(files);
}

}  // namespace dunlin::embedded
