#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace dunlin {

// One YAML document as plain values with line numbers: all that a configuration needs, and nothing that could grow beyond its text.
// At most 256 KiB, 16 levels and 10,000 nodes. Aliases are refused (they can multiply), as are duplicate keys, keys that are not
// text, several documents, invalid UTF-8 and raw control characters. Scalars stay text: the setting decides their type.
struct YamlNode {
  enum class Kind { Null, Scalar, Sequence, Map };
  Kind kind = Kind::Null;
  int line = 0;                 // from 1
  std::string name;             // its key, if it stands in a map
  std::string text;             // of a scalar
  std::vector<YamlNode> items;  // of a sequence, or the values of a map
};

// Config error "line N: why" for anything else. An empty document is Null.
Result<YamlNode> parse_yaml(std::string_view text);

}  // namespace dunlin
