#pragma once

#include <string>
#include <string_view>

// For tests that hold the worked examples of the storage pages against what is really written.
namespace dunlin::embedded {

inline std::string hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    out.push_back(kDigits[static_cast<unsigned char>(c) >> 4]);
    out.push_back(kDigits[static_cast<unsigned char>(c) & 15]);
  }
  return out;
}

// The examples are written in groups, as on the page.
inline std::string packed(std::string groups) {
  std::erase(groups, ' ');
  return groups;
}

}  // namespace dunlin::embedded
