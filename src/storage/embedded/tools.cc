#include "storage/embedded/tools.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/log.h"
#include "storage/embedded/data_lock.h"
#include "storage/embedded/file/owner_only.h"
#include "storage/embedded/followers.h"
#include "storage/embedded/history/history.h"
#include "storage/embedded/log/log_scan.h"
#include "storage/embedded/meta_file.h"
#include "storage/embedded/state/embedded_state_store.h"

namespace dunlin::embedded {
namespace {

namespace fs = std::filesystem;

// Collects damage as intervals of one conversation.
class Damaged {
 public:
  void add(const std::string& conversation, std::uint64_t number, std::uint64_t from, std::uint64_t to) {
    auto& all = by_name_[{conversation, conversation.empty() ? number : 0}];
    all.emplace_back(from, to);
  }
  std::vector<VerifyReport::Corrupt> merged() {
    std::vector<VerifyReport::Corrupt> out;
    for (auto& [name, spans] : by_name_) {
      std::sort(spans.begin(), spans.end());
      for (const auto& [from, to] : spans) {
        if (!out.empty() && out.back().conversation == name.first && out.back().number == name.second && out.back().to_seq + 1 >= from) {
          out.back().to_seq = std::max(out.back().to_seq, to);
        } else {
          out.push_back({name.first, name.second, from, to});
        }
      }
    }
    return out;
  }

 private:
  std::map<std::pair<std::string, std::uint64_t>, std::vector<std::pair<std::uint64_t, std::uint64_t>>> by_name_;
};

// Counts the log's records; names lost ones by other records under their number.
class CountingSink final : public LogScanSink {
 public:
  void on_segment(const std::string&) override {}
  void on_record(MessagePtr message) override { names_.try_emplace(message->place().conversation_number, message->conversation()); }
  void on_lost(LogPosition, std::uint64_t number, MessageSeq seq, std::string_view conversation) override {
    if (!conversation.empty()) names_.try_emplace(number, conversation);
    lost_.emplace_back(number, seq.value());
  }
  void report(Damaged& damaged) const {
    for (const auto& [number, seq] : lost_) {
      const auto name = names_.find(number);
      damaged.add(name == names_.end() ? std::string() : name->second, number, seq, seq);
    }
  }

 private:
  std::map<std::uint64_t, std::string> names_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> lost_;
};

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

// Bytes of the regular files below it; 0 if there is none.
std::uint64_t bytes_below(const std::string& folder) {
  std::uint64_t bytes = 0;
  std::error_code failed;
  for (fs::recursive_directory_iterator entry(folder, failed), end; !failed && entry != end; entry.increment(failed)) {
    std::error_code gone;
    const std::uint64_t size = entry->is_regular_file(gone) ? entry->file_size(gone) : 0;
    if (!gone) bytes += size;
  }
  return bytes;
}

Status copy_folder(const std::string& from, const std::string& to, const ToolProgress& progress) {
  std::error_code failed;
  FileSystem& files = posix_file_system();
  TRY(make_empty_for_owner(files, to));
  const std::uint64_t total = bytes_below(from);
  std::uint64_t done = 0;
  for (fs::recursive_directory_iterator entry(from, failed), end; !failed && entry != end; entry.increment(failed)) {
    const fs::path relative = fs::relative(entry->path(), from, failed);
    if (failed) break;
    if (relative == kLostAndFound) {
      entry.disable_recursion_pending();  // of the volume, and nobody's to read
      continue;
    }
    // The caller writes meta last: without it the folder is not taken for a whole one.
    if (relative == "LOCK" || relative == "control.sock" || relative == "meta" || relative == "meta.new") continue;
    if (relative.native().starts_with("reserve")) continue;
    const std::string target = (fs::path(to) / relative).string();
    if (entry->is_directory()) {
      TRY(files.make_folder(target));
    } else if (entry->is_regular_file()) {
      fs::copy_file(entry->path(), target, failed);
      if (!failed) fs::permissions(target, fs::perms::owner_read | fs::perms::owner_write, failed);  // a copy has its source's rights
      if (failed) break;
      TRY_ASSIGN(const auto copy, files.open(target, OpenMode::Write));
      TRY(copy->sync_data());
      TRY_ASSIGN(const std::uint64_t size, copy->size());
      done += size;
      if (progress) progress(done, std::max(done, total));
    }
  }
  if (failed) return Error(ErrorCode::Io, "copying " + from + " to " + to + ": " + failed.message());
  const auto skip = fs::directory_options::skip_permission_denied;  // a lost+found
  for (fs::recursive_directory_iterator entry(to, skip, failed), end; !failed && entry != end; entry.increment(failed)) {
    if (entry->is_directory() && entry->path().filename() != kLostAndFound) TRY(files.sync_folder(entry->path().string()));
  }
  TRY(files.sync_folder(to));
  if (progress) progress(total, total);
  return {};
}

Result<Meta> meta_of(const std::string& folder) {
  TRY_ASSIGN(const auto meta, read_meta(posix_file_system(), folder));
  if (!meta) return Error(ErrorCode::NotFound, folder + " is not a data folder: it has no meta file");
  return *meta;
}

}  // namespace

namespace {

// Records of history and log, and what is damaged of them.
Status verify_records(const std::string& folder, const Meta& meta, const ToolProgress& progress, VerifyReport& report) {
  Damaged damaged;
  LogPosition stored;
  TRY_ASSIGN(const auto history, posix_file_system().list(folder + "/history"));
  if (!history.empty()) {
    const auto on_corrupt = [&](const CorruptInterval& c) { damaged.add(c.conversation.str(), 0, c.from.value(), c.to.value()); };
    const auto counted = verify_history(folder + "/history", on_corrupt, progress);
    if (!counted.ok()) {
      report.problems.push_back({"history", counted.error().to_string()});
      report.corrupt = damaged.merged();
      return {};  // what the log holds cannot be judged without
    }
    report.records = counted->records;
    stored = counted->position;
  }
  CountingSink sink;
  const auto scan = scan_log(posix_file_system(), folder + "/log", meta.log_secret, stored, sink);
  if (!scan.ok()) {
    report.problems.push_back({"log", scan.error().to_string()});
    report.corrupt = damaged.merged();
    return {};
  }
  sink.report(damaged);
  report.records += scan->records;
  report.corrupt = damaged.merged();
  if (meta.clean && scan->last < meta.end) report.corrupt.push_back({"", 0, 0, meta.end.value() - scan->last.value()});
  if (scan->unknown != 0) report.corrupt.push_back({"", 0, 0, scan->unknown});
  report.cut_bytes = scan->tail ? scan->tail->bytes.size() : 0;
  return {};
}

}  // namespace

Result<VerifyReport> verify_data(const std::string& folder, const ToolProgress& progress) {
  TRY_ASSIGN(const auto lock, DataLock::share(folder));
  VerifyReport report;
  const auto meta = meta_of(folder);
  if (!meta.ok() && meta.error().code() == ErrorCode::NotFound) return meta.error();
  if (!meta.ok()) {
    report.problems.push_back({"meta", meta.error().to_string()});
    return report;
  }
  if (auto followers = Followers::check(posix_file_system(), folder); !followers.ok())
    report.problems.push_back({"followers", followers.error().to_string()});
  const std::uint64_t history_bytes = bytes_below(folder + "/history");
  const std::uint64_t total = history_bytes + bytes_below(folder + "/log") + bytes_below(folder + "/state");
  // Read conversation by conversation, so that bytes are an estimate.
  const auto history_progress = [&](std::uint64_t conversations, std::uint64_t of) {
    const double part = static_cast<double>(conversations) / static_cast<double>(of);
    if (progress) progress(static_cast<std::uint64_t>(static_cast<double>(history_bytes) * part), total);
  };
  TRY(verify_records(folder, *meta, history_progress, report));
  TRY_ASSIGN(const auto state, posix_file_system().list(folder + "/state"));
  if (!state.empty()) {
    const auto rows = verify_state(folder + "/state");
    if (!rows.ok() && rows.error().code() == ErrorCode::Corrupt) {
      log_error("state", "rows cannot be read", {{"error", rows.error().to_string()}});
      report.corrupt.push_back({});
    } else if (!rows.ok()) {
      report.problems.push_back({"state", rows.error().to_string()});
    }
    report.state_rows = rows.ok() ? *rows : 0;
  }
  if (progress) progress(total, total);
  return report;
}

std::string to_json(const VerifyReport& report) {
  std::string out = fmt::format("{{\"records\":{},\"corrupt\":[", report.records);
  bool first = true;
  for (const auto& corrupt : report.corrupt) {
    if (!first) out += ',';
    first = false;
    out += "{\"conversation\":";
    append_json_string(out, corrupt.conversation);
    if (corrupt.conversation.empty()) out += fmt::format(",\"number\":{}", corrupt.number);
    out += fmt::format(",\"from_seq\":{},\"to_seq\":{}}}", corrupt.from_seq, corrupt.to_seq);
  }
  out += fmt::format("],\"cut_bytes\":{},\"problems\":[", report.cut_bytes);
  first = true;
  for (const auto& problem : report.problems) {
    if (!first) out += ',';
    first = false;
    out += "{\"file\":";
    append_json_string(out, problem.file);
    out += ",\"reason\":";
    append_json_string(out, problem.reason);
    out += '}';
  }
  out += "]}";
  return out;
}

Status backup_offline(const std::string& folder, const std::string& target, const ToolProgress& progress) {
  TRY(meta_of(folder));
  TRY_ASSIGN(const auto lock, DataLock::acquire(folder));
  TRY_ASSIGN(const Meta meta, meta_of(folder));
  TRY(copy_folder(folder, target, progress));
  return write_meta(posix_file_system(), target, meta);
}

Status restore(const std::string& backup, const std::string& into, const ToolProgress& progress) {
  TRY_ASSIGN(const auto lock, DataLock::share(backup));
  TRY_ASSIGN(Meta meta, meta_of(backup));
  TRY(copy_folder(backup, into, progress));
  meta.epoch = Meta::create().epoch;
  meta.clean = meta.weak_acks = false;
  meta.acked_in.reset();
  return write_meta(posix_file_system(), into, meta);
}

}  // namespace dunlin::embedded
