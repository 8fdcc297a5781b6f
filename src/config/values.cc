#include "config/values.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/escape.h"

namespace dunlin {
namespace {

constexpr std::string_view kMask = "\"********\"";

Error wrong(const Setting& setting, const YamlNode& node, std::string_view wanted) {
  if (setting.traits.secret || node.kind != YamlNode::Kind::Scalar) return Error(ErrorCode::Config, fmt::format("must be {}", wanted));
  std::string found;
  append_log_value(found, node.text);
  return Error(ErrorCode::Config, fmt::format("must be {}, not {}", wanted, found));
}

Status assign_flag(const Setting& setting, const YamlNode& node, bool& field) {
  const std::string& text = node.text;
  if (text == "true" || text == "yes" || text == "on") {
    field = true;
  } else if (text == "false" || text == "no" || text == "off") {
    field = false;
  } else {
    return wrong(setting, node, "true or false");
  }
  return {};
}

constexpr std::array<std::pair<std::string_view, int>, 3> kByteUnits = {{{"KiB", 10}, {"MiB", 20}, {"GiB", 30}}};  // suffix, bits

// "64KiB" → 65536. False if it is no number or too large.
bool parse_number(std::string_view text, bool bytes, std::int64_t& number) {
  int shift = 0;
  for (const auto& [suffix, bits] : kByteUnits) {
    if (!bytes || !text.ends_with(suffix)) continue;
    shift = bits;
    text.remove_suffix(suffix.size());
    if (text.ends_with(' ')) text.remove_suffix(1);
    break;
  }
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return false;
  if (value < 0 || value > (INT64_MAX >> shift)) return false;
  number = value << shift;
  return true;
}

std::string allowed_number(const Setting& setting) {
  const SettingTraits& t = setting.traits;
  const std::string unit = t.unit.empty() ? "" : fmt::format(" ({})", t.unit);
  return t.max == INT64_MAX ? fmt::format("a number from {}{}", t.min, unit) : fmt::format("a number from {} to {}{}", t.min, t.max, unit);
}

Status assign_number(const Setting& setting, const YamlNode& node, std::int64_t& field) {
  std::int64_t value = 0;
  const bool fits =
      parse_number(node.text, setting.traits.unit == "bytes", value) && value >= setting.traits.min && value <= setting.traits.max;
  if (!fits) return wrong(setting, node, allowed_number(setting));
  field = value;
  return {};
}

bool is_choice(std::string_view choices, std::string_view text) {
  return !text.empty() && text.find('|') == std::string_view::npos &&
         fmt::format("|{}|", choices).find(fmt::format("|{}|", text)) != std::string::npos;
}

Status assign_text(const Setting& setting, const YamlNode& node, std::string& field) {
  const std::string_view choices = setting.traits.choices;
  if (!choices.empty() && !is_choice(choices, node.text)) return wrong(setting, node, fmt::format("one of {}", choices));
  field = node.text;
  return {};
}

Status assign_list(const Setting& setting, const YamlNode& node, const YamlNode*& at, std::vector<std::string>& field) {
  std::vector<std::string> items;
  if (node.kind == YamlNode::Kind::Scalar && !node.text.empty()) items.push_back(node.text);
  for (const YamlNode& item : node.items) {
    at = &item;
    if (item.kind != YamlNode::Kind::Scalar) return wrong(setting, item, "a list of texts");
    items.push_back(item.text);
  }
  field = std::move(items);
  return {};
}

struct KeyField {
  std::string_view name;
  std::string AuthKeyConfig::* member;
  bool secret = false;
};
constexpr std::array<KeyField, 6> kKeyFields = {{
    {"id", &AuthKeyConfig::id},
    {"alg", &AuthKeyConfig::alg},
    {"secret", &AuthKeyConfig::secret, true},
    {"secret-file", &AuthKeyConfig::secret_file},
    {"public-key-file", &AuthKeyConfig::public_key_file},
    {"private-key-file", &AuthKeyConfig::private_key_file},
}};

Result<AuthKeyConfig> read_key(const YamlNode& node, const YamlNode*& at) {
  AuthKeyConfig key;
  at = &node;
  if (node.kind != YamlNode::Kind::Map) return Error(ErrorCode::Config, "each key must be a map of id, alg and its files");
  for (const YamlNode& value : node.items) {
    at = &value;
    const std::string& name = value.name;
    const auto field = std::find_if(kKeyFields.begin(), kKeyFields.end(), [&](const KeyField& f) { return f.name == name; });
    if (field == kKeyFields.end()) {
      std::string shown;
      append_log_value(shown, name);
      return Error(
          ErrorCode::Config,
          fmt::format("unknown key {} in auth.keys: allowed are id, alg, secret, secret-file, public-key-file, private-key-file", shown));
    }
    if (value.kind != YamlNode::Kind::Scalar) return Error(ErrorCode::Config, fmt::format("{} must be text", name));
    key.*(field->member) = value.text;
  }
  return key;
}

Status assign_keys(const YamlNode& node, const YamlNode*& at, std::vector<AuthKeyConfig>& field) {
  if (node.kind != YamlNode::Kind::Sequence)
    return Error(ErrorCode::Config, "must be a list of keys, as in [{id: main, alg: HS256, secret-file: secret}]");
  std::vector<AuthKeyConfig> keys;
  for (const YamlNode& item : node.items) {
    TRY_ASSIGN(AuthKeyConfig key, read_key(item, at));
    keys.push_back(std::move(key));
  }
  field = std::move(keys);
  return {};
}

template <class Items, class Format>
std::string flow(const Items& items, char open, char close, Format format) {
  std::string out(1, open);
  for (const auto& item : items) {
    const std::string text = format(item);
    if (text.empty()) continue;
    if (out.size() > 1) out += ", ";
    out += text;
  }
  return out + close;
}

std::string format_key(const AuthKeyConfig& key, bool masked) {
  return flow(kKeyFields, '{', '}', [&](const KeyField& field) {
    const std::string& value = key.*(field.member);
    if (value.empty()) return std::string();
    return fmt::format("{}: {}", field.name, field.secret && masked ? std::string(kMask) : quote_yaml(value));
  });
}

struct Assigner {
  const Setting& setting;
  const YamlNode& node;
  const YamlNode*& at;

  template <class Field>
  Status scalar(Status (*store)(const Setting&, const YamlNode&, Field&), Field& field, std::string_view wanted) const {
    if (node.kind != YamlNode::Kind::Scalar) return wrong(setting, node, wanted);
    return store(setting, node, field);
  }
  Status operator()(bool* field) const { return scalar(&assign_flag, *field, "true or false"); }
  Status operator()(std::int64_t* field) const { return scalar(&assign_number, *field, allowed_number(setting)); }
  Status operator()(std::string* field) const { return scalar(&assign_text, *field, "text"); }
  Status operator()(std::vector<std::string>* field) const {
    if (node.kind == YamlNode::Kind::Map) return wrong(setting, node, "a list of texts");
    return assign_list(setting, node, at, *field);
  }
  Status operator()(std::vector<AuthKeyConfig>* field) const { return assign_keys(node, at, *field); }
};

struct Formatter {
  const Setting& setting;
  bool masked;

  std::string operator()(const bool* field) const { return *field ? "true" : "false"; }
  std::string operator()(const std::int64_t* field) const { return std::to_string(*field); }
  std::string operator()(const std::string* field) const {
    return masked && setting.traits.secret && !field->empty() ? std::string(kMask) : quote_yaml(*field);
  }
  std::string operator()(const std::vector<std::string>* field) const { return flow(*field, '[', ']', quote_yaml); }
  std::string operator()(const std::vector<AuthKeyConfig>* field) const {
    return flow(*field, '[', ']', [this](const AuthKeyConfig& key) { return format_key(key, masked); });
  }
};

}  // namespace

Status assign(const Setting& setting, const YamlNode& node, Config& config, const YamlNode** wrong) {
  if (node.kind == YamlNode::Kind::Null) return {};
  const YamlNode* at = &node;
  const Status done = std::visit(Assigner{setting, node, at}, setting.field(config));
  if (wrong != nullptr) *wrong = at;
  return done;
}

std::string format_value(const Setting& setting, const Config& config, bool masked) {
  return std::visit(Formatter{setting, masked}, setting.field(const_cast<Config&>(config)));  // the field is only read
}

std::string quote_yaml(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      (out += '\\') += c;
    } else if (u < 0x20 || u == 0x7F) {
      out += fmt::format("\\x{:02x}", u);
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace dunlin
