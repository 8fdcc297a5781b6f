#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "wire/json_tree.h"

namespace dunlin::wire {

// Typed access to the fields of one object of a packet. A field that is absent or null leaves its variable as it was; one of a wrong type
// sets the packet's error, naming the field ("send.to must be a string"). Of two fields with the same name the first counts; fields that
// nobody asks for are ignored.
class JsonFields {
 public:
  JsonFields(const JsonTree& tree, const JsonNode& object, std::string_view path, std::optional<Error>& error)
      : tree_(tree), object_(object), path_(path), error_(error) {
    if (object.kind != JsonKind::Object) fail("", "must be an object");
  }

  const JsonNode* find(std::string_view name) const {
    if (object_.kind != JsonKind::Object) return nullptr;
    for (const JsonNode* node = tree_.child(object_); node != nullptr; node = tree_.next(*node)) {
      if (node->key == name) return node->kind == JsonKind::Null ? nullptr : node;
    }
    return nullptr;
  }

  void read(std::string_view name, std::string_view& out) const {
    const JsonNode* node = find(name);
    if (node == nullptr) return;
    if (node->kind != JsonKind::String) return fail(name, "must be a string");
    out = node->text;
  }

  void read(std::string_view name, std::string& out) const {
    std::string_view text = out;
    read(name, text);
    out = text;
  }

  // By its name; one that nobody knows becomes `unknown`, an empty one counts as absent.
  template <class Enum>
  void read(std::string_view name, Enum& out, std::optional<Enum> (*parse)(std::string_view), Enum unknown) const {
    std::string_view text;
    read(name, text);
    if (!text.empty()) out = parse(text).value_or(unknown);
  }

  void read(std::string_view name, std::uint64_t& out) const {
    const JsonNode* node = find(name);
    if (node == nullptr) return;
    if (node->kind != JsonKind::Integer) return fail(name, "must be an integer from 0 to 9007199254740991");
    out = node->integer;
  }

  // Numbers too large for 32 bits count as the largest: limits are cut down anyway.
  void read(std::string_view name, std::uint32_t& out) const {
    std::uint64_t wide = out;
    read(name, wide);
    out = static_cast<std::uint32_t>(std::min<std::uint64_t>(wide, std::numeric_limits<std::uint32_t>::max()));
  }

  void read(std::string_view name, std::optional<std::uint64_t>& out) const {
    if (find(name) == nullptr) return;
    std::uint64_t value = 0;
    read(name, value);
    out = value;
  }

  void read(std::string_view name, bool& out) const {
    const JsonNode* node = find(name);
    if (node == nullptr) return;
    if (node->kind != JsonKind::True && node->kind != JsonKind::False) return fail(name, "must be true or false");
    out = node->kind == JsonKind::True;
  }

  // Calls `visit(node)` for each element of an array; with more than `max` of them the packet is refused as too_large.
  template <class Visit>
  void each(std::string_view name, std::uint32_t max, Visit visit) const {
    const JsonNode* array = find(name);
    if (array == nullptr) return;
    if (array->kind != JsonKind::Array) return fail(name, "must be an array");
    std::uint32_t count = 0;
    for (const JsonNode* node = tree_.child(*array); node != nullptr; node = tree_.next(*node)) {
      if (count++ == max) {
        if (!error_) error_ = Error(ErrorCode::TooLarge, where(name) + " has more than " + std::to_string(max) + " elements");
        return;
      }
      visit(*node);
    }
  }

  // The fields of an object inside; `path` names it in errors.
  JsonFields inside(const JsonNode& node, std::string_view path) const { return {tree_, node, path, error_}; }

  void fail(std::string_view name, std::string_view problem) const {
    if (!error_) error_ = Error(ErrorCode::BadRequest, where(name) + " " + std::string(problem));
  }

 private:
  std::string where(std::string_view name) const {
    std::string text(path_);
    if (!name.empty() && !text.empty()) text += '.';
    return text += name;
  }

  const JsonTree& tree_;
  const JsonNode& object_;
  std::string_view path_;
  std::optional<Error>& error_;
};

}  // namespace dunlin::wire
