#include "wire/json_tree.h"

#include <simdjson.h>

#include <vector>

#include "wire/decoder.h"
#include "wire/json_text.h"

namespace dunlin::wire {
namespace {

namespace ondemand = simdjson::ondemand;

// What decoder.h asks of its callers is enough for the parser.
static_assert(simdjson::SIMDJSON_PADDING <= kDecoderPadding);

std::string_view trim_end(std::string_view text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\n' || text.back() == '\r' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// A whole number without sign, fraction or exponent that every JSON parser holds exactly.
bool parse_integer(std::string_view token, std::uint64_t& out) {
  if (token.empty() || token.size() > 16 || (token[0] == '0' && token.size() > 1)) return false;
  std::uint64_t value = 0;
  for (char c : token) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  out = value;
  return value <= kMaxInteger;
}

}  // namespace

struct JsonTree::Impl {
  explicit Impl(const JsonTreeLimits& tree_limits) : limits(tree_limits) { nodes.resize(1); }

  bool fail(JsonTreeError kind, const char* why) {
    if (error == JsonTreeError::None) {
      error = kind;
      problem = why;
    }
    return false;
  }
  bool invalid(simdjson::error_code code) {
    switch (code) {
      case simdjson::UTF8_ERROR: return fail(JsonTreeError::Invalid, "not valid UTF-8");
      case simdjson::UNCLOSED_STRING: return fail(JsonTreeError::Invalid, "a string does not end");
      case simdjson::UNESCAPED_CHARS: return fail(JsonTreeError::Invalid, "a control character in a string is not escaped");
      default: return fail(JsonTreeError::Invalid, "not a valid JSON object");
    }
  }

  bool parse(char* text, std::size_t size) {
    error = JsonTreeError::None;
    problem = "";
    nodes.resize(1);
    nodes[0] = JsonNode{};
    nodes[0].kind = JsonKind::Object;
    text_end = text + size;
    ondemand::document document;
    if (auto code = parser.iterate(simdjson::padded_string_view(text, size, size + simdjson::SIMDJSON_PADDING)).get(document)) {
      return invalid(code);
    }
    ondemand::object object;
    if (auto code = document.get_object().get(object)) return invalid(code);
    if (!add_fields(object, 0, 1)) return false;
    if (document.current_location().error() != simdjson::OUT_OF_BOUNDS) {
      return fail(JsonTreeError::Invalid, "something follows the object; packets of one frame are separated by a newline");
    }
    return true;
  }

  // Appends a node as the last child so far; 0 when there are too many.
  std::uint32_t append(std::uint32_t parent, std::uint32_t& last) {
    if (nodes.size() >= limits.max_nodes) {
      fail(JsonTreeError::TooMany, "too many values");
      return 0;
    }
    const auto index = static_cast<std::uint32_t>(nodes.size());
    nodes.emplace_back();
    (last == 0 ? nodes[parent].child : nodes[last].next) = index;
    last = index;
    return index;
  }

  bool add_fields(ondemand::object& object, std::uint32_t parent, std::uint32_t depth) {
    std::uint32_t last = 0;
    for (auto item : object) {
      ondemand::field field;
      if (auto code = std::move(item).get(field)) return invalid(code);
      const std::uint32_t index = append(parent, last);
      if (index == 0 || !read_key(field, index)) return false;
      if (depth > 1 && nodes[index].key == "body") {
        if (!add_raw(field.value(), index)) return false;
      } else if (!add_value(field.value(), index, depth)) {
        return false;
      }
    }
    return true;
  }

  bool add_elements(ondemand::array& array, std::uint32_t parent, std::uint32_t depth) {
    std::uint32_t last = 0;
    for (auto item : array) {
      ondemand::value value;
      if (auto code = std::move(item).get(value)) return invalid(code);
      const std::uint32_t index = append(parent, last);
      if (index == 0 || !add_value(value, index, depth)) return false;
    }
    return true;
  }

  // Keys without escapes are used where they stand.
  bool read_key(ondemand::field& field, std::uint32_t index) {
    const char* begin = field.key().raw();
    const char* at = begin;
    while (*at != '"' && *at != '\\') ++at;
    if (*at == '"') {
      nodes[index].key = {begin, static_cast<std::size_t>(at - begin)};
      return true;
    }
    std::string_view key;
    if (auto code = field.unescaped_key().get(key)) return invalid(code);
    nodes[index].key = key;
    return true;
  }

  bool add_value(ondemand::value value, std::uint32_t index, std::uint32_t depth) {
    const std::string_view token = value.raw_json_token();
    switch (token[0]) {
      case '{': {
        if (depth >= limits.max_depth) return fail(JsonTreeError::TooDeep, "nested too deeply");
        nodes[index].kind = JsonKind::Object;
        ondemand::object object;
        if (auto code = value.get_object().get(object)) return invalid(code);
        return add_fields(object, index, depth + 1);
      }
      case '[': {
        if (depth >= limits.max_depth) return fail(JsonTreeError::TooDeep, "nested too deeply");
        nodes[index].kind = JsonKind::Array;
        ondemand::array array;
        if (auto code = value.get_array().get(array)) return invalid(code);
        return add_elements(array, index, depth + 1);
      }
      case '"': return add_string(value, token, index);
      default: return add_scalar(trim_end(token), index);
    }
  }

  bool add_string(ondemand::value& value, std::string_view token, std::uint32_t index) {
    nodes[index].kind = JsonKind::String;
    const char* begin = token.data() + 1;
    const char* at = begin;
    while (*at != '"' && *at != '\\') ++at;  // the parser's first pass has found the end of each string
    if (*at == '\\') {
      if (auto code = value.get_string().get(nodes[index].text)) {
        return fail(JsonTreeError::Invalid, code == simdjson::STRING_ERROR ? "a wrong escape in a string" : "not a valid JSON object");
      }
      return true;
    }
    if (trim_end(token).data() + trim_end(token).size() != at + 1) return fail(JsonTreeError::Invalid, "something follows a string");
    // Consumed, since the parser would take a string that it has to skip, with a colon behind it, for a key.
    if (auto code = value.get_raw_json_string().error()) return invalid(code);
    nodes[index].text = {begin, static_cast<std::size_t>(at - begin)};
    return true;
  }

  bool add_scalar(std::string_view token, std::uint32_t index) {
    JsonNode& node = nodes[index];
    if (parse_integer(token, node.integer)) {
      node.kind = JsonKind::Integer;
      return true;
    }
    char* begin = const_cast<char*>(token.data());
    char* end = begin + token.size();
    const JsonTextEnd result = check_json_value(begin, end, 1);
    if (result.end != end) return fail(JsonTreeError::Invalid, "a value is no JSON");
    node.kind = token == "true" ? JsonKind::True : token == "false" ? JsonKind::False : token == "null" ? JsonKind::Null : JsonKind::Number;
    return true;
  }

  bool add_raw(ondemand::value value, std::uint32_t index) {
    char* begin = const_cast<char*>(value.raw_json_token().data());
    const JsonTextEnd result = check_json_value(begin, text_end, limits.max_body_depth);
    if (result.end == nullptr) return fail(result.too_deep ? JsonTreeError::BodyTooDeep : JsonTreeError::Body, result.problem);
    // The parser skips what it takes for the value, which may be more than this one ("01", or a string before a colon).
    const char* behind = result.end;
    while (behind != text_end && (*behind == ' ' || *behind == '\t' || *behind == '\n' || *behind == '\r')) ++behind;
    if (behind != text_end && *behind != ',' && *behind != '}') return fail(JsonTreeError::Body, "something follows the value");
    nodes[index].kind = JsonKind::Raw;
    nodes[index].text = {begin, static_cast<std::size_t>(result.end - begin)};
    return true;
  }

  JsonTreeLimits limits;
  ondemand::parser parser;
  std::vector<JsonNode> nodes;
  char* text_end = nullptr;
  JsonTreeError error = JsonTreeError::None;
  const char* problem = "";
};

JsonTree::JsonTree(const JsonTreeLimits& limits) : impl_(std::make_unique<Impl>(limits)), nodes_(impl_->nodes.data()) {}
JsonTree::~JsonTree() = default;

bool JsonTree::parse(char* text, std::size_t size) {
  const bool valid = impl_->parse(text, size);
  nodes_ = impl_->nodes.data();
  return valid;
}

JsonTreeError JsonTree::error() const {
  return impl_->error;
}
const char* JsonTree::problem() const {
  return impl_->problem;
}

}  // namespace dunlin::wire
