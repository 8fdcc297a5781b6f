#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace dunlin {

// How many insertions, deletions, replacements and swaps of neighbours turn `a` into `b`.
std::size_t edit_distance(std::string_view a, std::string_view b);

// Of `candidates` (not empty) the one that a person most likely meant by `word`: nearest as a whole, or nearest in the last part
// after a `separator` when only the section is wrong. The first of equals.
std::string nearest(std::string_view word, std::span<const std::string> candidates, char separator);

}  // namespace dunlin
