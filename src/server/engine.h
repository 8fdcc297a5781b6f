#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "base/siphash.h"
#include "config/config.h"
#include "messaging/ports/device_states.h"
#include "messaging/ports/inboxes.h"
#include "messaging/ports/timelines.h"
#include "metrics/server_metrics.h"
#include "runtime/offload.h"
#include "server/faults.h"

namespace dunlin {

// The store that the configuration names, opened. The only place that knows its concrete type.
// Owner: the node. close() refuses new work and settles the old; after it only destruction is left.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual Timelines& timelines() = 0;
  virtual Inboxes& inboxes() = 0;
  virtual DeviceStates& devices() = 0;
  virtual void close() = 0;
  // Proves that the medium takes writes now, and gives back what was written. Blocks; called by the prober's own thread.
  virtual Status probe() = 0;
  // Brings the store's own numbers up to date in the metrics.
  virtual void collect() {}
  virtual Status backup(const std::string& folder, const std::function<bool(std::uint64_t done, std::uint64_t total)>& progress) = 0;
  // Where sync_tokens get their key: a secret that lives as long as the data.
  virtual Result<SipKey> token_key() = 0;
};

struct EngineParts {
  const Config& config;
  const Clock& clock;
  ServerMetrics& metrics;
  OffloadPool& offload;
  Faults& faults;
};
Result<std::unique_ptr<Engine>> open_engine(const EngineParts& parts);

}  // namespace dunlin
