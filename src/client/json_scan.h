#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace dunlin::client {

// A forward reader over the members of one JSON object, for packets of a server that is known to write JSON: it finds names and value
// ends quickly and copies nothing, but it does not validate what it skips. Values are raw: a string keeps its quotes and escapes.
class ObjectScanner {
 public:
  explicit ObjectScanner(std::string_view object);

  // Moves to the next member; false at the end or when the text is no object (then failed() tells).
  bool next();
  std::string_view name() const { return name_; }
  std::string_view value() const { return value_; }
  bool failed() const { return failed_; }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
  bool first_ = true;
  bool failed_ = false;
  std::string_view name_;
  std::string_view value_;
};

// The raw value of one member, if there.
std::optional<std::string_view> member(std::string_view object, std::string_view name);

// A non-negative integer, or nothing.
std::optional<std::uint64_t> as_number(std::string_view raw);

// What stands between the quotes (escapes kept); empty when it is no string.
std::string_view as_raw_string(std::string_view raw);

// What a server sends: a reply (with id) or a push, of one kind whose name is the envelope's other member.
struct ScannedPacket {
  std::optional<std::uint64_t> id;
  std::string_view kind;  // "send", "message", "error", …
  std::string_view content;
};
std::optional<ScannedPacket> scan_packet(std::string_view json);

}  // namespace dunlin::client
