#pragma once

#include <string>

#include "base/result.h"

namespace dunlin::bench {

// Writes a new P-256 key and a certificate of its own for 127.0.0.1, good for a day, as PEM files that only we can read.
Status write_self_signed(const std::string& certificate_path, const std::string& key_path);

}  // namespace dunlin::bench
