#include "config/load.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "base/escape.h"
#include "config/nearest.h"
#include "config/service_links.h"
#include "config/settings.h"
#include "config/validate.h"
#include "config/values.h"
#include "config/yaml_tree.h"

namespace dunlin {
namespace {

constexpr std::string_view kPrefix = "DUNLIN_";
constexpr std::string_view kSpringPrefix = "DUNLIN_SPRING_REDIS_";

std::string shown(std::string_view value) {
  std::string out;
  append_log_value(out, value);
  return out;
}

// Every key and section, for suggestions.
std::vector<std::string> known_names() {
  std::vector<std::string> names;
  for (const Setting& row : settings()) {
    if (row.traits.hidden) continue;
    for (auto dot = row.key.find('.'); dot != std::string_view::npos; dot = row.key.find('.', dot + 1)) {
      std::string section(row.key.substr(0, dot));
      if (names.empty() || std::find(names.begin(), names.end(), section) == names.end()) names.push_back(std::move(section));
    }
    names.emplace_back(row.key);
  }
  return names;
}

// Walks the document and stores what it sets. Keys may be nested or dotted, as in `websocket.port: 8080`.
class Reader {
 public:
  Reader(std::string_view name, Config& config) : name_(name), config_(config) {}

  Status section(const YamlNode& map, const std::string& prefix) {
    for (const YamlNode& node : map.items) TRY(entry(prefix.empty() ? node.name : prefix + "." + node.name, node));
    return {};
  }

 private:
  Status entry(const std::string& key, const YamlNode& node) {
    if (const Setting* setting = find_setting(key)) return set(*setting, key, node);
    if (!is_section(key)) return fail(node, unknown(key));
    if (node.kind == YamlNode::Kind::Map) return section(node, key);
    if (node.kind == YamlNode::Kind::Null) return {};
    return fail(node, fmt::format("{} is a section: it needs keys below it", key));
  }

  Status set(const Setting& setting, const std::string& key, const YamlNode& node) {
    if (!set_.insert(setting.key).second) return fail(node, fmt::format("{} is set twice", setting.key));
    const YamlNode* wrong = &node;
    if (const Status done = assign(setting, node, config_, &wrong); !done.ok())
      return fail(*wrong, fmt::format("{}: {}", key, done.error().context()));
    if (node.kind == YamlNode::Kind::Null) return {};
    config_.origins.insert_or_assign(std::string(setting.key), origin(node));
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      config_.origins.insert_or_assign(fmt::format("{}[{}]", setting.key, i), origin(node.items[i]));
    }
    return {};
  }

  static std::string unknown(const std::string& key) {
    return fmt::format("unknown key {}, did you mean {}?", shown(key), nearest(key, known_names(), '.'));
  }

  std::string origin(const YamlNode& node) const { return fmt::format("{}:{}", name_, node.line); }
  Error fail(const YamlNode& node, std::string_view why) const {
    return Error(ErrorCode::Config, fmt::format("{}: {}", origin(node), why));
  }

  std::string_view name_;
  Config& config_;
  std::set<std::string_view> set_;
};

const Setting* find_by_environment(std::string_view variable) {
  std::string name(variable);
  if (variable.starts_with(kSpringPrefix)) name = "DUNLIN_REDIS_" + std::string(variable.substr(kSpringPrefix.size()));
  for (const Setting& row : settings()) {
    if (environment_name(row.key) == name) return &row;
  }
  return nullptr;
}

Error unknown_variable(const std::string& variable) {
  std::vector<std::string> names;
  for (const Setting& row : settings()) {
    if (!row.traits.hidden) names.push_back(environment_name(row.key));
  }
  return Error(ErrorCode::Config,
               fmt::format("unknown environment variable {}, did you mean {}?", shown(variable), nearest(variable, names, '\0')));
}

// A variable's text as the value of `setting`: lists as YAML in flow style or separated by commas, all else verbatim.
Result<YamlNode> variable_value(const Setting& setting, const std::string& text) {
  Config scratch;
  const FieldRef field = setting.field(scratch);
  if (std::holds_alternative<std::vector<AuthKeyConfig>*>(field)) return parse_yaml(text);
  YamlNode node{YamlNode::Kind::Scalar, 1, {}, text, {}};
  if (!std::holds_alternative<std::vector<std::string>*>(field)) return node;
  if (text.starts_with('[')) return parse_yaml(text);
  node.kind = YamlNode::Kind::Sequence;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) node.items.push_back({YamlNode::Kind::Scalar, 1, {}, part, {}});
  return node;
}

// One that has the name of a setting may be meant, or not: it is named.
bool ignore_link(const std::string& variable, const std::string& text, std::vector<std::string>& warnings) {
  if (!is_service_link(variable, text)) return false;
  if (const Setting* setting = find_by_environment(variable)) {
    warnings.push_back(fmt::format("{}={} is no value of {} but what Kubernetes sets for a service of that name: it is ignored", variable,
                                   shown(text), setting->key));
  }
  return true;
}

Status apply_environment(const Environment& environment, Config& config, std::vector<std::string>& warnings) {
  for (const auto& [variable, text] : environment) {
    if (!variable.starts_with(kPrefix) || ignore_link(variable, text, warnings)) continue;
    const Setting* setting = find_by_environment(variable);
    if (setting == nullptr) return unknown_variable(variable);
    if (text.empty()) continue;  // compose files pass unset variables on as empty ones
    Result<YamlNode> node = variable_value(*setting, text);
    const Status done = node.ok() ? assign(*setting, *node, config) : Status(std::move(node).error());
    if (!done.ok()) return Error(ErrorCode::Config, fmt::format("{}: {}: {}", variable, setting->key, done.error().context()));
    const std::string items = std::string(setting->key) + "[";  // of the list that this one replaces
    std::erase_if(config.origins, [&](const auto& origin) { return origin.first.starts_with(items); });
    config.origins.insert_or_assign(std::string(setting->key), variable);
  }
  return {};
}

void make_absolute(std::string& path, const std::string& folder) {
  if (path.empty()) return;
  path = (std::filesystem::path(folder) / path).lexically_normal().string();
}

void make_paths_absolute(Config& config, const std::string& folder) {
  for (const Setting& row : settings()) {
    if (row.traits.path) make_absolute(*std::get<std::string*>(row.field(config)), folder);
  }
  for (AuthKeyConfig& key : config.auth.keys) {
    make_absolute(key.secret_file, folder);
    make_absolute(key.public_key_file, folder);
    make_absolute(key.private_key_file, folder);
  }
}

Result<std::string> read_file(const std::string& file) {
  std::error_code error;
  if (std::filesystem::is_directory(file, error)) return Error(ErrorCode::Config, fmt::format("{} is a folder", shown(file)));
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return Error(ErrorCode::Config, fmt::format("cannot read {}: {}", shown(file), std::strerror(errno)));
  std::string text(1 << 20, '\0');  // more than parse_yaml() takes, so a larger file is refused there
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(stream.gcount()));
  return text;
}

std::string find_file() {
  for (const char* file : {"./dunlin.yaml", "/etc/dunlin/dunlin.yaml"}) {
    // One that may not be looked at is named by the attempt to read it: defaults instead would be another configuration than the server's.
    if (access(file, F_OK) == 0 || errno == EACCES) return file;
  }
  return {};
}

}  // namespace

Environment process_environment() {
  Environment environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const auto equals = text.find('=');
    if (text.starts_with(kPrefix) && equals != std::string_view::npos) environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return environment;
}

Result<LoadedConfig> parse_config(std::string_view yaml, std::string_view name, const std::string& folder, const Environment& environment) {
  LoadedConfig loaded;
  loaded.folder = folder;
  TRY_ASSIGN(const YamlNode root, parse_yaml(yaml).with(name));
  if (root.kind == YamlNode::Kind::Map) {
    TRY(Reader(name, loaded.config).section(root, ""));
  } else if (root.kind != YamlNode::Kind::Null) {
    return Error(ErrorCode::Config, fmt::format("{}:{}: must be a map of sections, as in `websocket: {{port: 8080}}`", name, root.line));
  }
  TRY(apply_environment(environment, loaded.config, loaded.warnings));
  make_paths_absolute(loaded.config, folder);
  TRY(validate(loaded.config, loaded.warnings));
  return loaded;
}

Error config_error(const Config& config, std::string_view key, std::string_view why, std::string_view set_with) {
  const auto origin = [&](std::string_view name) {
    auto found = config.origins.find(name);
    if (found == config.origins.end()) found = config.origins.find(name.substr(0, name.find('[')));
    return found == config.origins.end() ? std::string() : found->second + ": ";
  };
  std::string where = origin(key);
  if (where.empty() && !set_with.empty()) where = origin(set_with);
  return Error(ErrorCode::Config, fmt::format("{}{}: {}", where, key, why));
}

Result<LoadedConfig> load_config(const std::optional<std::string>& file, const Environment& environment) {
  const std::string path = file ? *file : find_file();
  std::string text;
  if (!path.empty()) {
    TRY_ASSIGN(text, read_file(path));
  }
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path.empty() ? "./none" : path, error);
  if (error) return Error(ErrorCode::Config, "the working folder does not exist: " + error.message());
  TRY_ASSIGN(LoadedConfig loaded, parse_config(text, path, absolute.parent_path().lexically_normal().string(), environment));
  if (!path.empty()) loaded.file = absolute.lexically_normal().string();
  return loaded;
}

}  // namespace dunlin
