#include "messaging/delivery/cursor_keeper.h"

#include <algorithm>
#include <utility>

namespace dunlin {
namespace {

Attachment reset_at(const MessageStore& store) {
  Attachment out;
  out.cursor.epoch = store.epoch();
  out.cursor.position = store.settled_position();
  out.resume = ResumeKind::Reset;
  return out;
}

}  // namespace

Task<Result<Attachment>> CursorKeeper::attach(AttachRequest request) {
  Attachment out;
  out.cursor.epoch = store_.epoch();
  const WallTime now = clock_.wall();
  const bool other_epoch = request.token && request.token->epoch != store_.epoch();
  // Positions above what is stored come only from a log that was lost without a new epoch: nothing can be said about those either.
  const std::optional<LogPosition> acked = request.token ? request.token->position : std::nullopt;
  bool beyond = acked && *acked > store_.settled_position();
  if (beyond) {
    // The session that it was minted for may have been a little ahead of the settled position: is there such a record?
    CO_TRY_ASSIGN(const FeedPage record, co_await store_.feed(acked->prev(), 1));
    beyond = record.messages.empty();
  }
  const bool fresh = request.token && now - request.token->minted < rules_.forget_after;

  if (other_epoch || beyond) {
    out = reset_at(store_);
  } else if (fresh && acked) {
    out.cursor.position = *acked;
  } else if (request.inherited && !acked) {
    out.cursor = *std::move(request.inherited);
  } else {
    CO_TRY_ASSIGN(out, co_await from_rows(request));
  }
  out.cursor.last_seen = now;
  if (out.resume == ResumeKind::Reset) {
    keep({request.user, request.device, out.cursor});
    co_return out;
  }
  if (out.cursor.position < store_.trimmed_through()) CO_TRY(co_await find_truncated(request.user, out));
  co_return out;
}

// What the stored rows of the user's devices say.
Task<Result<Attachment>> CursorKeeper::from_rows(const AttachRequest& request) {
  std::map<DeviceId, DeviceCursor> unsaved;
  if (request.unsaved) unsaved = request.unsaved();
  CO_TRY_ASSIGN(std::vector<DeviceRow> rows, co_await state_.devices(request.user));
  const WallTime now = clock_.wall();
  const auto forgotten = [&](const DeviceRow& row) { return now - row.cursor.last_seen >= rules_.forget_after; };
  const auto mine = std::ranges::find(rows, request.device, &DeviceRow::device);
  if (mine != rows.end()) {
    Attachment out;
    out.cursor = mine->cursor;
    if (forgotten(*mine) || out.cursor.epoch != store_.epoch()) co_return reset_at(store_);
    if (request.token && request.token->position) {
      out.cursor.position = *request.token->position;
      out.cursor.exceptions.clear();
    }
    co_return out;
  }
  for (const DeviceRow& row : rows) {
    if (forgotten(row)) CO_TRY(co_await state_.forget_device(request.user, row.device));
  }
  std::erase_if(rows, forgotten);
  if (rows.size() >= rules_.max_devices) co_return Error(ErrorCode::DeviceLimit, "the user has the most devices allowed");
  for (DeviceRow& row : rows) {
    const auto ended = unsaved.find(row.device);
    if (ended != unsaved.end()) row.cursor = std::move(ended->second);
  }
  Attachment out = new_device(request, rows);
  // Written before the session begins, so that the next device counts this one.
  out.cursor.last_seen = now;
  std::vector<StateStore::CursorWrite> row;
  row.push_back({request.user, request.device, out.cursor});
  CO_TRY(co_await state_.save_cursors(std::move(row)));
  co_return out;
}

Attachment CursorKeeper::new_device(const AttachRequest& request, const std::vector<DeviceRow>& rows) const {
  // A token says that the device was known: what it has can no longer be told.
  if (request.token_given) return reset_at(store_);
  Attachment out;
  out.cursor.epoch = store_.epoch();
  const DeviceRow* farthest = nullptr;
  for (const DeviceRow& row : rows) {
    if (row.cursor.epoch != store_.epoch()) continue;
    if (farthest == nullptr || row.cursor.position > farthest->cursor.position) farthest = &row;
  }
  if (farthest != nullptr) {
    out.cursor = farthest->cursor;
  } else if (!rows.empty()) {
    return reset_at(store_);
  }
  return out;
}

Task<Status> CursorKeeper::find_truncated(UserId user, Attachment& attachment) {
  const LogPosition position = attachment.cursor.position;
  ConversationId after;
  for (bool more = true; more;) {
    CO_TRY_ASSIGN(ConversationsPage page, co_await store_.conversations(user, after, 128));
    for (const ConversationId& conversation : page.conversations) {
      after = conversation;
      CO_TRY_ASSIGN(const ConversationHead head, co_await store_.head(conversation));
      if (head.first_readable <= MessageSeq(1) || head.last_position <= position) continue;
      MessageSeq acked;
      if (const auto at = attachment.cursor.exceptions.find(conversation); at != attachment.cursor.exceptions.end()) {
        acked = at->second;
      } else {
        CO_TRY_ASSIGN(acked, co_await store_.seq_at(conversation, position));
      }
      if (acked.next() >= head.first_readable) continue;
      attachment.resume = ResumeKind::Truncated;
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

void CursorKeeper::keep(StateStore::CursorWrite write) {
  if (kept_.size() >= kMaxKept) kept_.erase(kept_.begin(), kept_.begin() + kMaxKept / 10);
  kept_.push_back(std::move(write));
}

Task<Result<std::size_t>> CursorKeeper::save() {
  std::vector<StateStore::CursorWrite> writes = std::exchange(kept_, {});
  if (writes.empty()) co_return std::size_t{0};
  ++saves_;
  Status saved = co_await state_.save_cursors(writes);
  --saves_;
  if (saved.ok()) {
    tell_saved();
    co_return writes.size();
  }
  // Before what was kept meanwhile: the last write of a device wins.
  std::vector<StateStore::CursorWrite> newer = std::exchange(kept_, std::move(writes));
  for (StateStore::CursorWrite& write : newer) keep(std::move(write));
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
  std::erase_if(kept_, [&](const StateStore::CursorWrite& write) { return write.user == user && write.device == device; });
}

}  // namespace dunlin
