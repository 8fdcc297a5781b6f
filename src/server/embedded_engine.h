#pragma once

#include <string>

#include "server/engine.h"

namespace dunlin {

Result<std::unique_ptr<Engine>> open_embedded_engine(const EngineParts& parts);
// Whether a start takes that secret of the data folder; one that is missing it makes. For `dunlin verify`.
Status check_secret(const std::string& folder, const std::string& name);

}  // namespace dunlin
