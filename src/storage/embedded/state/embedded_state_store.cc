#include "storage/embedded/state/embedded_state_store.h"

#include "base/check.h"
#include "storage/embedded/state/rocks_state.h"

namespace dunlin::embedded {
namespace {

// Brings each call to the offload pool. The blocking side is shared with the jobs, so that one which still runs when its caller is
// gone has what it needs.
class OffloadedState final : public EmbeddedStateStore {
 public:
  OffloadedState(std::shared_ptr<RocksState> rows, OffloadPool& pool) : rows_(std::move(rows)), pool_(pool) {}

  Task<Result<std::vector<DeviceRow>>> devices(UserId user) override {
    return offload(pool_, [rows = rows_, user = std::move(user)] { return rows->devices(user); });
  }
  InMemory device_in_memory(const UserId& user, const DeviceId& device) override { return rows_->device_in_memory(user, device); }
  Task<Result<std::vector<std::vector<DeviceRow>>>> devices_of(std::vector<UserId> users) override {
    return offload(pool_, [rows = rows_, users = std::move(users)] { return rows->devices_of(users); });
  }
  Task<Status> save_cursors(std::vector<CursorWrite> writes) override {
    return offload(pool_, [rows = rows_, writes = std::move(writes)] { return rows->save_cursors(writes); });
  }
  Task<Status> forget_device(UserId user, DeviceId device) override {
    return offload(pool_, [rows = rows_, user = std::move(user), device = std::move(device)] { return rows->forget_device(user, device); });
  }
  Task<Result<MessageSeq>> raise_read(ReadRaise raise) override {
    return offload(pool_, [rows = rows_, raise = std::move(raise)] { return rows->raise_read(raise); });
  }
  Task<Result<std::vector<MessageSeq>>> read_positions(std::vector<ReadKey> keys) override {
    return offload(pool_, [rows = rows_, keys = std::move(keys)] { return rows->read_positions(keys); });
  }
  Task<Result<ReadChangePage>> read_changes_since(UserId user, LogPosition since, std::size_t limit) override {
    return offload(pool_, [rows = rows_, user = std::move(user), since, limit] { return rows->read_changes_since(user, since, limit); });
  }

  Result<std::vector<RecallRow>> recalls() override { return rows_->recalls(); }
  Status add_recall(const RecallRow& row) override { return rows_->add_recall(row); }
  Status remove_recalls(std::span<const RecallRow> rows, bool durable) override { return rows_->remove_recalls(rows, durable); }

  LogPosition highest_cursor(Epoch epoch) override { return rows_->highest_cursor(epoch); }
  Result<std::uint64_t> lower_read_positions(LogPosition last, const HeadOf& head) override {
    return rows_->lower_read_positions(last, head);
  }
  Status sync() override { return rows_->sync(); }
  std::uint64_t rows_read() const override { return rows_->rows_read(); }
  Status checkpoint(const std::string& folder) override { return rows_->checkpoint(folder); }

 private:
  const std::shared_ptr<RocksState> rows_;
  OffloadPool& pool_;
};

}  // namespace

Result<std::unique_ptr<EmbeddedStateStore>> EmbeddedStateStore::open(StateOptions options) {
  CHECK(options.offload != nullptr);
  TRY_ASSIGN(std::unique_ptr<RocksState> rows, RocksState::open(options));
  return std::unique_ptr<EmbeddedStateStore>(std::make_unique<OffloadedState>(std::move(rows), *options.offload));
}

}  // namespace dunlin::embedded
