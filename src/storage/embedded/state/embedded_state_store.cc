#include "storage/embedded/state/embedded_state_store.h"

#include <future>

#include "base/check.h"
#include "storage/embedded/state/rocks_state.h"

namespace dunlin::embedded {
namespace {

// Brings each call to the offload pool. The blocking side is shared with the jobs, so that one which still runs when its caller is
// gone has what it needs.
class OffloadedState final : public EmbeddedStateStore {
 public:
  OffloadedState(std::shared_ptr<RocksState> rows, OffloadPool& pool, ReadRaises* raises, const Clock* clock)
      : rows_(std::move(rows)),
        pool_(pool),
        raises_(raises != nullptr ? *raises : nothing_told_),
        riders_(std::make_shared<CursorRiders>(clock != nullptr ? *clock : system_clock())) {}

  Task<Result<std::vector<DeviceRow>>> devices(UserId user) override {
    return offload(pool_, [rows = rows_, user = std::move(user)] { return rows->devices(user); });
  }
  InMemory device_in_memory(const UserId& user, const DeviceId& device) override { return rows_->device_in_memory(user, device); }
  Task<Result<std::vector<std::vector<DeviceRow>>>> devices_of(std::vector<UserId> users) override {
    return offload(pool_, [rows = rows_, users = std::move(users)] { return rows->devices_of(users); });
  }
  Task<Status> save_cursors(std::vector<CursorWrite> writes) override {
    const std::uint64_t order = riders_->next_order(writes.size());
    return offload(pool_, [rows = rows_, riders = riders_, order, writes = std::move(writes)]() -> Status {
      TRY(rows->save_cursors(writes, order));
      riders->saved(writes, order);
      return {};
    });
  }
  void note_cursors(std::span<const CursorWrite> writes) override { riders_->note(writes); }
  Task<Status> forget_device(UserId user, DeviceId device) override {
    return offload(pool_, [rows = rows_, user = std::move(user), device = std::move(device)] { return rows->forget_device(user, device); });
  }
  Task<Result<MessageSeq>> raise_read(ReadRaise raise) override {
    const ReadRaises::UnderWay under_way(raises_);
    auto raised = offload(pool_, [rows = rows_, raise = std::move(raise), at = under_way.stamp()] { return rows->raise_read(raise, at); });
    co_return co_await std::move(raised);
  }
  Task<Result<std::vector<MessageSeq>>> read_positions(std::vector<ReadKey> keys) override {
    return offload(pool_, [rows = rows_, keys = std::move(keys)] { return rows->read_positions(keys); });
  }
  Task<Result<ReadChangePage>> read_changes_since(UserId user, InboxPosition since, std::size_t limit) override {
    return offload(pool_, [rows = rows_, user = std::move(user), since, limit] { return rows->read_changes_since(user, since, limit); });
  }

  Result<std::vector<RecallRow>> recalls() override { return rows_->recalls(); }
  Status add_recall(const RecallRow& row) override { return rows_->add_recall(row); }
  Status remove_recalls(std::span<const RecallRow> rows, bool durable) override { return rows_->remove_recalls(rows, durable); }

  CursorRiders& riders() override { return *riders_; }
  // On a thread of the pool: who asks may get no time for seconds (the indexer is idle), and workers and saves wait for the same locks.
  Status keep_cursors(LogPosition through) override {
    std::promise<Status> promise;
    std::future<Status> kept = promise.get_future();
    const bool queued = pool_.submit([rows = rows_, riders = riders_, through, promise = std::move(promise)]() mutable {
      promise.set_value(keep_through(*rows, *riders, through));
    });
    if (!queued) return Error(ErrorCode::Overloaded, "the queue for blocking work is full");
    return kept.get();
  }
  Result<std::size_t> take_back_cursors(Epoch epoch) override {
    std::size_t renewed = 0;
    TRY_ASSIGN(const std::size_t found, riders_->keep_read_back([&](std::span<const RidingCursor> slice) -> Status {
      TRY_ASSIGN(const std::size_t rows, rows_->renew_cursors(slice, epoch));
      renewed += rows;
      return {};
    }));
    if (found != 0) TRY(rows_->sync());
    return renewed;
  }

  InboxPosition highest_cursor(Epoch epoch) override { return rows_->highest_cursor(epoch); }
  Result<std::uint64_t> lower_read_positions(InboxPosition last, const HeadOf& head) override {
    return rows_->lower_read_positions(last, head);
  }
  Status sync() override { return rows_->sync(); }
  std::uint64_t rows_read() const override { return rows_->rows_read(); }
  Status checkpoint(const std::string& folder) override { return rows_->checkpoint(folder); }

 private:
  static Status keep_through(RocksState& rows, CursorRiders& riders, LogPosition through) {
    const auto kept = riders.keep_through(through, [&](std::span<const RidingCursor> slice) -> Status {
      TRY(rows.renew_cursors(slice, std::nullopt));
      return {};
    });
    if (!kept.ok()) return kept.error();
    return *kept == 0 ? Status() : rows.sync();
  }
  static const Clock& system_clock() {
    static const SystemClock clock;
    return clock;
  }

  const std::shared_ptr<RocksState> rows_;
  OffloadPool& pool_;
  ReadRaises nothing_told_{[] { return InboxPosition(); }};
  ReadRaises& raises_;
  const std::shared_ptr<CursorRiders> riders_;
};

}  // namespace

Result<std::unique_ptr<EmbeddedStateStore>> EmbeddedStateStore::open(StateOptions options) {
  CHECK(options.offload != nullptr);
  TRY_ASSIGN(std::unique_ptr<RocksState> rows, RocksState::open(options));
  return std::unique_ptr<EmbeddedStateStore>(
      std::make_unique<OffloadedState>(std::move(rows), *options.offload, options.raises, options.clock));
}

}  // namespace dunlin::embedded
