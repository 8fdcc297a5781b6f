#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "messaging/delivery/device_turns.h"
#include "messaging/delivery/dispatcher.h"
#include "messaging/delivery/session_registry.h"
#include "messaging/delivery/sync_token.h"
#include "messaging/ports/device_states.h"
#include "messaging/ports/inboxes.h"
#include "messaging/ports/timelines.h"
#include "metrics/server_metrics.h"
#include "session/auth/authenticator.h"
#include "session/detached_cursors.h"
#include "session/user_rate.h"

namespace dunlin {

class SessionHost;

// What the session hosts of all workers share. Made by the composition root; every part outlives the hosts.
struct SessionServices {
  const Clock& clock;
  Timelines& timelines;
  Inboxes& inboxes;
  DeviceStates& devices;
  auth::Authenticator& authenticator;
  SessionRegistry& registry;
  Dispatcher& dispatcher;
  UserRate& user_rate;
  DetachedCursors& detached;
  DeviceTurns& device_turns;
  const SyncTokenMinter& sync_tokens;
  ServerMetrics& metrics;
  std::vector<SessionHost*> hosts;  // by worker; complete before the workers start
};

}  // namespace dunlin
