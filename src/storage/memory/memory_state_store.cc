#include "storage/memory/memory_state_store.h"

#include <algorithm>

namespace dunlin {

struct MemoryStateStore::Copy {
  std::map<UserId, User> users;
};

std::shared_ptr<const MemoryStateStore::Copy> MemoryStateStore::copy() {
  MutexLock lock(mutex_);
  return std::make_shared<const Copy>(Copy{users_});
}

void MemoryStateStore::put_back(const Copy& copy) {
  MutexLock lock(mutex_);
  users_ = copy.users;
}

Status MemoryStateStore::enter() {
  if (failures_ > 0 && std::uniform_real_distribution<>(0, 1)(random_) < failures_) {
    return Error(ErrorCode::StoreUnavailable, "a fault for tests");
  }
  return {};
}

Result<MemoryStateStore::User*> MemoryStateStore::row(const UserId& user) {
  if (const auto at = users_.find(user); at != users_.end()) return &at->second;
  if (users_.size() >= options_.max_users) return Error(ErrorCode::StoreUnavailable, "the memory store is full of users");
  return &users_[user];
}

std::vector<DeviceRow> MemoryStateStore::device_rows(const UserId& user) const {
  std::vector<DeviceRow> rows;
  if (const auto at = users_.find(user); at != users_.end()) {
    for (const auto& [device, cursor] : at->second.devices) rows.push_back({device, cursor});
  }
  return rows;
}

DeviceStates::InMemory MemoryStateStore::device_in_memory(const UserId& user, const DeviceId& device) {
  const MutexLock lock(mutex_);
  InMemory out{.known = true, .cursor = std::nullopt};
  const auto found = users_.find(user);
  if (found == users_.end()) return out;
  const auto row = found->second.devices.find(device);
  if (row != found->second.devices.end()) out.cursor = row->second;
  return out;
}

Task<Result<std::vector<DeviceRow>>> MemoryStateStore::devices(UserId user) {
  MutexLock lock(mutex_);
  CO_TRY(enter());
  co_return device_rows(user);
}

Task<Result<std::vector<std::vector<DeviceRow>>>> MemoryStateStore::devices_of(std::vector<UserId> users) {
  MutexLock lock(mutex_);
  CO_TRY(enter());
  std::vector<std::vector<DeviceRow>> out;
  for (const UserId& user : users) out.push_back(device_rows(user));
  co_return out;
}

Task<Status> MemoryStateStore::save_cursors(std::vector<CursorWrite> writes) {
  MutexLock lock(mutex_);
  CO_TRY(enter());
  for (CursorWrite& write : writes) {
    CO_TRY_ASSIGN(User * user, row(write.user));
    user->devices[write.device] = std::move(write.cursor);
  }
  co_return Status();
}

void MemoryStateStore::note_cursors(std::span<const CursorWrite> writes) {
  MutexLock lock(mutex_);
  for (const CursorWrite& write : writes) {
    const auto user = users_.find(write.user);
    if (user == users_.end()) continue;
    const auto device = user->second.devices.find(write.device);
    if (device != user->second.devices.end() && !device->second.forgotten) device->second = write.cursor;
  }
}

Task<Status> MemoryStateStore::forget_device(UserId user, DeviceId device) {
  MutexLock lock(mutex_);
  CO_TRY(enter());
  if (const auto at = users_.find(user); at != users_.end()) at->second.devices.erase(device);
  co_return Status();
}

void MemoryStateStore::note_change(User& user, const ConversationId& conversation, InboxPosition at) {
  InboxPosition& newest = user.changed_at[conversation];
  user.changes.erase({newest, conversation});
  newest = std::max(newest, at);
  user.changes.emplace(std::pair(newest, conversation), true);
}

Task<Result<MessageSeq>> MemoryStateStore::raise_read(ReadRaise raise) {
  std::optional<ReadRaises::UnderWay> under_way;
  if (raises_ != nullptr) under_way.emplace(*raises_);
  const InboxPosition at = under_way ? under_way->stamp() : InboxPosition();
  // Else it is taken in the step in which the raise can be seen.
  const auto stamp = [&](const UserId& user) { return under_way ? at : newest_of_(user); };
  if (held_raises_ != nullptr) {
    auto [completer, completion] = make_completion<std::monostate>();
    held_raises_->push_back(std::move(completer));
    static_cast<void>(co_await std::move(completion));
  }
  MutexLock lock(mutex_);
  CO_TRY(enter());
  CO_TRY_ASSIGN(User * user, row(raise.user));
  MessageSeq& seq = user->read[raise.conversation];
  if (raise.seq <= seq) co_return seq;
  seq = raise.seq;
  note_change(*user, raise.conversation, stamp(raise.user));
  for (const UserId& watcher : raise.watchers) {
    CO_TRY_ASSIGN(User * other, row(watcher));
    note_change(*other, raise.conversation, stamp(watcher));
  }
  co_return seq;
}

Task<Result<std::vector<MessageSeq>>> MemoryStateStore::read_positions(std::vector<ReadKey> keys) {
  MutexLock lock(mutex_);
  CO_TRY(enter());
  std::vector<MessageSeq> out;
  for (const ReadKey& key : keys) {
    MessageSeq seq;
    if (const auto user = users_.find(key.user); user != users_.end()) {
      if (const auto at = user->second.read.find(key.conversation); at != user->second.read.end()) seq = at->second;
    }
    out.push_back(seq);
  }
  co_return out;
}

Task<Result<ReadChangePage>> MemoryStateStore::read_changes_since(UserId user, InboxPosition since, std::size_t limit) {
  MutexLock lock(mutex_);
  CO_TRY(enter());
  ReadChangePage page;
  const auto row = users_.find(user);
  if (row == users_.end()) co_return page;
  const auto& changes = row->second.changes;
  auto at = changes.lower_bound({since, ConversationId()});
  for (; at != changes.end() && page.changes.size() < limit; ++at) page.changes.push_back({at->first.second, at->first.first});
  page.more = at != changes.end();
  co_return page;
}

void MemoryStateStore::set_failures(double share) {
  MutexLock lock(mutex_);
  failures_ = share;
}

}  // namespace dunlin
