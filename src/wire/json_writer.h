#pragma once

#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace dunlin::wire {

// Appends JSON tokens to a string. Commas are set by field() and element(); the caller balances begin and end.
class JsonWriter {
 public:
  explicit JsonWriter(std::string& out) : out_(out) {}

  void begin_object() { open('{'); }
  void end_object() { close('}'); }
  void begin_array() { open('['); }
  void end_array() { close(']'); }

  // The key of the next value; a constant of ours that needs no escaping.
  void key(std::string_view name) {
    comma();
    out_ += '"';
    out_ += name;
    out_ += "\":";
    fresh_ = true;
  }

  void field(std::string_view name, std::string_view value) {
    key(name);
    string(value);
  }
  void field(std::string_view name, std::uint64_t value) {
    key(name);
    number(value);
  }
  void field(std::string_view name, std::uint32_t value) { field(name, std::uint64_t{value}); }
  void field(std::string_view name, bool value) {
    key(name);
    out_ += value ? "true" : "false";
    fresh_ = false;
  }
  void raw_field(std::string_view name, std::string_view json) {
    key(name);
    out_ += json;
    fresh_ = false;
  }

  void string(std::string_view value);
  void number(std::uint64_t value) {
    comma();
    std::array<char, 20> digits;
    out_.append(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr);
    fresh_ = false;
  }

 private:
  void comma() {
    if (!fresh_) out_ += ',';
  }
  void open(char bracket) {
    comma();
    out_ += bracket;
    fresh_ = true;
  }
  void close(char bracket) {
    out_ += bracket;
    fresh_ = false;
  }

  std::string& out_;
  bool fresh_ = true;  // nothing to separate from: behind an opening bracket or a key
};

// Bytes of the string with its quotes and escapes.
std::size_t json_string_size(std::string_view value);

}  // namespace dunlin::wire
