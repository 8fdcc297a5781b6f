#include "storage/embedded/state/rocks_state.h"

#include <rocksdb/db.h>

#include <algorithm>

#include "base/log.h"
#include "storage/embedded/history/bytes.h"

namespace dunlin::embedded {
namespace {

Error closed() {
  return Error(ErrorCode::StoreUnavailable, "the state store could not be opened again after an error");
}

}  // namespace

std::shared_lock<std::shared_mutex> RocksState::in_use() {
  const MutexLock turn(turn_);
  return std::shared_lock(instance_);
}

Mutex& RocksState::stripe_of(const ConversationId& conversation) {
  return stripes_[std::hash<ConversationId>{}(conversation) % kStripes];
}

Status RocksState::write(rocksdb::WriteBatch& batch, bool durable) {
  rocksdb::WriteOptions options;
  options.sync = durable;
  options.no_slowdown = true;
  const rocksdb::Status status = db_->Write(options, &batch);
  if (status.IsIncomplete()) return Error(ErrorCode::Overloaded, "the state store is behind with its flushes");
  if (!status.ok()) return rocks_error("writing state", status);
  return {};
}

Result<std::vector<DeviceRow>> RocksState::devices(const UserId& user) {
  TRY_ASSIGN(auto of_one, devices_of({&user, 1}));
  return std::move(of_one.front());
}

Result<std::vector<std::vector<DeviceRow>>> RocksState::devices_of(std::span<const UserId> users) {
  const auto instance = in_use();
  if (!db_) return closed();
  std::vector<std::vector<DeviceRow>> devices(users.size());
  const std::unique_ptr<rocksdb::Iterator> rows(db_->NewIterator({}));
  for (std::size_t i = 0; i < users.size(); ++i) {
    const std::string prefix = device_prefix(users[i].view());
    for (rows->Seek(prefix); rows->Valid() && rows->key().starts_with(prefix); rows->Next()) {
      auto device = decode_device_key(rows->key().ToStringView());
      auto cursor = decode_cursor(rows->value().ToStringView());
      if (!device || !cursor) return Error(ErrorCode::Corrupt, "a device's cursor");
      count_row();
      devices[i].push_back({std::move(*device), std::move(*cursor)});
    }
    if (!rows->status().ok()) return rocks_error("devices of a user", rows->status());
  }
  return devices;
}

DeviceStates::InMemory RocksState::device_in_memory(const UserId& user, const DeviceId& device) {
  const std::shared_lock instance(instance_, std::try_to_lock);
  if (!instance || !db_) return {};
  rocksdb::ReadOptions options;
  options.read_tier = rocksdb::kBlockCacheTier;
  rocksdb::PinnableSlice value;
  const rocksdb::Status status = db_->Get(options, db_->DefaultColumnFamily(), device_key(user.view(), device.view()), &value);
  if (status.IsNotFound()) return {.known = true, .cursor = std::nullopt};
  if (!status.ok()) return {};  // on disk, or damaged: a read tells
  auto cursor = decode_cursor(value.ToStringView());
  if (!cursor) return {};
  return {.known = true, .cursor = std::move(cursor)};
}

Status RocksState::save_cursors(const std::vector<DeviceStates::CursorWrite>& writes, std::uint64_t order) {
  TRY(reopen_if_stopped());
  const MutexLock lock(cursors_);
  const auto instance = in_use();
  if (!db_) return closed();
  rocksdb::WriteBatch batch;
  for (const auto& one : writes)
    batch.Put(device_key(one.user.view(), one.device.view()), encode_cursor(one.cursor, order++)).PermitUncheckedError();
  if (const auto mark = raised_mark(writes)) batch.Put(mark_key(), encode_mark(*mark)).PermitUncheckedError();
  return write(batch);
}

Result<std::size_t> RocksState::renew_cursors(std::span<const RidingCursor> cursors, std::optional<Epoch> epoch) {
  TRY(reopen_if_stopped());
  const MutexLock lock(cursors_);
  const auto instance = in_use();
  if (!db_) return closed();
  rocksdb::WriteBatch batch;
  rocksdb::PinnableSlice row;
  for (const RidingCursor& one : cursors) {
    ByteReader names(one.device);
    const std::string_view user = names.sized();
    const std::string key = device_key(user, names.sized());
    row.Reset();
    if (!db_->Get({}, db_->DefaultColumnFamily(), key, &row).ok()) continue;
    const auto stored = cursor_order(row.ToStringView());
    if (!stored || *stored >= one.order) continue;
    const auto old = decode_cursor(row.ToStringView());
    if (!old || old->forgotten) continue;
    if (epoch) {
      const auto cursor = decode_cursor(one.row);
      if (!cursor || cursor->epoch != *epoch) continue;
    }
    batch.Put(key, one.row).PermitUncheckedError();
  }
  const std::size_t count = batch.Count();
  if (count != 0) TRY(write(batch));
  return count;
}

// Batches that cross may store a lower mark behind a higher one, until the next that raises it: it is then a weaker witness, no false one.
std::optional<CursorMark> RocksState::raised_mark(const std::vector<DeviceStates::CursorWrite>& writes) {
  bool raised = false;
  const MutexLock lock(mark_mutex_);
  for (const auto& one : writes) {
    if (one.cursor.epoch == Epoch{}) continue;  // of a device that is to be reset
    // Saved late, a cursor of an epoch that is over may take the mark back to it: then it tells nothing, until the next one.
    if (mark_.epoch == one.cursor.epoch && mark_.highest >= one.cursor.position) continue;
    mark_ = {one.cursor.epoch, one.cursor.position};
    raised = true;
  }
  return raised ? std::optional(mark_) : std::nullopt;
}

// One that cannot be read is as none: it is a witness, nobody needs it to be served.
void RocksState::load_mark() {
  rocksdb::PinnableSlice value;
  const rocksdb::Status status = db_->Get({}, db_->DefaultColumnFamily(), mark_key(), &value);
  if (status.IsNotFound()) return;
  const auto mark = status.ok() ? decode_mark(value.ToStringView()) : std::nullopt;
  if (!mark) return log_warn("state", "the highest cursor cannot be read", {{"error", status.ToString()}});
  const MutexLock lock(mark_mutex_);
  mark_ = *mark;
}

InboxPosition RocksState::highest_cursor(Epoch epoch) {
  const MutexLock lock(mark_mutex_);
  return mark_.epoch == epoch ? mark_.highest : InboxPosition(0);
}

Status RocksState::forget_device(const UserId& user, const DeviceId& device) {
  TRY(reopen_if_stopped());
  const MutexLock lock(cursors_);
  const auto instance = in_use();
  if (!db_) return closed();
  rocksdb::WriteBatch batch;
  batch.Delete(device_key(user.view(), device.view())).PermitUncheckedError();
  return write(batch);
}

Result<std::optional<ReadRow>> RocksState::read_row(const std::string& key) {
  rocksdb::PinnableSlice value;
  const rocksdb::Status status = db_->Get({}, db_->DefaultColumnFamily(), key, &value);
  if (status.IsNotFound()) return std::optional<ReadRow>();
  count_row();
  if (!status.ok()) return rocks_error("a read position", status);
  auto row = decode_read(value.ToStringView());
  if (!row) return Error(ErrorCode::Corrupt, "a read position");
  return row;
}

// At a start, when nobody raises any yet.
Result<std::uint64_t> RocksState::lower_read_positions(InboxPosition last, const EmbeddedStateStore::HeadOf& head) {
  TRY(reopen_if_stopped());
  const auto instance = in_use();
  if (!db_) return closed();
  const std::string prefix = read_rows_prefix();
  rocksdb::ReadOptions reading;
  reading.fill_cache = false;
  const std::unique_ptr<rocksdb::Iterator> rows(db_->NewIterator(reading));
  rocksdb::WriteBatch batch;
  std::uint64_t lowered = 0;
  for (rows->Seek(prefix); rows->Valid() && rows->key().starts_with(prefix); rows->Next()) {
    const auto conversation = decode_read_key(rows->key().ToStringView());
    auto row = decode_read(rows->value().ToStringView());
    if (!conversation || !row || (row->changed_at && *row->changed_at <= last)) continue;
    const auto end = head(*conversation);
    if (!end.ok() || row->seq <= *end) continue;
    row->seq = *end;
    batch.Put(rows->key(), encode_read(*row)).PermitUncheckedError();
    ++lowered;
  }
  if (!rows->status().ok()) return rocks_error("read positions", rows->status());
  if (lowered > 0) TRY(write(batch));
  return lowered;
}

// Moves the user's row in the change index to where the raise happened, and sets his read position when `seq` is given.
Status RocksState::add_change(const UserId& user, const ReadRaise& raise, InboxPosition at, std::optional<MessageSeq> seq,
                              rocksdb::WriteBatch& batch) {
  const std::string key = read_key(user.view(), raise.conversation.view());
  TRY_ASSIGN(const auto stored, read_row(key));
  ReadRow row = stored.value_or(ReadRow{});
  if (seq) row.seq = *seq;
  at = std::max(at, row.changed_at.value_or(InboxPosition(0)));
  if (row.changed_at) batch.Delete(change_key(user.view(), *row.changed_at, raise.conversation.view())).PermitUncheckedError();
  row.changed_at = at;
  batch.Put(key, encode_read(row)).PermitUncheckedError();
  batch.Put(change_key(user.view(), at, raise.conversation.view()), {}).PermitUncheckedError();
  return {};
}

Result<MessageSeq> RocksState::raise_read(const ReadRaise& raise, InboxPosition at) {
  const std::string key = read_key(raise.user.view(), raise.conversation.view());
  TRY(reopen_if_stopped());
  const MutexLock lock(stripe_of(raise.conversation));
  const auto instance = in_use();
  if (!db_) return closed();
  TRY_ASSIGN(const auto stored, read_row(key));
  const MessageSeq held = stored ? stored->seq : MessageSeq(0);
  if (raise.seq <= held) return held;
  rocksdb::WriteBatch batch;
  TRY(add_change(raise.user, raise, at, raise.seq, batch));
  std::vector<UserId> told{raise.user};
  for (const UserId& watcher : raise.watchers) {
    // Reads of the batch would not be seen by the next one, so nobody is told twice.
    if (std::find(told.begin(), told.end(), watcher) != told.end()) continue;
    told.push_back(watcher);
    TRY(add_change(watcher, raise, at, std::nullopt, batch));
  }
  TRY(write(batch));
  return raise.seq;
}

Result<std::vector<MessageSeq>> RocksState::read_positions(const std::vector<ReadKey>& keys) {
  const auto instance = in_use();
  if (!db_) return closed();
  std::vector<MessageSeq> seqs;
  seqs.reserve(keys.size());
  for (const ReadKey& key : keys) {
    TRY_ASSIGN(const auto row, read_row(read_key(key.user.view(), key.conversation.view())));
    seqs.push_back(row ? row->seq : MessageSeq(0));
  }
  return seqs;
}

Result<ReadChangePage> RocksState::read_changes_since(const UserId& user, InboxPosition since, std::size_t limit) {
  const auto instance = in_use();
  if (!db_) return closed();
  const std::string prefix = change_prefix(user.view());
  ReadChangePage page;
  const std::unique_ptr<rocksdb::Iterator> rows(db_->NewIterator({}));
  for (rows->Seek(change_key(user.view(), since, {})); rows->Valid() && rows->key().starts_with(prefix); rows->Next()) {
    auto change = decode_change_key(rows->key().ToStringView());
    if (!change) return Error(ErrorCode::Corrupt, "a read change");
    // Callers ask on from behind the last position, so a page does not end between two changes of one position.
    if (page.changes.size() >= limit && (page.changes.empty() || page.changes.back().at != change->at)) {
      page.more = true;
      break;
    }
    count_row();
    page.changes.push_back(std::move(*change));
  }
  if (!rows->status().ok()) return rocks_error("read changes of a user", rows->status());
  return page;
}

Result<std::vector<RecallRow>> RocksState::recalls() {
  const auto instance = in_use();
  if (!db_) return closed();
  const std::string prefix = recall_prefix();
  std::vector<RecallRow> out;
  const std::unique_ptr<rocksdb::Iterator> rows(db_->NewIterator({}));
  for (rows->Seek(prefix); rows->Valid() && rows->key().starts_with(prefix); rows->Next()) {
    const auto row = decode_recall(rows->key().ToStringView(), rows->value().ToStringView());
    if (!row) return damaged(options_.path, "a recalled message's row");
    out.push_back(*row);
  }
  if (!rows->status().ok()) return rocks_error("recalled messages", rows->status());
  return out;
}

Status RocksState::add_recall(const RecallRow& row) {
  TRY(reopen_if_stopped());
  const auto instance = in_use();
  if (!db_) return closed();
  rocksdb::WriteBatch batch;
  batch.Put(recall_key(row.conversation_number, row.seq), encode_recall(row)).PermitUncheckedError();
  return write(batch, true);
}

Status RocksState::remove_recalls(std::span<const RecallRow> rows, bool durable) {
  TRY(reopen_if_stopped());
  const auto instance = in_use();
  if (!db_) return closed();
  rocksdb::WriteBatch batch;
  for (const RecallRow& row : rows) batch.Delete(recall_key(row.conversation_number, row.seq)).PermitUncheckedError();
  return write(batch, durable);
}

Status RocksState::sync() {
  TRY(reopen_if_stopped());
  const auto instance = in_use();
  if (!db_) return closed();
  // Not SyncWAL(): it goes on with a log whose write has just failed in another thread, which a build that checks its assertions (Debian's)
  // answers by ending the process. An empty batch waits its turn among the writes, and is refused behind one that failed.
  rocksdb::WriteBatch nothing;
  return write(nothing, true);
}

Status RocksState::checkpoint(const std::string& folder) {
  const auto instance = in_use();
  if (!db_) return closed();
  return make_checkpoint(*db_, folder, "state");
}

}  // namespace dunlin::embedded
