#include "messaging/delivery/rewind.h"

#include <string>

#include "base/log.h"

namespace dunlin {

Task<Result<bool>> proves_rewind(SyncToken token, UserId user, Epoch epoch, Inboxes& inboxes) {
  if (token.epoch != epoch || !token.position) co_return false;
  co_return co_await inboxes.never_named(std::move(user), *token.position, token.run);
}

Task<Status> end_epoch(Timelines& timelines, Inboxes& inboxes, RewindProof proof) {
  const auto end = co_await inboxes.newest(proof.user);  // of the epoch that ends; without it the rest is told all the same
  CO_TRY_ASSIGN(const bool renewed, co_await timelines.renew_epoch(proof.ended));
  if (!renewed) co_return Status();
  log_error("delivery", "the store was put back to an earlier state under its clients: a new epoch begins, and all of them are reset",
            {{"witness", proof.witness},
             {"known_through", proof.known.value()},
             {"newest", end.ok() ? std::to_string(end->newest.value()) : std::string("unknown")},
             {"ended", proof.ended.text()},
             {"epoch", timelines.epoch().text()},
             {"remedy", "put a copy back by dunlin restore"}});
  co_return Status();
}

}  // namespace dunlin
