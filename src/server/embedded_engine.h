#pragma once

#include "server/engine.h"

namespace dunlin {

Result<std::unique_ptr<Engine>> open_embedded_engine(const EngineParts& parts);

}  // namespace dunlin
