#include "cli/config.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "cli/exit_codes.h"
#include "config/load.h"
#include "config/report.h"
#include "server/auth_keys.h"
#include "server/certificate.h"

namespace dunlin {
namespace {

using File = std::shared_ptr<std::optional<std::string>>;

// Keys and certificate are read too, but none is generated: a check changes nothing.
Result<LoadedConfig> load_and_check(const std::optional<std::string>& file) {
  TRY_ASSIGN(LoadedConfig loaded, load_config(file, process_environment()));
  if (!loaded.config.auth.keys.empty()) {
    TRY_ASSIGN(const AuthKeys keys, read_auth_keys(loaded.config));
    loaded.warnings.insert(loaded.warnings.end(), keys.warnings.begin(), keys.warnings.end());
    TRY(make_key_set(loaded.config, keys));
  }
  TRY(load_certificate(loaded.config));
  return loaded;
}

int check(const std::optional<std::string>& file) {
  const Result<LoadedConfig> loaded = load_and_check(file);
  if (!loaded.ok()) return fail("config", loaded.error());
  for (const std::string& warning : loaded->warnings) fmt::print("warning: {}\n", warning);
  for (const std::string& option : unsafe_options(loaded->config)) fmt::print("warning: {} is on and breaks a promise\n", option);
  fmt::print("{}: ok\n", loaded->file.empty() ? "defaults and environment" : loaded->file);
  return kExitOk;
}

int print(const std::optional<std::string>& file) {
  const Result<LoadedConfig> loaded = load_config(file, process_environment());
  if (!loaded.ok()) return fail("config", loaded.error());
  fmt::print("# from {}\n{}", loaded->file.empty() ? "defaults and environment" : loaded->file, print_config(loaded->config));
  return kExitOk;
}

}  // namespace

void register_config(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("config", "Check, print or describe the configuration");
  command->require_subcommand(1);
  const auto add = [&](const char* name, const char* what, int (*run)(const std::optional<std::string>&)) {
    const File file = std::make_shared<std::optional<std::string>>();
    CLI::App* verb = command->add_subcommand(name, what);
    verb->add_option("--config", *file, "File to read (default: ./dunlin.yaml, else /etc/dunlin/dunlin.yaml)");
    verb->callback([file, run, &exit_code] { exit_code = run(*file); });
  };
  add("check", "Exit with 0 if the configuration is good, with 2 and the reason if not", check);
  add("print", "What is in force, defaults and environment included, secrets masked", print);
  command->add_subcommand("reference", "Every key with its meaning, as Markdown")->callback([&exit_code] {
    fmt::print("{}", configuration_reference());
    exit_code = kExitOk;
  });
}

}  // namespace dunlin
