#pragma once

#include "messaging/delivery/session_registry.h"
#include "net/connection_handle.h"

namespace dunlin {

// The domain's name for a connection (it knows no socket) back into the transport's.
constexpr ConnectionHandle connection_handle(ConnectionRef ref) {
  return ConnectionHandle(worker_of(ref), static_cast<std::uint32_t>(ref >> 30) & 0xffffffU, static_cast<std::uint32_t>(ref) & 0x3fffffffU);
}
static_assert(connection_handle(ConnectionHandle(3, 70'000, 9).bits()) == ConnectionHandle(3, 70'000, 9));

}  // namespace dunlin
