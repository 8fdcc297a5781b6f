#include "config/report.h"

#include <fmt/format.h>

#include <iterator>

#include "config/load.h"
#include "config/settings.h"
#include "config/values.h"

namespace dunlin {
namespace {

std::vector<std::string_view> split(std::string_view key) {
  std::vector<std::string_view> parts;
  for (auto dot = key.find('.'); dot != std::string_view::npos; dot = key.find('.')) {
    parts.push_back(key.substr(0, dot));
    key.remove_prefix(dot + 1);
  }
  parts.push_back(key);
  return parts;
}

// Opens the sections of `parts` that the row before did not have. Rows of a section stand together in the table.
void append_sections(std::string& out, const std::vector<std::string_view>& before, const std::vector<std::string_view>& parts) {
  std::size_t shared = 0;
  while (shared + 1 < parts.size() && shared + 1 < before.size() && parts[shared] == before[shared]) ++shared;
  for (std::size_t i = shared; i + 1 < parts.size(); ++i) out += fmt::format("{:{}}{}:\n", "", i * 2, parts[i]);
}

std::string describe_type(const Setting& row) {
  Config defaults;
  const FieldRef field = row.field(defaults);
  const SettingTraits& traits = row.traits;
  if (!traits.choices.empty()) {
    std::string choices = "`";
    for (const char c : traits.choices) choices += c == '|' ? "`, `" : std::string(1, c);
    return choices + "`";
  }
  if (std::holds_alternative<bool*>(field)) return "true, false";
  if (std::holds_alternative<std::string*>(field)) return traits.path ? "path" : "text";
  if (!std::holds_alternative<std::int64_t*>(field)) return "list";
  const std::string unit = traits.unit.empty() ? "" : fmt::format(" {}", traits.unit);
  return fmt::format("{} to {}{}", traits.min, traits.max, unit);
}

std::string describe(const Setting& row) {
  std::string text(row.doc);
  if (row.traits.reload) text += " *Reloadable.*";
  if (row.traits.secret) text += " *Secret.*";
  if (row.traits.not_in_this_build) text += " *Not used by this build.*";
  return text;
}

constexpr std::string_view kIntroduction = R"(# Configuration

<!-- Made by `dunlin config reference`; a test compares it with src/config/settings.cc. -->

`dunlin serve` reads the file that `--config` names, else `./dunlin.yaml`, else `/etc/dunlin/dunlin.yaml`; every key is optional and so is
the file. Relative paths count from the file's folder, without a file from the working folder.

- `dunlin config check` says whether a configuration is good, the files of keys and certificate included: exit code 0, or 2 and one line that
  names file and line (or the environment variable) and the key.
- `dunlin config print` shows what is in force, defaults and environment included, secrets masked.
- An unknown key is refused, with the nearest known one. Keys may be nested or dotted (`websocket.port: 8080`).
- Each key has an environment variable that overrides the file: `DUNLIN_`, then the key in capitals with `_` for dots and dashes, as in
  `DUNLIN_STORE_LOG_SEGMENT_BYTES`. Lists are separated by commas or written as YAML (`[a, b]`). An empty variable counts as unset. An unknown
  variable that begins with `DUNLIN_` is refused too, except those that Kubernetes sets for services called `dunlin` or `dunlin-anything`
  (`DUNLIN_ANYTHING_SERVICE_HOST`, `…_SERVICE_PORT*`, `…_PORT_8080_TCP*`, and `…_PORT` with a value like `tcp://10.0.0.1:8080`). One of them that has the
  name of a key, as `DUNLIN_WEBSOCKET_PORT` of a service called `dunlin-websocket`, is ignored with a warning; to set that key, write it into the file,
  or switch these variables off (`enableServiceLinks: false` in the pod).
- A limit of 0 is no limit, a time or size of 0 means what its row says; where 0 would make no sense it is refused.
- Bytes may be written with `KiB`, `MiB` or `GiB`. A secret may hold any characters; quote it if YAML would read it otherwise. One line break at the end
  of a secret file is not part of the secret.
- *Reloadable* keys take effect at SIGHUP (`systemctl reload dunlin`); a changed key that is not is reported and waits for a restart. A bad file changes nothing.
- A key with `unsafe` in its name breaks a promise of docs/guarantees.md; using one is warned of at start and shown as
  `dunlin_config_unsafe{option="…"} 1`.
- `spring.redis.*` is an alias of `redis.*`.
)";

}  // namespace

ConfigChanges compare_configs(const Config& running, const Config& wanted) {
  ConfigChanges changes;
  for (const Setting& row : settings()) {
    if (format_value(row, running, false) == format_value(row, wanted, false)) continue;
    (row.traits.reload ? changes.reloadable : changes.need_restart).emplace_back(row.key);
  }
  return changes;
}

std::vector<std::string> unsafe_options(const Config& config) {
  static const Config defaults;
  std::vector<std::string> options;
  for (const Setting& row : settings()) {
    if (row.key.find("unsafe") == std::string_view::npos) continue;
    if (format_value(row, config, false) != format_value(row, defaults, false)) options.emplace_back(row.key);
  }
  return options;
}

std::string print_config(const Config& config) {
  static const Config defaults;
  std::string out;
  std::vector<std::string_view> before;
  for (const Setting& row : settings()) {
    if (row.traits.hidden && format_value(row, config, false) == format_value(row, defaults, false)) continue;
    const std::vector<std::string_view> parts = split(row.key);
    append_sections(out, before, parts);
    out += fmt::format("{:{}}{}: {}\n", "", (parts.size() - 1) * 2, parts.back(), format_value(row, config, true));
    before = parts;
  }
  return out;
}

std::string configuration_reference() {
  const Config defaults;
  std::string out(kIntroduction);
  std::string_view section;
  for (const Setting& row : settings()) {
    if (row.traits.hidden) continue;
    if (const auto first = split(row.key).front(); first != section) {
      section = first;
      out += fmt::format("\n## {}\n\n| key | values | default | meaning |\n|---|---|---|---|\n", section);
    }
    out += fmt::format("| `{}` | {} | `{}` | {} |\n", row.key, describe_type(row), format_value(row, defaults, true), describe(row));
  }
  return out;
}

}  // namespace dunlin
