#pragma once

#include <string_view>

namespace dunlin {

// What `dunlin version`, /info and the package say. CMakeLists.txt reads it from this line.
inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace dunlin
