#include "cli/storage.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "admin/control_socket.h"
#include "cli/exit_codes.h"
#include "config/load.h"
#include "server/embedded_engine.h"
#include "server/secret_file.h"
#include "storage/embedded/tools.h"

namespace dunlin {
namespace {

constexpr Milliseconds kSilence{60'000};  // a running server says something more often than this

// One line on stderr that is rewritten, at most five times a second; nothing when stderr is not a terminal.
class ProgressLine {
 public:
  ~ProgressLine() {
    if (shown_) std::fputc('\n', stderr);
  }
  void show(std::uint64_t done, std::uint64_t total) {
    const auto now = std::chrono::steady_clock::now();
    if (!terminal_ || (shown_ && now - last_ < std::chrono::milliseconds(200) && done != total)) return;
    const double percent = total == 0 ? 100.0 : 100.0 * static_cast<double>(done) / static_cast<double>(total);
    fmt::print(stderr, "\r{} of {} MiB ({:.0f} %)  ", done >> 20, total >> 20, percent);
    std::fflush(stderr);
    shown_ = true;
    last_ = now;
  }

 private:
  const bool terminal_ = isatty(STDERR_FILENO) == 1;
  bool shown_ = false;
  std::chrono::steady_clock::time_point last_;
};

// A copy into the folder that is copied would copy itself, without an end. Both as they are on disk, behind links.
Status check_outside(const std::string& target, const std::string& source) {
  std::error_code error;
  const std::filesystem::path inner = std::filesystem::weakly_canonical(target, error);
  if (error) return Error(ErrorCode::BadRequest, "cannot use " + target + ": " + error.message());
  const std::filesystem::path outer = std::filesystem::weakly_canonical(source, error);
  if (error) return Error(ErrorCode::BadRequest, "cannot use " + source + ": " + error.message());
  const std::filesystem::path below = inner.lexically_relative(outer);
  const bool outside = below.empty() || below == "." || *below.begin() == "..";
  return outside ? Status() : Error(ErrorCode::BadRequest, target + " is inside " + source + ", which it is to be a copy of");
}

struct BackupArguments {
  std::string target;
  std::optional<std::string> config;
};

// A running server copies its own store; without one the folder is copied here.
Status back_up(const BackupArguments& arguments) {
  TRY_ASSIGN(const LoadedConfig loaded, load_config(arguments.config, process_environment()));
  const std::string& data = loaded.config.store.path;
  std::error_code error;
  const std::string target = std::filesystem::absolute(arguments.target, error).lexically_normal().string();
  if (error) return Error(ErrorCode::BadRequest, "cannot use " + arguments.target + ": " + error.message());
  TRY(check_outside(target, data));
  ProgressLine line;
  Status done = control_request(data, "backup", target, kSilence, [&](std::uint64_t part, std::uint64_t total) { line.show(part, total); });
  if (done.ok() || done.error().code() != ErrorCode::NotFound) return done;
  return embedded::backup_offline(data, target, [&](std::uint64_t part, std::uint64_t total) { line.show(part, total); });
}

struct RestoreArguments {
  std::string backup;
  std::string into;
};

Status bring_back(const RestoreArguments& arguments) {
  TRY(check_outside(arguments.into, arguments.backup));
  ProgressLine line;
  return embedded::restore(arguments.backup, arguments.into, [&](std::uint64_t done, std::uint64_t total) { line.show(done, total); });
}

struct VerifyArguments {
  std::string folder;
  bool json = false;
};

int verify(const VerifyArguments& arguments) {
  auto line = std::make_optional<ProgressLine>();
  const auto show = [&](std::uint64_t done, std::uint64_t total) { line->show(done, total); };
  Result<embedded::VerifyReport> report = embedded::verify_data(arguments.folder, show);
  line.reset();
  if (!report.ok()) return fail("verify", report.error());
  for (const char* secret : {kSyncSecretFile, kAuthSecretFile}) {
    if (const Status read = check_secret(arguments.folder, secret); !read.ok()) {
      report->problems.push_back({secret, read.error().to_string()});
    }
  }
  if (arguments.json) {
    fmt::print("{}\n", embedded::to_json(*report));
  } else {
    for (const auto& corrupt : report->corrupt) {
      if (corrupt.conversation.empty() && corrupt.number == 0) {
        fmt::print("corrupt: {}\n", corrupt.to_seq == 0 ? std::string("rows of no one conversation, named above")
                                                        : fmt::format("{} records without a trace of their conversation", corrupt.to_seq));
        continue;
      }
      const std::string name = corrupt.conversation.empty() ? fmt::format("number {}", corrupt.number) : corrupt.conversation;
      fmt::print("corrupt: conversation {} seq {} to {}\n", name, corrupt.from_seq, corrupt.to_seq);
    }
    for (const auto& problem : report->problems) fmt::print("problem: {}: {}\n", problem.file, problem.reason);
    fmt::print("{} records, {} rows of state, {} corrupt ranges, {} bytes of torn tail\n", report->records, report->state_rows,
               report->corrupt.size(), report->cut_bytes);
  }
  return report->healthy() ? kExitOk : kExitFailure;
}

void register_backup(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<BackupArguments>();
  CLI::App* command = app.add_subcommand("backup", "Copy the store into an empty folder, while the server runs or not");
  command->add_option("dir", arguments->target, "Empty or missing folder")->required();
  command->add_option("--config", arguments->config, "Configuration of the server");
  command->callback([arguments, &exit_code] {
    const Status done = back_up(*arguments);
    exit_code = done.ok() ? kExitOk : fail("backup", done.error());
  });
}

void register_restore(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<RestoreArguments>();
  CLI::App* command = app.add_subcommand("restore", "Make a data folder from a backup, under a new epoch");
  command->add_option("dir", arguments->backup, "The backup")->required();
  command->add_option("--into", arguments->into, "Empty or missing folder; existing data is never overwritten")->required();
  command->callback([arguments, &exit_code] {
    const Status done = bring_back(*arguments);
    exit_code = done.ok() ? kExitOk : fail("restore", done.error());
  });
}

void register_verify(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<VerifyArguments>();
  CLI::App* command = app.add_subcommand("verify", "Check every record of a data folder or backup that no server has open");
  command->add_option("dir", arguments->folder, "The folder")->required();
  command->add_flag("--json", arguments->json, "One line of JSON");
  command->callback([arguments, &exit_code] { exit_code = verify(*arguments); });
}

}  // namespace

void register_storage(CLI::App& app, int& exit_code) {
  register_backup(app, exit_code);
  register_restore(app, exit_code);
  register_verify(app, exit_code);
}

}  // namespace dunlin
