#include "messaging/delivery/rewind.h"

#include "base/log.h"

namespace dunlin {

bool proves_rewind(const SyncToken& token, const MessageStore& store) {
  if (token.epoch != store.epoch() || !token.position) return false;
  const StoreRun run = store.run();
  const bool of_earlier_run = token.run != 0 && run.id != 0 && token.run != run.id;
  return *token.position > (of_earlier_run ? run.began_at : store.newest_position());
}

Task<Status> end_epoch(MessageStore& store, Epoch ended, LogPosition known, std::string_view witness) {
  const LogPosition newest = store.newest_position();
  CO_TRY_ASSIGN(const bool renewed, co_await store.renew_epoch(ended));
  if (!renewed) co_return Status();
  log_error("delivery", "the store was put back to an earlier state under its clients: a new epoch begins, and all of them are reset",
            {{"witness", witness},
             {"known_through", known.value()},
             {"newest", newest.value()},
             {"ended", ended.text()},
             {"epoch", store.epoch().text()},
             {"remedy", "put a copy back by dunlin restore"}});
  co_return Status();
}

}  // namespace dunlin
