#pragma once

#include <string>

namespace dunlin {

// The page docs/operating/configuration.md, made from the settings table. A test compares them.
std::string configuration_reference();

}  // namespace dunlin
