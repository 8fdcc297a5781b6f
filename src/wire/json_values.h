#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "wire/json_fields.h"
#include "wire/json_writer.h"

// Lists and sizes, for the generated code of JSON. read() and write() of an element are found where it is used.
namespace dunlin::wire {

inline constexpr std::uint32_t kNoLimit = 1U << 30;  // of lists from a server

template <class Item>
void write_list(JsonWriter& w, std::string_view name, const std::vector<Item>& items) {
  w.key(name);
  w.begin_array();
  for (const Item& item : items) write(w, item);
  w.end_array();
}
template <class Item>
void write_list(JsonWriter& w, std::string_view name, std::span<const Item> items) {
  w.key(name);
  w.begin_array();
  for (const Item& item : items) write(w, item);
  w.end_array();
}
inline void write(JsonWriter& w, std::string_view text) {
  w.string(text);
}

// `path` names an element in errors; `memory` is what its reader needs beside the fields.
template <class Item, class... Memory>
void read_list(const JsonFields& in, std::string_view name, std::string_view path, std::uint32_t max, std::vector<Item>& items,
               Memory&... memory) {
  items.clear();
  in.each(name, max, [&](const JsonNode& node) { read(in.inside(node, path), memory..., items.emplace_back()); });
}
inline void read_strings(const JsonFields& in, std::string_view name, std::uint32_t max, std::vector<std::string_view>& strings) {
  strings.clear();
  in.each(name, max, [&](const JsonNode& node) {
    if (node.kind != JsonKind::String) return in.fail(name, "must be an array of strings");
    strings.push_back(node.text);
  });
}

// What stands around a field's value: quotes, colon and comma; around an object: braces and comma.
constexpr std::size_t json_key_bytes(std::string_view name) {
  return name.size() + 4;
}
constexpr std::size_t json_object_bytes() {
  return 3;
}
inline std::size_t json_value_bytes_at_most(std::string_view text) {
  return json_string_size(text);
}
constexpr std::size_t json_value_bytes_at_most(std::uint64_t) {
  return 16;  // integers go up to 2^53-1
}
constexpr std::size_t json_value_bytes_at_most(std::uint32_t) {
  return 10;
}
constexpr std::size_t json_value_bytes_at_most(bool) {
  return 5;
}

}  // namespace dunlin::wire
