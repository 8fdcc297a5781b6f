#pragma once

#include <functional>

#include "base/result.h"
#include "config/config.h"
#include "config/load.h"

namespace dunlin {

// Runs a whole server on this process's signals until SIGTERM or SIGINT has stopped it: opens the store, listens, prints the ready line on
// stdout, serves, stops in phases. Gives the exit code: 0 after a graceful stop, 1 after a failure, 2 when a setting cannot work here.
// Errors are logged. Call it once, on the main thread, before any other thread exists (it blocks the signals that it waits for).
//
// `reload` is called for SIGHUP and gives the new configuration; what a reload cannot change is named in a warning.
int run_server(const LoadedConfig& config, const std::function<Result<LoadedConfig>()>& reload);

}  // namespace dunlin
