#include "server/embedded_engine.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/log.h"
#include "base/memory_limit.h"
#include "server/secret_file.h"
#include "storage/embedded/embedded_store.h"

namespace dunlin {
namespace {

using embedded::EmbeddedOptions;
using embedded::EmbeddedStore;

Result<SipKey> key_of(const std::string& hex) {
  SipKey key;
  const char* text = hex.data();
  const bool low = std::from_chars(text, text + 16, key.low, 16).ptr == text + 16;
  const bool high = std::from_chars(text + 16, text + 32, key.high, 16).ptr == text + 32;
  if (!low || !high) return Error(ErrorCode::Corrupt, "the sync_token secret is not hexadecimal");
  return key;
}

class EmbeddedEngine final : public Engine {
 public:
  EmbeddedEngine(std::unique_ptr<EmbeddedStore> store, std::string path, Faults& faults, ServerMetrics& metrics)
      : store_(std::move(store)), path_(std::move(path)), faults_(faults), metrics_(metrics) {}

  Timelines& timelines() override { return *store_; }
  Inboxes& inboxes() override { return *store_; }
  DeviceStates& devices() override { return store_->state(); }
  void close() override { store_->close(); }

  // The committer proves nothing while nobody sends: so a few bytes, others each time, are written and synced beside the log, on the same
  // file system, the same way, and read back.
  Status probe() override {
    const std::string written = fmt::format("{:016x}", ++probes_);
    TRY_ASSIGN(auto file, faults_.file_system().open(path_ + "/probe", embedded::OpenMode::Create));
    TRY(file->write(0, written));
    TRY(file->sync_data());
    std::string read;
    TRY(file->read(0, written.size(), read));
    if (read != written) return Error(ErrorCode::Io, "the disk gives back something else than what was written");
    return {};
  }

  void collect() override {
    const embedded::LogStats log = store_->log_stats();
    const embedded::History::Stats history = store_->history_stats();
    metrics_.store_window_bytes.set(static_cast<std::int64_t>(log.window_bytes));
    metrics_.store_log_backlog_bytes.set(static_cast<std::int64_t>(log.log_bytes));
    metrics_.store_retained_bytes.set(static_cast<std::int64_t>(log.log_bytes + log.kept_bytes + history.bytes));
    const std::uint64_t rows_read = store_->rows_read();
    metrics_.store_rows_read_total.add(rows_read - rows_read_);
    rows_read_ = rows_read;
    const std::uint64_t disk_rows_read = store_->disk_rows_read();
    metrics_.store_disk_rows_read_total.add(disk_rows_read - disk_rows_read_);
    disk_rows_read_ = disk_rows_read;
    if (history.corrupt_files > corrupt_files_) {
      metrics_.store_corrupt_records_total.add(history.corrupt_files - corrupt_files_);
      corrupt_files_ = history.corrupt_files;
    }
    collect_followers();
    metrics_.store_log_kept_bytes.set(static_cast<std::int64_t>(log.kept_bytes));
    metrics_.store_recalls_waiting.set(static_cast<std::int64_t>(log.recalls_waiting));
    metrics_.store_clock_trusted.set(history.clock_trusted ? 1 : 0);
    const StoreHealth health = store_->health();
    metrics_.store_alarms.set(health.writable && health.readable ? 0 : 1);
  }

  Status backup(const std::string& folder, const std::function<bool(std::uint64_t, std::uint64_t)>& progress) override {
    return store_->backup_to(folder, [&](const EmbeddedStore::BackupProgress& at) { return progress(at.done_bytes, at.total_bytes); });
  }

  Result<SipKey> token_key() override {
    TRY_ASSIGN(const SecretFile secret, read_or_make_secret(path_ + "/" + kSyncSecretFile));
    return key_of(secret.hex);
  }

 private:
  void collect_followers() {
    std::int64_t following = 0;
    std::int64_t reset = 0;
    std::uint64_t lag = 0;
    const std::uint64_t end = store_->feed_end().value();
    for (const Follower& follower : store_->followers()) {
      ++(follower.reset ? reset : following);
      if (!follower.reset && follower.position.value() < end) lag = std::max(lag, end - follower.position.value());
    }
    metrics_.store_followers(metrics::FollowerState::Following).set(following);
    metrics_.store_followers(metrics::FollowerState::Reset).set(reset);
    metrics_.store_follower_lag_messages.set(static_cast<std::int64_t>(lag));
  }

  const std::unique_ptr<EmbeddedStore> store_;
  const std::string path_;
  Faults& faults_;
  ServerMetrics& metrics_;
  std::uint64_t rows_read_ = 0;       // as far as the metrics know
  std::uint64_t disk_rows_read_ = 0;  // the same
  std::uint64_t corrupt_files_ = 0;
  std::uint64_t probes_ = 0;  // of the prober's thread
};

EmbeddedOptions options_of(const EngineParts& parts) {
  const StoreConfig& store = parts.config.store;
  EmbeddedOptions options;
  options.path = store.path;
  const MemoryLimit memory = memory_limit();
  options.memory_bytes = memory.bytes;
  log_info("store", "window and caches are sized for the memory that this process may use",
           {{"bytes", memory.bytes}, {"from", memory.from}});
  options.offload = &parts.offload;
  options.clock = &parts.clock;
  options.durability = parse_durability(store.durability).value_or(Durability::Fsync);
  options.segment_bytes = static_cast<std::uint64_t>(store.log_segment_bytes);
  options.window_bytes = static_cast<std::uint64_t>(store.window_bytes);
  options.keep_recent = true;
  options.backlog_bytes = static_cast<std::uint64_t>(store.log_backlog_bytes);
  options.kept_bytes = static_cast<std::uint64_t>(store.log_max_bytes);
  options.reserve_fraction = static_cast<double>(store.reserve_percent) / 100;
  options.volume_span = std::chrono::seconds(store.volume_span_seconds);
  options.volume_bytes = static_cast<std::uint64_t>(store.volume_max_bytes);
  options.retention = std::chrono::seconds(parts.config.message.retention_in_seconds());
  options.retention_bytes = static_cast<std::uint64_t>(parts.config.message.retention_bytes);
  if (options.retention.count() > 0) {
    // Short retentions (tests) are looked after as often as they mean it.
    options.retain_every =
        std::clamp(std::chrono::milliseconds(options.retention) / 4, std::chrono::milliseconds(250), options.retain_every);
  }
  if (options.retention_bytes > 0) options.retain_every = std::min(options.retain_every, std::chrono::milliseconds(1000));
  options.file_system = &parts.faults.file_system();
  options.on_batch = [&metrics = parts.metrics](const embedded::BatchMeasure& batch) {
    metrics.store_batch_messages.observe(batch.records);
    metrics.store_commit_seconds.observe(batch.took);
    if (batch.sync_took.count() > 0) metrics.store_sync_seconds.observe(batch.sync_took);
  };
  options.fault_point = [&faults = parts.faults](std::string_view point) { faults.reached(point); };
  return options;
}

}  // namespace

Result<std::unique_ptr<Engine>> open_embedded_engine(const EngineParts& parts) {
  TRY_ASSIGN(auto store, EmbeddedStore::open(options_of(parts)));
  const embedded::RecoveryReport& found = store->recovery();
  log_info("store", "open",
           {{"path", parts.config.store.path},
            {"epoch", store->epoch().text()},
            {"recovered", found.records},
            {"cut_bytes", found.cut_bytes},
            {"corrupt", found.corrupt_records},
            {"epoch_renewed", found.epoch_renewed}});
  parts.metrics.store_corrupt_records_total.add(found.corrupt_records);
  return std::unique_ptr<Engine>(std::make_unique<EmbeddedEngine>(std::move(store), parts.config.store.path, parts.faults, parts.metrics));
}

Status check_secret(const std::string& folder, const std::string& name) {
  const std::string path = folder + "/" + name;
  std::error_code error;
  if (!std::filesystem::exists(path, error) && !error) return {};
  if (error) return Error(ErrorCode::Io, "reading " + path + ": " + error.message());
  TRY_ASSIGN(const SecretFile secret, read_or_make_secret(path));
  if (name == kSyncSecretFile) TRY(key_of(secret.hex));
  return {};
}

}  // namespace dunlin
