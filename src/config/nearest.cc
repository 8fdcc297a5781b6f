#include "config/nearest.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace dunlin {
namespace {

// Longer words are not typing errors; cutting them bounds the work.
constexpr std::size_t kMaxWord = 128;

std::string_view last_part(std::string_view key, char separator) {
  const auto dot = key.rfind(separator);
  return dot == std::string_view::npos ? key : key.substr(dot + 1);
}

}  // namespace

// Optimal string alignment: the Levenshtein table with one more case for a swap, three rows of it at a time.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  a = a.substr(0, kMaxWord);
  b = b.substr(0, kMaxWord);
  std::vector<std::size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) above[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

std::string nearest(std::string_view word, std::span<const std::string> candidates, char separator) {
  const std::string* best = &candidates.front();
  std::size_t best_distance = SIZE_MAX;
  for (const std::string& candidate : candidates) {
    const std::size_t in_last_part = edit_distance(last_part(word, separator), last_part(candidate, separator)) + 2;
    const std::size_t distance = std::min(edit_distance(word, candidate), in_last_part);
    if (distance >= best_distance) continue;
    best = &candidate;
    best_distance = distance;
  }
  return *best;
}

}  // namespace dunlin
