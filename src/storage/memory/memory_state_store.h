#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/thread_annotations.h"
#include "messaging/ports/device_states.h"
#include "messaging/ports/read_raises.h"
#include "runtime/completion.h"
#include "storage/memory/memory_message_store.h"

namespace dunlin {

struct MemoryStateOptions {
  std::size_t max_users = 1'000'000;  // with rows; beyond it writes of new users fail with StoreUnavailable
  std::uint64_t seed = 1;
  double failures = 0;  // share of calls that fail with StoreUnavailable, without effect; for tests
};

// The complete DeviceStates in memory. Every call answers at once. Any thread; one mutex, a leaf.
class MemoryStateStore final : public DeviceStates {
 public:
  explicit MemoryStateStore(ReadRaises& raises, MemoryStateOptions options = {})
      : options_(options), raises_(&raises), random_(options.seed), failures_(options.failures) {}
  // Of a store in which each inbox has an order of its own: the newest position of the user's, at any time.
  using NewestOf = std::function<InboxPosition(const UserId&)>;
  explicit MemoryStateStore(NewestOf newest, MemoryStateOptions options = {})
      : options_(options), newest_of_(std::move(newest)), random_(options.seed), failures_(options.failures) {}
  explicit MemoryStateStore(MemoryMessageStore& messages, MemoryStateOptions options = {})
      : MemoryStateStore(messages.read_raises(), options) {}

  Task<Result<std::vector<DeviceRow>>> devices(UserId user) override;
  InMemory device_in_memory(const UserId& user, const DeviceId& device) override;
  Task<Result<std::vector<std::vector<DeviceRow>>>> devices_of(std::vector<UserId> users) override;
  Task<Status> save_cursors(std::vector<CursorWrite> writes) override;
  void note_cursors(std::span<const CursorWrite> writes) override;
  Task<Status> forget_device(UserId user, DeviceId device) override;
  Task<Result<MessageSeq>> raise_read(ReadRaise raise) override;
  Task<Result<std::vector<MessageSeq>>> read_positions(std::vector<ReadKey> keys) override;
  Task<Result<ReadChangePage>> read_changes_since(UserId user, InboxPosition since, std::size_t limit) override;

  // -- for tests
  void set_failures(double share);
  // A raise waits, stamped and not to be seen, until its completer here is completed.
  void hold_raises(std::vector<Completer<std::monostate>>* held) { held_raises_ = held; }
  // What a copy of the data folder would hold, and such a copy put back.
  struct Copy;
  std::shared_ptr<const Copy> copy();
  void put_back(const Copy& copy);

 private:
  struct User {
    std::map<DeviceId, DeviceCursor> devices;
    std::map<ConversationId, MessageSeq> read;
    std::map<ConversationId, InboxPosition> changed_at;
    std::map<std::pair<InboxPosition, ConversationId>, bool> changes;  // the same, by position
  };

  Status enter() REQUIRES(mutex_);
  std::vector<DeviceRow> device_rows(const UserId& user) const REQUIRES(mutex_);
  Result<User*> row(const UserId& user) REQUIRES(mutex_);
  static void note_change(User& user, const ConversationId& conversation, InboxPosition at);

  const MemoryStateOptions options_;
  std::vector<Completer<std::monostate>>* held_raises_ = nullptr;
  ReadRaises* const raises_ = nullptr;  // stamps them; outlives this
  const NewestOf newest_of_;            // or this
  Mutex mutex_;
  std::map<UserId, User> users_ GUARDED_BY(mutex_);
  std::mt19937_64 random_ GUARDED_BY(mutex_);
  double failures_ GUARDED_BY(mutex_);
};

}  // namespace dunlin
