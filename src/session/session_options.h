#pragma once

#include <cstdint>

#include "base/clock.h"
#include "messaging/delivery/cursor_keeper.h"
#include "messaging/delivery/session_delivery.h"
#include "net/listener_options.h"
#include "wire/decoder.h"

namespace dunlin {

// What a rule about one user allows: `per_second` in the long run, `burst` at once after a pause.
struct UserRateRule {
  LimitMode mode = LimitMode::Enforce;
  std::uint32_t per_second = 100;
  std::uint32_t burst = 200;
};

// Logins under way on one worker at a time; 0: any number.
struct LoginRule {
  LimitMode mode = LimitMode::Enforce;
  std::uint32_t at_a_time = 10'000;
};

// Every number by which sessions are run. Immutable and shared; a reload hands each worker a new one (SessionHost::set_options), which
// holds for connections that are open already as well.
struct SessionOptions {
  // timers
  Milliseconds auth_deadline{10'000};       // from open to a connect command
  Milliseconds heartbeat_interval{30'000};  // told to clients; 2.5 of them without a sign of life end the connection
  Milliseconds cursor_flush_interval{2'000};
  Milliseconds receipt_interval{200};
  Milliseconds typing_interval{300};  // of one session; more often is dropped

  // bounds
  std::uint32_t max_packet_bytes = 65536;
  std::uint32_t max_pending_sends = 512;   // of one connection; beyond them it is not read on
  std::uint32_t max_pending_queries = 16;  // history, sync, read, … of one connection; the same
  std::uint32_t max_reply_bytes = 64 * 1024;
  std::uint32_t default_history = 50;
  std::uint32_t max_history = 200;
  std::uint32_t default_sync = 20;
  std::uint32_t max_sync = 100;
  std::uint32_t refused_refreshes = 5;  // of one connection; then it is closed
  std::uint32_t abuse_strikes = 1000;   // refused sends in excess of accepted ones that end a connection
  wire::DecoderLimits decoder;

  UserRateRule user_sends;
  LoginRule logins;
  DeviceRules devices;  // those of the start hold until the end
  bool history_enabled = true;

  DeliveryOptions delivery;

  Milliseconds zombie_after() const { return heartbeat_interval * 5 / 2; }
};

}  // namespace dunlin
