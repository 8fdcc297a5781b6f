#pragma once

#include "base/log.h"
#include "base/result.h"
#include "config/config.h"
#include "net/listener_options.h"
#include "session/session_options.h"

namespace dunlin {

// The configuration as each layer wants it. Pure translation: what a value means stands in config/settings.cc, what it does in its layer.
Result<NetOptions> net_options(const Config& config);
Result<AdmissionOptions> admission_options(const Config& config);
Result<ListenerOptions> websocket_listener(const Config& config);
Result<ListenerOptions> tcp_listener(const Config& config);
SessionOptions session_options(const Config& config);
LogLevel log_level(const Config& config);

// How many event loops: performance.worker-threads, or one for each core that this process may use.
std::size_t worker_count(const Config& config);

}  // namespace dunlin
