#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "messaging/model/epoch.h"
#include "runtime/task.h"

namespace dunlin::metrics {
enum class Platform : std::uint8_t;  // metrics/server_metrics.h
}

namespace dunlin {

// What a device has. Everything of the user's inbox up to `position` is acked, except that a conversation in `exceptions` is acked
// exactly up to its seq there (lower: something below position is still unacked; higher: acked ahead of position).
struct DeviceCursor {
  Epoch epoch;
  InboxPosition position;
  std::map<ConversationId, MessageSeq> exceptions;
  WallTime last_seen{};
  metrics::Platform platform{};  // what the device has said of itself; None when nothing

  // The device counts no more, since last_seen; its row stays for a while, so that it is told when it comes back.
  bool forgotten = false;

  static DeviceCursor of_forgotten(WallTime when) { return {Epoch{}, InboxPosition(0), {}, when, {}, true}; }
};

struct DeviceRow {
  DeviceId device;
  DeviceCursor cursor;
};

struct ReadKey {
  UserId user;
  ConversationId conversation;
};

struct ReadRaise {
  UserId user;
  ConversationId conversation;
  MessageSeq seq;
  std::vector<UserId> watchers;  // who else learns of it by incremental sync (the peer); the user himself always does
};

struct ReadChange {
  ConversationId conversation;
  InboxPosition at;
};

struct ReadChangePage {
  std::vector<ReadChange> changes;  // by `at`, ascending; one for each conversation, at its newest raise
  bool more = false;                // ask again from the last `at`; when a page holds one `at` only, with a larger limit
};

// Small rows about users, beside timelines and inboxes. Promises: read-your-writes; read positions only rise, whatever the order of
// calls; a row that was confirmed survives kill -9 (power loss may take the last seconds: at-least-once covers cursors, and read
// positions are told again by the client's next read). Thread: tasks from a worker, resuming on it; all waits have a deadline.
class DeviceStates {
 public:
  virtual ~DeviceStates() = default;

  virtual Task<Result<std::vector<DeviceRow>>> devices(UserId user) = 0;
  struct InMemory {
    bool known = false;                  // false: only devices() tells
    std::optional<DeviceCursor> cursor;  // nothing: there is no row
  };
  // The device's row, if that takes no read of a disk. Never waits; any thread.
  virtual InMemory device_in_memory(const UserId& user, const DeviceId& device) = 0;
  // Of each of the users, in their order.
  virtual Task<Result<std::vector<std::vector<DeviceRow>>>> devices_of(std::vector<UserId> users) = 0;
  struct CursorWrite {
    UserId user;
    DeviceId device;
    DeviceCursor cursor;
  };
  // Last write wins for a device. One call for many devices: the periodic flush.
  virtual Task<Status> save_cursors(std::vector<CursorWrite> writes) = 0;
  // Where devices are now, between two saves: a store that has a cheap way to let this outlive the process takes it; it may drop any. Never
  // waits. The newest of a device counts, noted or saved; a note makes no device known that is not, and reads need not show it.
  virtual void note_cursors(std::span<const CursorWrite> writes) { static_cast<void>(writes); }
  virtual Task<Status> forget_device(UserId user, DeviceId device) = 0;

  // New read position = max(old, seq); the returned value is what holds now. For the reader and each watcher the change is stamped with a
  // position of that user's inbox at which every list of his stands or lies behind that was begun (Inboxes::newest) before it could be
  // seen.
  virtual Task<Result<MessageSeq>> raise_read(ReadRaise raise) = 0;
  virtual Task<Result<std::vector<MessageSeq>>> read_positions(std::vector<ReadKey> keys) = 0;
  // Conversations in which the user's or a peer's read position rose, by the stamps of this user, at or after `since`.
  virtual Task<Result<ReadChangePage>> read_changes_since(UserId user, InboxPosition since, std::size_t limit) = 0;
};

}  // namespace dunlin
