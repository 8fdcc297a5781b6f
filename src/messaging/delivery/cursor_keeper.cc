#include "messaging/delivery/cursor_keeper.h"

#include <algorithm>
#include <utility>

#include "messaging/delivery/rewind.h"
#include "runtime/deadline.h"

namespace dunlin {
namespace {

constexpr std::chrono::hours kRefreshSeen{24};  // a row that says less than this wrongly when its device was seen is not rewritten for it

}  // namespace

Task<Result<Attachment>> CursorKeeper::attach(AttachRequest request) {
  CO_TRY_ASSIGN(Attachment out, co_await begin(request));
  if (out.resume != Resume::Reset && out.cursor.position < inboxes_.trimmed_through(request.user.view()))
    CO_TRY(co_await find_truncated(request.user, out));
  co_return out;
}

// In the user's turn.
Task<Result<Attachment>> CursorKeeper::begin(AttachRequest& request) {
  CO_TRY_ASSIGN(const DeviceTurns::Turn turn, co_await until(clock_.monotonic() + rules_.patience, turns_.take(request.user)));
  if (request.connected && !request.connected(request.device)) co_return Error(ErrorCode::Cancelled, "the session has ended");
  const WallTime now = clock_.wall();
  // A session that has just ended has seen it, whatever the clock says since.
  const auto counts = [&](const DeviceCursor& mine) { return !mine.forgotten && (request.inherited || !rules_.idle(mine, now)); };

  DeviceStates::InMemory row = devices_.device_in_memory(request.user, request.device);
  std::vector<DeviceRow> rows;
  if (!row.cursor || !counts(*row.cursor)) {
    CO_TRY_ASSIGN(rows, co_await read_rows(request));
    const auto mine = std::ranges::find(rows, request.device, &DeviceRow::device);
    row.cursor = mine == rows.end() ? std::nullopt : std::optional(mine->cursor);
  }
  const DeviceCursor* mine = row.cursor ? &*row.cursor : nullptr;
  CO_TRY_ASSIGN(Attachment out, co_await position(request, mine, rows));
  out.cursor.last_seen = now;
  out.cursor.platform = request.platform == metrics::Platform{} && mine != nullptr ? mine->platform : request.platform;
  if (mine == nullptr || !counts(*mine)) {
    CO_TRY(co_await admit(request, std::move(rows), out));
    co_return out;
  }
  const bool stale = now - mine->last_seen >= kRefreshSeen || mine->last_seen - now >= kRefreshSeen;
  if (out.resume == Resume::Reset || stale || out.cursor.platform != mine->platform) keep({request.user, request.device, out.cursor});
  co_return out;
}

Task<Result<std::vector<DeviceRow>>> CursorKeeper::read_rows(const AttachRequest& request) {
  std::map<DeviceId, DeviceCursor> unsaved;
  if (request.unsaved) unsaved = request.unsaved();
  CO_TRY_ASSIGN(std::vector<DeviceRow> rows, co_await devices_.devices(request.user));
  for (DeviceRow& row : rows) {
    const auto ended = unsaved.find(row.device);
    if (ended != unsaved.end() && row.device != request.device) row.cursor = std::move(ended->second);
  }
  co_return rows;
}

// Where the delivery begins. `mine`: the device's row; `rows` are read when it does not count.
Task<Result<Attachment>> CursorKeeper::position(AttachRequest& request, const DeviceCursor* mine, const std::vector<DeviceRow>& rows) {
  // Also at the end: when it is over meanwhile, the caller sees it by the cursor's.
  const Epoch epoch = timelines_.epoch();
  CO_TRY_ASSIGN(const bool ended, co_await ends_epoch(request, epoch, mine, rows));
  if (ended) co_return co_await reset(request.user);

  Attachment out;
  out.cursor.epoch = epoch;
  const WallTime now = clock_.wall();
  const bool other_epoch = (request.token && request.token->epoch != epoch) || (request.inherited && request.inherited->epoch != epoch);
  if (other_epoch || request.claims_unknown || (mine != nullptr && mine->forgotten)) co_return co_await reset(request.user);
  const std::optional<InboxPosition> acked = request.token ? request.token->position : std::nullopt;
  const bool fresh = request.token && now - request.token->minted < rules_.forget_after;
  if (fresh && acked) {
    out.cursor.position = *acked;
  } else if (request.inherited && !acked) {
    out.cursor = *std::move(request.inherited);
  } else if (mine == nullptr) {
    auto fresh_device = new_device(request, rows);
    if (!fresh_device) co_return co_await reset(request.user);
    out = *std::move(fresh_device);
  } else {
    if (rules_.idle(*mine, now) || mine->epoch != epoch) co_return co_await reset(request.user);
    out.cursor = *mine;
    if (acked) {
      out.cursor.position = *acked;
      out.cursor.exceptions.clear();
    }
  }
  co_return out;
}

// A token or a cursor that only a store with more records can have made.
Task<Result<bool>> CursorKeeper::ends_epoch(const AttachRequest& request, Epoch epoch, const DeviceCursor* mine,
                                            const std::vector<DeviceRow>& rows) {
  if (request.token) {
    CO_TRY_ASSIGN(const bool proved, co_await proves_rewind(*request.token, request.user, epoch, inboxes_));
    if (proved) {
      RewindProof proof{request.user, epoch, *request.token->position, "a sync_token"};
      CO_TRY(co_await end_epoch(timelines_, inboxes_, std::move(proof)));
      co_return true;
    }
  }
  // What the farthest does not prove, none does.
  InboxPosition known;
  if (mine != nullptr && mine->epoch == epoch) known = mine->position;
  for (const DeviceRow& row : rows) {
    if (row.cursor.epoch == epoch) known = std::max(known, row.cursor.position);
  }
  if (known == InboxPosition()) co_return false;
  CO_TRY_ASSIGN(const bool proved, co_await inboxes_.never_named(request.user, known, 0));
  if (!proved) co_return false;
  RewindProof proof{request.user, epoch, known, "the cursor of a device"};
  CO_TRY(co_await end_epoch(timelines_, inboxes_, std::move(proof)));
  co_return true;
}

// Delivery begins now; the client syncs anew.
Task<Result<Attachment>> CursorKeeper::reset(UserId user) {
  Attachment out;
  out.cursor.epoch = timelines_.epoch();
  CO_TRY_ASSIGN(const InboxEnd end, co_await inboxes_.newest(std::move(user)));
  out.cursor.position = end.newest;
  out.resume = Resume::Reset;
  co_return out;
}

// A place for the device among the user's. Who makes room leaves a row that says so.
Task<Status> CursorKeeper::admit(const AttachRequest& request, std::vector<DeviceRow> rows, Attachment& attachment) {
  const WallTime now = clock_.wall();
  std::size_t connected = 0;
  std::vector<DeviceRow> away;
  std::vector<DeviceRow> forgotten;
  for (DeviceRow& row : rows) {
    if (row.device == request.device) continue;
    if (!row.cursor.forgotten && request.connected && request.connected(row.device)) {
      ++connected;
    } else {
      const bool counts = !row.cursor.forgotten && !rules_.idle(row.cursor, now);
      row.cursor.last_seen = std::min(row.cursor.last_seen, now);  // a clock that was ahead gives nobody more time
      (counts ? away : forgotten).push_back(std::move(row));
    }
  }
  if (connected >= rules_.max_devices)
    co_return Error(ErrorCode::DeviceLimit, "all " + std::to_string(connected) + " devices that the user may have are connected");

  std::ranges::sort(away, {}, [](const DeviceRow& row) { return std::pair(row.cursor.last_seen, row.device.view()); });
  const std::size_t places = rules_.max_devices - connected - 1;
  std::vector<DeviceStates::CursorWrite> writes;
  for (std::size_t i = 0; i + places < away.size(); ++i) {
    if (request.forget_unsaved) CO_TRY(co_await request.forget_unsaved(away[i].device));
    writes.push_back({request.user, away[i].device, DeviceCursor::of_forgotten(now)});
    forgotten.push_back({away[i].device, writes.back().cursor});
    attachment.forgotten.push_back(away[i].device);
  }
  // Written before the session begins, so that the next device counts this one.
  writes.push_back({request.user, request.device, attachment.cursor});
  CO_TRY(co_await devices_.save_cursors(std::move(writes)));
  co_return co_await purge(request.user, std::move(forgotten));
}

// As many rows of devices that count no more stay as there may be others: the clock may be wrong, and who comes back is told.
Task<Status> CursorKeeper::purge(const UserId& user, std::vector<DeviceRow> forgotten) {
  if (forgotten.size() <= rules_.max_devices) co_return Status();
  std::ranges::sort(forgotten, {}, [](const DeviceRow& row) { return row.cursor.last_seen; });
  for (std::size_t i = 0; i + rules_.max_devices < forgotten.size(); ++i)
    CO_TRY(co_await devices_.forget_device(user, forgotten[i].device));
  co_return Status();
}

// Nothing: reset.
std::optional<Attachment> CursorKeeper::new_device(const AttachRequest& request, const std::vector<DeviceRow>& rows) const {
  // A token says that the device was known: what it has can no longer be told.
  if (request.token_given) return std::nullopt;
  Attachment out;
  out.cursor.epoch = timelines_.epoch();
  const DeviceRow* farthest = nullptr;
  bool others = false;
  for (const DeviceRow& row : rows) {
    if (row.cursor.forgotten || rules_.idle(row.cursor, clock_.wall())) continue;
    others = true;
    if (row.cursor.epoch != timelines_.epoch()) continue;
    if (farthest == nullptr || row.cursor.position > farthest->cursor.position) farthest = &row;
  }
  if (farthest != nullptr) {
    out.cursor = farthest->cursor;
  } else if (others) {
    return std::nullopt;
  }
  return out;
}

Task<Status> CursorKeeper::find_truncated(UserId user, Attachment& attachment) {
  const InboxPosition position = attachment.cursor.position;
  ConversationId after;
  for (bool more = true; more;) {
    CO_TRY_ASSIGN(ConversationsPage page, co_await inboxes_.conversations(user, after, 128));
    for (const ConversationId& conversation : page.conversations) {
      after = conversation;
      CO_TRY_ASSIGN(const ConversationHead head, co_await timelines_.head(conversation));
      if (head.first_readable <= MessageSeq(1)) continue;
      MessageSeq acked;
      if (const auto at = attachment.cursor.exceptions.find(conversation); at != attachment.cursor.exceptions.end()) {
        acked = at->second;
      } else {
        CO_TRY_ASSIGN(acked, co_await inboxes_.seq_at(user, conversation, position));
      }
      if (acked.next() >= head.first_readable) continue;
      attachment.resume = Resume::Truncated;
      if (attachment.truncated.size() >= kMaxNamed) {
        attachment.more_truncated = true;
        co_return Status();
      }
      attachment.truncated.push_back({conversation, head.first_readable});
    }
    more = page.more;
  }
  co_return Status();
}

void CursorKeeper::keep(DeviceStates::CursorWrite write) {
  if (kept_.size() >= kMaxKept) kept_.erase(kept_.begin(), kept_.begin() + kMaxKept / 10);
  kept_.push_back(std::move(write));
}

Task<Result<std::size_t>> CursorKeeper::save() {
  std::vector<DeviceStates::CursorWrite> writes = std::exchange(kept_, {});
  if (writes.empty()) co_return std::size_t{0};
  ++saves_;
  Status saved = co_await devices_.save_cursors(writes);
  --saves_;
  if (saved.ok()) {
    tell_saved();
    co_return writes.size();
  }
  // Before what was kept meanwhile: the last write of a device wins.
  std::vector<DeviceStates::CursorWrite> newer = std::exchange(kept_, std::move(writes));
  for (DeviceStates::CursorWrite& write : newer) keep(std::move(write));
  tell_saved();
  co_return std::move(saved).error();
}

void CursorKeeper::tell_saved() {
  if (saves_ > 0) return;
  for (auto& waiting : std::exchange(save_ended_, {})) waiting.complete(std::monostate{});
}

Task<void> CursorKeeper::forget(UserId user, DeviceId device) {
  while (saves_ > 0) {
    auto [completer, completion] = make_completion<std::monostate>();
    save_ended_.push_back(std::move(completer));
    static_cast<void>(co_await std::move(completion));
  }
  std::erase_if(kept_, [&](const DeviceStates::CursorWrite& write) { return write.user == user && write.device == device; });
}

}  // namespace dunlin
