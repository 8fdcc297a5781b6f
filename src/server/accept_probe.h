#pragma once

#include "base/clock.h"
#include "base/result.h"
#include "net/address.h"

namespace dunlin {

// Proves that a port takes connections: connects to it as a client would and hangs up. Blocks at most `deadline`.
Status probe_port(const Endpoint& bound, Milliseconds deadline);

}  // namespace dunlin
