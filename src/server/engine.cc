#include "server/engine.h"

#include "server/embedded_engine.h"
#include "server/memory_engine.h"

namespace dunlin {

Result<std::unique_ptr<Engine>> open_engine(const EngineParts& parts) {
  if (parts.config.store.engine == "memory") return open_memory_engine(parts);
  return open_embedded_engine(parts);
}

}  // namespace dunlin
