#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"

namespace dunlin {

// Checks what the settings table cannot: how settings fit together, that addresses parse and files can be read, that nothing is
// enabled that this build lacks. Rewrites addresses to their plain form ("[::1]" → "::1", "localhost" → "127.0.0.1") and appends to
// `warnings` what is accepted without effect. The error is one of config_error().
Status validate(Config& config, std::vector<std::string>& warnings);

}  // namespace dunlin
