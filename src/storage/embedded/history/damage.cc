#include "storage/embedded/history/damage.h"

#include <rocksdb/listener.h>

#include "base/log.h"

namespace dunlin::embedded {
namespace {

// What an operator does about it.
constexpr std::string_view kRemedy = "`dunlin verify DATA` names what is lost; `dunlin restore BACKUP --into DATA` brings a backup back";

// RocksDB names the file in the text of a status ("... in /data/history/000012.sst offset 4096 ..."); empty when it does not.
std::string file_in(const std::string& text) {
  const std::size_t end = text.find(".sst");
  if (end == std::string::npos) return {};
  std::size_t begin = end;
  while (begin > 0 && text[begin - 1] >= '0' && text[begin - 1] <= '9') --begin;
  return text.substr(begin, end + 4 - begin);
}

}  // namespace

class Damage::Listener final : public rocksdb::EventListener {
 public:
  explicit Listener(Damage& damage) : damage_(damage) {}

  void OnCompactionCompleted(rocksdb::DB*, const rocksdb::CompactionJobInfo& job) override {
    if (is_damage(job.status)) damage_.compaction_failed(job.cf_name, job.status);
  }
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* status) override {
    using enum rocksdb::BackgroundErrorReason;
    if (status->ok()) return;
    // A compaction or an entry of the manifest leaves everything as it was when it fails, so neither is a reason to stop writes: damage
    // is contained above, a full disk or I/O error ends the next ingest by itself, and that one begins a new manifest.
    // A stop could not be lifted: after Resume(), RocksDB 7.8 takes an ingest without giving numbers to its files.
    const bool manifest = reason == kManifestWrite || reason == kManifestWriteNoWAL;
    if (!manifest && reason != kCompaction) return damage_.stopped(*status);
    if (manifest) damage_.manifest_failed(*status);
    *status = rocksdb::Status::OK();
  }
  // RocksDB's own recovery would wait for more free space than a write needs, and refuse ours meanwhile.
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool* recover) override { *recover = false; }

 private:
  Damage& damage_;
};

Damage::Damage() : listener_(std::make_shared<Listener>(*this)) {}
Damage::~Damage() = default;

std::shared_ptr<rocksdb::EventListener> Damage::listener() const {
  return listener_;
}

bool Damage::note_file(const std::string& name) {
  MutexLock lock(mutex_);
  return files_.insert(name).second;
}

void Damage::found(Column& column, const rocksdb::Status& status) {
  const std::string text = status.ToString();
  const std::string file = file_in(text);
  if (note_file(file.empty() ? column.name() : file)) {
    log_error("history", "a stored file is damaged; its rows are reported as gaps, the rest keeps serving",
              {{"family", column.name()}, {"file", file}, {"error", text}, {"remedy", kRemedy}});
  }
  column.contain();
}

void Damage::row_found(Column& column, std::string_view what) {
  if (note_file(column.name())) {
    log_error("history", "a stored row does not match its checksum; it is reported as a gap",
              {{"family", column.name()}, {"row", what}, {"remedy", kRemedy}});
  }
  column.contain();
}

void Damage::rows_lost(const ConversationId& conversation, const SeqGap& seqs) {
  if (logged_rows_.fetch_add(1, std::memory_order_relaxed) >= kLoggedRows) return;
  log_error("history", "messages cannot be read",
            {{"conversation", conversation.view()}, {"from_seq", seqs.from.value()}, {"to_seq", seqs.to.value()}});
}

void Damage::compaction_failed(const std::string& column, const rocksdb::Status& status) {
  const std::string file = file_in(status.ToString());
  bool first = false;
  {
    MutexLock lock(mutex_);  // one step: who sees the file counted finds the column in the next ingest
    failed_columns_.insert(column);
    first = files_.insert(file.empty() ? column : file).second;
  }
  if (!first) return;
  log_error("history", "compaction met a damaged file; it is kept out of compaction",
            {{"family", column}, {"file", file}, {"error", status.ToString()}, {"remedy", kRemedy}});
}

void Damage::manifest_failed(const rocksdb::Status& status) {
  log_error("history", "an entry of history's manifest failed; the next segment begins a new one", {{"error", status.ToString()}});
  MutexLock lock(mutex_);
  ++manifest_failures_;
}

void Damage::stopped(const rocksdb::Status& status) {
  log_error("history", "history stopped taking writes until the next start", {{"error", status.ToString()}});
  MutexLock lock(mutex_);
  stopped_ = true;
}

std::vector<std::string> Damage::take_failed_columns() {
  MutexLock lock(mutex_);
  std::vector<std::string> columns(failed_columns_.begin(), failed_columns_.end());
  failed_columns_.clear();
  return columns;
}

int Damage::take_manifest_failures() {
  MutexLock lock(mutex_);
  return std::exchange(manifest_failures_, 0);
}

bool Damage::is_stopped() const {
  MutexLock lock(mutex_);
  return stopped_;
}

std::uint64_t Damage::files() const {
  MutexLock lock(mutex_);
  return files_.size();
}

}  // namespace dunlin::embedded
