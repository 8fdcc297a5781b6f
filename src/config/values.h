#pragma once

#include <string>

#include "base/result.h"
#include "config/settings.h"
#include "config/yaml_tree.h"

namespace dunlin {

// Stores `node` in the field of `setting`, after checking type, bounds and choices. The error says what is allowed, and what was
// found unless the setting is secret; `wrong` is set to the item that it means, if it means one. A null leaves the default.
Status assign(const Setting& setting, const YamlNode& node, Config& config, const YamlNode** wrong = nullptr);

// The field's value as YAML in flow style; secrets as "********" if `masked`.
std::string format_value(const Setting& setting, const Config& config, bool masked);

// `text` as a YAML double-quoted scalar.
std::string quote_yaml(std::string_view text);

}  // namespace dunlin
