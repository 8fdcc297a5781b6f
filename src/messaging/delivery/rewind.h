#pragma once

#include <string_view>

#include "base/result.h"
#include "messaging/delivery/sync_token.h"
#include "messaging/ports/inboxes.h"
#include "messaging/ports/timelines.h"
#include "runtime/task.h"

namespace dunlin {

// A store that was put back to an earlier state gives seqs and positions a second time, in the old epoch, and nothing in it tells
// (docs/design/delivery.md). What the server has given away before does. Stateless; any worker.

// Only a store that had records which this one has not can have minted this token.
Task<Result<bool>> proves_rewind(SyncToken token, UserId user, Epoch epoch, Inboxes& inboxes);

// What proves that `ended` is over: a position of the user's that only the server can have made.
struct RewindProof {
  UserId user;
  Epoch ended;
  InboxPosition known;
  std::string_view witness;  // what holds it, for operators
};

// A new epoch begins, unless the proof's is over already. Operators read how far the store had got with this user and where his inbox ends
// now. Sessions find it by themselves (SessionHost). What fails has changed nothing; the next witness tries again.
Task<Status> end_epoch(Timelines& timelines, Inboxes& inboxes, RewindProof proof);

}  // namespace dunlin
