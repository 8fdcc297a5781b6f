// The part of SessionHost that writes where devices are: from time to time, and when their sessions end.
#include <utility>
#include <vector>

#include "base/log.h"
#include "runtime/deadline.h"
#include "runtime/spawn.h"
#include "session/session_host.h"

namespace dunlin {
namespace {

// How often a device's cursor is noted to the store at most: what is pushed again after kill -9 under load.
constexpr Milliseconds kNoteInterval{50};
// Cursors that are noted in one turn.
constexpr std::size_t kNoteSlice = 256;

}  // namespace

void SessionHost::save_cursors() {
  changed_before_.swap(changed_);
  for (const ConnectionHandle handle : changed_before_) {
    Session* session = find(handle);
    if (session == nullptr || !session->attached) continue;
    session->changed = false;
    keep_cursor(*session);
    if (!session->delivery->caught_up()) note_changed(*session);
  }
  changed_before_.clear();
  if (cursors_.kept() == 0) return;
  if (saving_) {
    save_at_end_of_turn_ = true;
  } else {
    spawn(save_now());
  }
}

void SessionHost::note_acked(Session& session) {
  if (session.acked || !session.attached) return;
  session.acked = true;
  acked_.push_back(session.handle());
  if (!note_timer_.armed()) worker_.timers().arm(note_timer_, now() + kNoteInterval);
}

// Those whose acks have moved, in slices, so that no turn walks all sessions. What takes longer than the interval ends first.
void SessionHost::note_cursors() {
  if (!to_note_.empty()) return worker_.timers().arm(note_timer_, now() + kNoteInterval);
  to_note_.swap(acked_);
  note_some_cursors();
}

void SessionHost::note_some_cursors() {
  std::vector<DeviceStates::CursorWrite> writes;
  for (std::size_t done = 0; done < kNoteSlice && !to_note_.empty(); ++done) {
    Session* session = find(to_note_.back());
    to_note_.pop_back();
    if (session == nullptr) continue;
    session->acked = false;
    if (!session->attached) continue;
    writes.push_back({session->user_id, session->device, session->delivery->noted_cursor()});
    writes.back().cursor.epoch = session->epoch;
    writes.back().cursor.platform = session->platform;
  }
  if (!writes.empty()) services_.devices.note_cursors(writes);
  if (to_note_.empty()) return;
  if (!worker_.post([this] { note_some_cursors(); })) to_note_.clear();  // the worker is ending
}

// Where the device is, in the epoch that its session began in.
DeviceCursor SessionHost::cursor_of(Session& session) {
  DeviceCursor cursor = session.delivery->cursor();
  cursor.epoch = session.epoch;
  cursor.last_seen = wall();
  cursor.platform = session.platform;
  return cursor;
}

void SessionHost::keep_cursor(Session& session) {
  if (!session.delivery->changed()) return;
  cursors_.keep({session.user_id, session.device, cursor_of(session)});
}

Task<void> SessionHost::save_now() {
  saving_ = true;
  save_at_end_of_turn_ = false;
  std::vector<Detached> covered = std::exchange(detached_, {});
  const auto saved = co_await cursors_.save();
  if (saved.ok()) {
    for (const Detached& end : covered) services_.detached.stored(end.user.view(), end.device.view(), end.number);
  } else {
    detached_.insert(detached_.end(), covered.begin(), covered.end());
    log_warn("session", "cursors could not be saved, the next save tries again", {{"error", saved.error().to_string()}});
  }
  // What was kept meanwhile and asks for it goes at once: at a stop there may be no next turn.
  if (saved.ok() && save_at_end_of_turn_ && cursors_.kept() > 0) co_return co_await save_now();
  saving_ = false;
}

// The session's last cursor is written at once, with those of all that end in this turn; until it is, the device finds it in `detached`.
// One in which nothing has moved says when its device was seen, unless there is so much to write that cursors would be lost for it.
void SessionHost::detach(Session& session) {
  if (!session.delivery->changed() && cursors_.kept() >= CursorKeeper::kMaxKept / 2) return;
  DeviceCursor cursor = cursor_of(session);
  const std::uint64_t number = services_.detached.put(session.user_id.view(), session.device.view(), cursor);
  if (number != 0) detached_.push_back({session.user_id, session.device, number});
  cursors_.keep({session.user_id, session.device, std::move(cursor)});
  save_at_end_of_turn_ = true;
}

Task<void> SessionHost::forget_kept(SessionHost& host, UserId user, DeviceId device, Completer<std::monostate> done) {
  co_await host.cursors_.forget(std::move(user), std::move(device));
  done.complete(std::monostate{});
}

Task<Status> SessionHost::forget_unsaved(const SessionServices& services, MonotonicTime deadline, UserId user, DeviceId device) {
  std::vector<Completion<std::monostate>> forgotten;
  for (SessionHost* host : services.hosts) {
    auto [completer, completion] = make_completion<std::monostate>();
    host->on_worker([host, user, device, done = std::move(completer)]() mutable {
      spawn(forget_kept(*host, std::move(user), std::move(device), std::move(done)));
    });
    forgotten.push_back(std::move(completion));
  }
  for (Completion<std::monostate>& one : forgotten) CO_TRY(co_await until(deadline, std::move(one)));
  services.detached.forget(user.view(), device.view());
  co_return Status();
}

void SessionHost::save_soon() {
  on_worker([this] { save_cursors(); });
}

}  // namespace dunlin
