#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace dunlin::wire {

enum class JsonKind : std::uint8_t { Null, False, True, Integer, Number, String, Array, Object, Raw };

// One value of a packet. `next` is the following field or element, `child` the first one inside; 0 means none.
struct JsonNode {
  std::string_view key;   // of a field
  std::string_view text;  // String: unescaped content; Raw: the JSON text of a body
  std::uint64_t integer = 0;
  JsonKind kind = JsonKind::Null;
  std::uint32_t next = 0;
  std::uint32_t child = 0;
};

struct JsonTreeLimits {
  std::uint32_t max_nodes = 32768;
  std::uint32_t max_depth = 32;
  std::uint32_t max_body_depth = 64;
};

enum class JsonTreeError : std::uint8_t { None, Invalid, TooDeep, TooMany, Body, BodyTooDeep };

// The values of one packet, in order, read by simdjson and fully validated: grammar, UTF-8, depth. Each field named "body" (and not at the
// top) is kept as raw text, checked by check_json_value. Views point into the packet's text, or, for strings with escapes, into memory of
// the tree; both are valid until the next parse(). Memory is reused from packet to packet. Not thread-safe.
class JsonTree {
 public:
  explicit JsonTree(const JsonTreeLimits& limits);
  ~JsonTree();

  // `text` begins with '{'; 64 bytes behind it must be readable. False: error() and problem() say why; the nodes read so far stay.
  bool parse(char* text, std::size_t size);

  JsonTreeError error() const;
  const char* problem() const;

  const JsonNode& root() const { return nodes_[0]; }
  const JsonNode* child(const JsonNode& node) const { return node.child == 0 ? nullptr : &nodes_[node.child]; }
  const JsonNode* next(const JsonNode& node) const { return node.next == 0 ? nullptr : &nodes_[node.next]; }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  const JsonNode* nodes_;
};

}  // namespace dunlin::wire
