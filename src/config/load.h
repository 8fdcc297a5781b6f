#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/config.h"

namespace dunlin {

// Environment variables by name. Only those that begin with DUNLIN_ are looked at.
using Environment = std::map<std::string, std::string>;
Environment process_environment();

// A valid configuration and where it came from.
struct LoadedConfig {
  Config config;
  std::string file;                   // empty: no file, defaults and environment only
  std::string folder;                 // absolute; relative paths were counted from here
  std::vector<std::string> warnings;  // sentences to log once at start, e.g. about keys without effect
};

// Reads `file`, else ./dunlin.yaml, else /etc/dunlin/dunlin.yaml, else nothing; then applies the environment; then validates.
// Fails with ErrorCode::Config and one sentence that names file, line and key, with the nearest valid key for an unknown one.
Result<LoadedConfig> load_config(const std::optional<std::string>& file, const Environment& environment);

// The same from text in memory (tests, fuzzing). `name` stands for the file in errors; `folder` is what relative paths count from.
Result<LoadedConfig> parse_config(std::string_view yaml, std::string_view name, const std::string& folder, const Environment& environment);

// A Config error "ORIGIN: KEY: WHY" about a value that was read well and still cannot be used. If `key` was not set, it is the origin of
// `set_with`, the key that it does not fit.
Error config_error(const Config& config, std::string_view key, std::string_view why, std::string_view set_with = {});

// The keys on which two configurations differ, by whether a reload (SIGHUP) can apply them.
struct ConfigChanges {
  std::vector<std::string> reloadable;
  std::vector<std::string> need_restart;
};
ConfigChanges compare_configs(const Config& running, const Config& wanted);

// Keys with "unsafe" in their names that are not at their safe default: each is warned of at start and shown as dunlin_config_unsafe.
std::vector<std::string> unsafe_options(const Config& config);

// The effective configuration as YAML that parse_config() accepts, in the order of the settings table, secrets shown as "********".
std::string print_config(const Config& config);

}  // namespace dunlin
