#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "messaging/delivery/cursor_keeper.h"
#include "net/connection_handle.h"
#include "runtime/completion.h"
#include "runtime/task.h"
#include "runtime/timer_wheel.h"

namespace dunlin {

class SessionHost;
struct Session;
struct SessionServices;

// Brings the cursors of a worker's sessions, which say how far each device has acked, into the store. In three ways:
//  - saved: every flush interval (2 s) those that have moved, in one write.
//  - noted: 50 ms after an ack. The store may drop a note; else kill -9 costs the device a repeat of 50 ms of messages, not of two seconds.
//  - at the end of a session: saved at the end of that turn, with those of all sessions that end in it. Until the store has confirmed it
//  the
//    cursor stands in DetachedCursors too, where the device finds it when it comes back at once, on whatever worker.
// What is saved late or not at all is an older cursor, which is still true: the device gets again what it has, and loses nothing.
//
// Owner: SessionHost. Thread: its worker's, but for forget_unsaved(). Bound: a handle for each session whose cursor moved, and
// CursorKeeper::kMaxKept cursors to be saved. One save is under way at a time.
class CursorFlush {
 public:
  explicit CursorFlush(SessionHost& host);
  ~CursorFlush();
  CursorFlush(const CursorFlush&) = delete;
  CursorFlush& operator=(const CursorFlush&) = delete;

  CursorKeeper& keeper() { return keeper_; }

  void note_changed(Session& session);  // its cursor may have moved
  void note_acked(Session& session);    // so that more is behind it
  // The session ends here: gives its last cursor, which is going to be saved.
  DeviceCursor detach(Session& session);
  // The device is nowhere any more: its next connect is told `reset`.
  void put_nowhere(const UserId& user, const DeviceId& device);

  // Every flush interval, and when the server stops.
  void save();
  void end_of_turn();

  // Nothing of what any worker keeps of the device, which has no session, is written any more when it ends well. On any worker, in the
  // user's turn; Timeout when a worker does not do it in time.
  static Task<Status> forget_unsaved(const SessionServices& services, MonotonicTime deadline, UserId user, DeviceId device);

 private:
  struct Detached {
    UserId user;
    DeviceId device;
    std::uint64_t number;  // of its entry in DetachedCursors
  };
  // Runs out once after the first ack, so that an idle worker sleeps.
  struct NoteTimer final : Timer {
    explicit NoteTimer(CursorFlush& owner) : flush(owner) {}
    void on_timer() override { flush.note(); }
    CursorFlush& flush;
  };

  DeviceCursor cursor_of(Session& session) const;
  void note();
  void note_some();
  Task<void> save_now();
  static Task<void> forget_kept(SessionHost& host, UserId user, DeviceId device, Completer<std::monostate> done);

  SessionHost& host_;
  CursorKeeper keeper_;
  std::vector<ConnectionHandle> changed_;         // since the last save
  std::vector<ConnectionHandle> changed_before_;  // scratch
  std::vector<ConnectionHandle> acked_;           // since the last note
  std::vector<ConnectionHandle> to_note_;         // those of the last note that are still to be written
  std::vector<Detached> detached_;                // sessions that ended, with what is saved next
  NoteTimer note_timer_{*this};
  bool saving_ = false;
  bool save_at_end_of_turn_ = false;
};

}  // namespace dunlin
