#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "wire/json_tree.h"

namespace dunlin::wire {

// The packets of one JSON frame, one by one. A packet is normally one line; one that is written over several lines is found by its
// brackets. After a line that is no packet the next line is tried. Work is linear in the frame's size, whatever it holds.
class JsonFrame {
 public:
  explicit JsonFrame(const JsonTreeLimits& limits) : tree_(limits) {}

  void start(std::span<char> payload);
  void start_copy(std::string_view payload);

  // False at the end. Otherwise tree() holds the packet, or error() says why it is none (and id() what could be read of it).
  bool next();

  const JsonTree& tree() const { return tree_; }
  const std::optional<Error>& error() const { return error_; }
  std::optional<std::uint64_t> id() const;
  void drop_rest() { at_ = end_; }
  std::string_view rest() const { return {at_, static_cast<std::size_t>(end_ - at_)}; }

 private:
  bool parse(char* end);
  char* extent() const;
  Error describe() const;

  JsonTree tree_;
  std::string copy_;
  char* at_ = nullptr;
  char* end_ = nullptr;
  std::string_view packet_;
  bool lines_only_ = false;  // brackets do not match up to the end of the frame: not searched again
  std::optional<Error> error_;
};

}  // namespace dunlin::wire
