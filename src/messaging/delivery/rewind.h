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

// Proved by `known`, a position that `witness` holds and that only the server can have made: a new epoch begins, unless `ended` is over
// already. Sessions find it by themselves (SessionHost). What fails has changed nothing; the next witness tries again.
Task<Status> end_epoch(Timelines& timelines, Epoch ended, InboxPosition known, std::string_view witness);

}  // namespace dunlin
