#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/protocol_terms.h"
#include "base/result.h"
#include "messaging/delivery/device_turns.h"
#include "messaging/delivery/session_registry.h"
#include "messaging/delivery/sync_token.h"
#include "messaging/ports/device_states.h"
#include "messaging/ports/inboxes.h"
#include "messaging/ports/timelines.h"
#include "runtime/completion.h"
#include "runtime/task.h"

namespace dunlin {

struct TruncatedConversation {
  ConversationId conversation;
  MessageSeq from_seq;  // first seq that can still be read
};

struct Attachment {
  DeviceCursor cursor;  // for SessionDelivery::start
  Resume resume = Resume::Complete;
  std::vector<TruncatedConversation> truncated;  // at most kMaxNamed
  bool more_truncated = false;
  std::vector<DeviceId> forgotten;  // devices that made room for this one
};

struct AttachRequest {
  UserId user;
  DeviceId device;
  std::optional<SyncToken> token;         // parsed with this user and device
  bool token_given = false;               // there was one, valid or not: a device that thinks it is known
  std::optional<DeviceCursor> inherited;  // from the session of the same device that this one replaces
  metrics::Platform platform{};
  // What devices of the user had acked when their sessions ended, as far as that may not be stored yet. Called before rows are read: what
  // it does not give any more stands in them.
  std::function<std::map<DeviceId, DeviceCursor>()> unsaved = {};
  // The user has a session of this device now, also one that is just connecting. Empty: of none.
  std::function<bool(const DeviceId&)> connected = {};
  // When it has ended well, no keeper of any worker can write a cursor of this device, which has no session, any more.
  std::function<Task<Status>(DeviceId)> forget_unsaved = {};
  bool claims_unknown = false;  // the app shows a seq that its conversation does not have
};

// How many devices a user may have, and when one that was not seen is forgotten. One that is connected never is.
struct DeviceRules {
  std::size_t max_devices = 32;
  std::chrono::hours forget_after{24 * 60};
  // What is waited for sessions and workers that hold up a change of the user's devices: his turn, the end of a session that makes room, a
  // worker that is to forget a cursor. What takes longer is refused with Timeout, and nothing is changed.
  Milliseconds patience{4'000};

  // Has not been seen for that long.
  bool idle(const DeviceCursor& cursor, WallTime now) const { return now - cursor.last_seen >= forget_after; }
};

// Where the devices of one worker are: reads cursors when a session begins, writes them while it lives and when it ends.
//
// Owner: the worker; single-threaded. Writes are batched: save() is called every cursor-flush interval, and when a session
// ends; what fails is kept and tried again with the next batch (at most kMaxKept; beyond it the oldest are forgotten, which costs the
// device a repeat, never a loss). Saves that cross can only put an older cursor behind a newer one, and an older cursor is still true.
class CursorKeeper {
 public:
  static constexpr std::size_t kMaxNamed = 100;
  static constexpr std::size_t kMaxKept = 10'000;

  // `turns`: the one of the server.
  CursorKeeper(Timelines& timelines, Inboxes& inboxes, DeviceStates& devices, const Clock& clock, DeviceTurns& turns,
               DeviceRules rules = {})
      : timelines_(timelines), inboxes_(inboxes), devices_(devices), clock_(clock), turns_(turns), rules_(rules) {}

  // Rules, in order:
  //  0. a token, or a device's row, that proves that the store was put back (rewind.h): a new epoch, and so Reset
  //  1. a token or inherited cursor of another epoch, a device that was forgotten, or an app that claims what is not there: Reset
  //  2. a token with an acked position, minted within forget_after (60 days): delivery begins at it, below or above any cursor
  //  3. inherited cursor; 4. stored cursor (of another epoch, or not seen for 60 days: Reset); an older token wins over it
  //  5. unknown device: with a token, valid or not: Reset; else where the user's farthest device is, as far as it is stored or its session
  //  has ended; 0 when he has none
  // A device whose row is not there, or is one of a device that counts no more, needs a place: of max_devices the one that was unseen
  // longest and is not connected makes room and is forgotten. Its row goes first, in the same write: so there are never more devices than
  // allowed, whoever connects at the same time on whatever worker.
  // A row that memory has takes no read. Fails with DeviceLimit when all are connected, with Cancelled when `connected` does not know the
  // device itself any more, with Timeout when another change of the user's devices takes too long, or with what a store failed with.
  Task<Result<Attachment>> attach(AttachRequest request);

  // A cursor to write with the next save (of a session that ends, or one of the periodic ones).
  void keep(DeviceStates::CursorWrite write);
  // Writes everything kept, in one call. Returns how many were written.
  Task<Result<std::size_t>> save();
  std::size_t kept() const { return kept_.size(); }
  // The device logs out: when this returns, no write of this keeper can bring its row back.
  Task<void> forget(UserId user, DeviceId device);

 private:
  Task<Result<Attachment>> begin(AttachRequest& request);
  Task<Result<std::vector<DeviceRow>>> read_rows(const AttachRequest& request);
  Task<Result<Attachment>> position(AttachRequest& request, const DeviceCursor* mine, const std::vector<DeviceRow>& rows);
  Task<Result<bool>> ends_epoch(const AttachRequest& request, Epoch epoch, const DeviceCursor* mine, const std::vector<DeviceRow>& rows);
  Task<Result<Attachment>> reset(UserId user);
  Task<Status> admit(const AttachRequest& request, std::vector<DeviceRow> rows, Attachment& attachment);
  Task<Status> purge(const UserId& user, std::vector<DeviceRow> forgotten);
  std::optional<Attachment> new_device(const AttachRequest& request, const std::vector<DeviceRow>& rows) const;
  void tell_saved();
  Task<Status> find_truncated(UserId user, Attachment& attachment);

  Timelines& timelines_;
  Inboxes& inboxes_;
  DeviceStates& devices_;
  const Clock& clock_;
  DeviceTurns& turns_;
  const DeviceRules rules_;
  std::vector<DeviceStates::CursorWrite> kept_;
  int saves_ = 0;                                      // under way
  std::vector<Completer<std::monostate>> save_ended_;  // who waits for the end of the last of them
};

}  // namespace dunlin
