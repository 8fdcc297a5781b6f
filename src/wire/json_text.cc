#include "wire/json_text.h"

#include <algorithm>
#include <cstring>

namespace dunlin::wire {
namespace {

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// A cursor over the text. Each method consumes one token and returns false when it is not there.
class JsonTextReader {
 public:
  JsonTextReader(char* begin, char* end, std::uint32_t max_depth)
      : at_(begin), end_(end), max_depth_(std::min(max_depth, kMaxJsonTextDepth)) {}

  JsonTextEnd read() {
    const bool valid = value();
    return valid ? JsonTextEnd{at_, nullptr, false} : JsonTextEnd{nullptr, problem_, too_deep_};
  }

 private:
  bool fail(const char* problem) {
    problem_ = problem;
    return false;
  }

  void space() {
    for (; at_ != end_; ++at_) {
      if (*at_ == '\n' || *at_ == '\r') {
        *at_ = ' ';
      } else if (*at_ != ' ' && *at_ != '\t') {
        return;
      }
    }
  }

  bool take(char c) {
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }

  // The whole value; `objects_` has a bit for each open container (1 = object), so there is no recursion to overflow.
  bool value() {
    std::uint32_t depth = 0;
    for (;;) {
      bool opened = false;
      if (!item(opened)) return false;
      if (opened) {
        if (depth == max_depth_) {
          too_deep_ = true;
          return fail("nested too deeply");
        }
        objects_ = (objects_ << 1) | (at_[-1] == '{' ? 1U : 0U);
        ++depth;
        space();
        if (!take(closer())) {
          if (in_object() && !key()) return false;
          continue;
        }
        objects_ >>= 1;
        --depth;
      }
      if (!close(depth)) return false;
      if (depth == 0) return true;
    }
  }

  bool in_object() const { return (objects_ & 1) != 0; }
  char closer() const { return in_object() ? '}' : ']'; }

  // After an item: closes what ends here, and stands before the next item or at depth 0.
  bool close(std::uint32_t& depth) {
    while (depth > 0) {
      space();
      if (take(',')) {
        space();
        return !in_object() || key();
      }
      if (!take(closer())) return fail(at_ == end_ ? "ends too early" : "a comma or a closing bracket is missing");
      objects_ >>= 1;
      --depth;
    }
    return true;
  }

  bool key() {
    if (at_ == end_ || *at_ != '"') return fail(at_ == end_ ? "ends too early" : "a key is missing");
    if (!string()) return false;
    space();
    if (!take(':')) return fail("a colon is missing");
    space();
    return true;
  }

  bool item(bool& opened) {
    if (at_ == end_) return fail("ends too early");
    switch (*at_) {
      case '{':
      case '[':
        ++at_;
        opened = true;
        return true;
      case '"': return string();
      case 't': return literal("true");
      case 'f': return literal("false");
      case 'n': return literal("null");
      default: return number();
    }
  }

  bool literal(std::string_view word) {
    if (std::string_view(at_, static_cast<std::size_t>(end_ - at_)).substr(0, word.size()) != word) return fail("not a JSON value");
    at_ += word.size();
    return true;
  }

  bool digits() {
    if (at_ == end_ || !is_digit(*at_)) return fail("not a JSON value");
    while (at_ != end_ && is_digit(*at_)) ++at_;
    return true;
  }

  bool number() {
    take('-');
    if (!take('0') && !digits()) return false;
    if (take('.') && !digits()) return false;
    if (at_ != end_ && (*at_ == 'e' || *at_ == 'E')) {
      ++at_;
      if (!take('+')) take('-');
      if (!digits()) return false;
    }
    return true;
  }

  // Skips bytes that need no look, eight at a time: a byte below 0x20, a quote or a backslash sets its high bit.
  void skip_plain() {
    constexpr std::uint64_t ones = 0x0101010101010101;
    constexpr std::uint64_t high_bits = 0x8080808080808080;
    while (end_ - at_ >= 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, at_, 8);
      const std::uint64_t quote = word ^ (ones * '"');
      const std::uint64_t backslash = word ^ (ones * '\\');
      const std::uint64_t hit = ((word - ones * 0x20) & ~word) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash);
      if ((hit & high_bits) != 0) return;
      at_ += 8;
    }
  }

  bool string() {
    ++at_;
    for (;;) {
      skip_plain();
      while (at_ != end_ && *at_ != '"' && *at_ != '\\' && static_cast<unsigned char>(*at_) >= 0x20) {
        ++at_;
      }
      if (at_ == end_) return fail("a string does not end");
      if (take('"')) return true;
      if (!take('\\')) return fail("a control character in a string is not escaped");
      if (!escape()) return fail("a wrong escape in a string");
    }
  }

  bool escape() {
    if (at_ == end_) return false;
    const char kind = *at_++;
    if (kind == 'u') {
      if (end_ - at_ < 4 || !std::all_of(at_, at_ + 4, is_hex)) return false;
      at_ += 4;
      return true;
    }
    return kind != '\0' && std::strchr("\"\\/bfnrt", kind) != nullptr;
  }

  char* at_;
  char* end_;
  std::uint32_t max_depth_;
  std::uint64_t objects_ = 0;
  const char* problem_ = nullptr;
  bool too_deep_ = false;
};

}  // namespace

JsonTextEnd check_json_value(char* begin, char* end, std::uint32_t max_depth) {
  return JsonTextReader(begin, end, max_depth).read();
}

bool is_json_text(char* begin, char* end, std::uint32_t max_depth, JsonTextEnd& result) {
  const auto skip_space = [end](char* at) {
    while (at != end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) {
      *at++ = ' ';
    }
    return at;
  };
  begin = skip_space(begin);
  result = check_json_value(begin, end, max_depth);
  if (result.end == nullptr) return false;
  if (skip_space(result.end) != end) {
    result.problem = "something follows the value";
    return false;
  }
  return true;
}

bool is_json_content_type(std::string_view content_type) {
  content_type = content_type.substr(0, content_type.find(';'));
  while (!content_type.empty() && content_type.back() == ' ') content_type.remove_suffix(1);
  return content_type.empty() || content_type == "application/json" || content_type.ends_with("+json");
}

}  // namespace dunlin::wire
