#include "session/cursor_flush.h"

#include <utility>

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

CursorFlush::CursorFlush(SessionHost& host)
    : host_(host),
      keeper_(host.services().timelines, host.services().inboxes, host.services().devices, host.services().clock,
              host.services().device_turns, host.options().devices) {}

CursorFlush::~CursorFlush() {
  host_.worker().timers().cancel(note_timer_);
}

void CursorFlush::note_changed(Session& session) {
  if (session.changed || !session.attached) return;
  session.changed = true;
  changed_.push_back(session.handle());
}

void CursorFlush::note_acked(Session& session) {
  if (session.acked || !session.attached) return;
  session.acked = true;
  acked_.push_back(session.handle());
  if (!note_timer_.armed()) host_.worker().timers().arm(note_timer_, host_.now() + kNoteInterval);
}

// In slices, so that no turn walks all sessions. What takes longer than the interval ends first.
void CursorFlush::note() {
  if (!to_note_.empty()) return host_.worker().timers().arm(note_timer_, host_.now() + kNoteInterval);
  to_note_.swap(acked_);
  note_some();
}

void CursorFlush::note_some() {
  std::vector<DeviceStates::CursorWrite> writes;
  for (std::size_t done = 0; done < kNoteSlice && !to_note_.empty(); ++done) {
    Session* session = host_.find(to_note_.back());
    to_note_.pop_back();
    if (session == nullptr) continue;
    session->acked = false;
    if (!session->attached) continue;
    writes.push_back({session->user_id, session->device, session->delivery->noted_cursor()});
    writes.back().cursor.epoch = session->epoch;
    writes.back().cursor.platform = session->platform;
  }
  if (!writes.empty()) host_.services().devices.note_cursors(writes);
  if (to_note_.empty()) return;
  if (!host_.worker().post([this] { note_some(); })) to_note_.clear();  // the worker is ending
}

// Where the device is, in the epoch that its session began in.
DeviceCursor CursorFlush::cursor_of(Session& session) const {
  DeviceCursor cursor = session.delivery->cursor();
  cursor.epoch = session.epoch;
  cursor.last_seen = host_.wall();
  cursor.platform = session.platform;
  return cursor;
}

void CursorFlush::save() {
  changed_before_.swap(changed_);
  for (const ConnectionHandle handle : changed_before_) {
    Session* session = host_.find(handle);
    if (session == nullptr || !session->attached) continue;
    session->changed = false;
    if (session->delivery->changed()) keeper_.keep({session->user_id, session->device, cursor_of(*session)});
    if (!session->delivery->caught_up()) note_changed(*session);
  }
  changed_before_.clear();
  if (keeper_.kept() == 0) return;
  if (saving_) {
    save_at_end_of_turn_ = true;
  } else {
    spawn(save_now());
  }
}

void CursorFlush::end_of_turn() {
  if (save_at_end_of_turn_ && !saving_) spawn(save_now());
}

Task<void> CursorFlush::save_now() {
  saving_ = true;
  save_at_end_of_turn_ = false;
  std::vector<Detached> covered = std::exchange(detached_, {});
  DetachedCursors& waiting = host_.services().detached;
  const auto saved = co_await keeper_.save();
  if (saved.ok()) {
    for (const Detached& end : covered) waiting.stored(end.user.view(), end.device.view(), end.number);
  } else {
    detached_.insert(detached_.end(), covered.begin(), covered.end());
    log_warn("session", "cursors could not be saved, the next save tries again", {{"error", saved.error().to_string()}});
  }
  // What was kept meanwhile and asks for it goes at once: at a stop there may be no next turn.
  if (saved.ok() && save_at_end_of_turn_ && keeper_.kept() > 0) co_return co_await save_now();
  saving_ = false;
}

// One in which nothing has moved says when its device was seen, unless there is so much to write that cursors would be lost for it.
DeviceCursor CursorFlush::detach(Session& session) {
  const bool moved = session.delivery->changed();
  DeviceCursor cursor = cursor_of(session);
  if (!moved && keeper_.kept() >= CursorKeeper::kMaxKept / 2) return cursor;
  const std::uint64_t number = host_.services().detached.put(session.user_id.view(), session.device.view(), cursor);
  if (number != 0) detached_.push_back({session.user_id, session.device, number});
  keeper_.keep({session.user_id, session.device, cursor});
  save_at_end_of_turn_ = true;
  return cursor;
}

// In DetachedCursors too until the device was told, and so without a number by which it would go when it is saved: a token of before would
// win over the row, which is then not even read.
void CursorFlush::put_nowhere(const UserId& user, const DeviceId& device) {
  DeviceCursor nowhere;
  nowhere.last_seen = host_.wall();
  host_.services().detached.put(user.view(), device.view(), nowhere);
  keeper_.keep({user, device, std::move(nowhere)});
  save_at_end_of_turn_ = true;
}

Task<void> CursorFlush::forget_kept(SessionHost& host, UserId user, DeviceId device, Completer<std::monostate> done) {
  co_await host.cursor_flush().keeper().forget(std::move(user), std::move(device));
  done.complete(std::monostate{});
}

Task<Status> CursorFlush::forget_unsaved(const SessionServices& services, MonotonicTime deadline, UserId user, DeviceId device) {
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

}  // namespace dunlin
