#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/thread_annotations.h"
#include "messaging/ports/state_store.h"

namespace dunlin {

struct MemoryStateOptions {
  std::size_t max_users = 1'000'000;  // with rows; beyond it writes of new users fail with StoreUnavailable
  std::uint64_t seed = 1;
  double failures = 0;  // share of calls that fail with StoreUnavailable, without effect; for tests
};

// The complete StateStore in memory. Every call answers at once. Any thread; one mutex, a leaf.
class MemoryStateStore final : public StateStore {
 public:
  explicit MemoryStateStore(MemoryStateOptions options = {}) : options_(options), random_(options.seed), failures_(options.failures) {}

  Task<Result<std::vector<DeviceRow>>> devices(UserId user) override;
  InMemory device_in_memory(const UserId& user, const DeviceId& device) override;
  Task<Result<std::vector<std::vector<DeviceRow>>>> devices_of(std::vector<UserId> users) override;
  Task<Status> save_cursors(std::vector<CursorWrite> writes) override;
  void note_cursors(std::span<const CursorWrite> writes) override;
  Task<Status> forget_device(UserId user, DeviceId device) override;
  Task<Result<MessageSeq>> raise_read(ReadRaise raise) override;
  Task<Result<std::vector<MessageSeq>>> read_positions(std::vector<ReadKey> keys) override;
  Task<Result<ReadChangePage>> read_changes_since(UserId user, LogPosition since, std::size_t limit) override;

  // -- for tests
  void set_failures(double share);
  // What a copy of the data folder would hold, and such a copy put back.
  struct Copy;
  std::shared_ptr<const Copy> copy();
  void put_back(const Copy& copy);

 private:
  struct User {
    std::map<DeviceId, DeviceCursor> devices;
    std::map<ConversationId, MessageSeq> read;
    std::map<ConversationId, LogPosition> changed_at;
    std::map<std::pair<LogPosition, ConversationId>, bool> changes;  // the same, by position
  };

  Status enter() REQUIRES(mutex_);
  std::vector<DeviceRow> device_rows(const UserId& user) const REQUIRES(mutex_);
  Result<User*> row(const UserId& user) REQUIRES(mutex_);
  static void note_change(User& user, const ConversationId& conversation, LogPosition at);

  const MemoryStateOptions options_;
  Mutex mutex_;
  std::map<UserId, User> users_ GUARDED_BY(mutex_);
  std::mt19937_64 random_ GUARDED_BY(mutex_);
  double failures_ GUARDED_BY(mutex_);
};

}  // namespace dunlin
