#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "messaging/delivery/session_delivery.h"
#include "messaging/model/epoch.h"
#include "messaging/model/session_key.h"
#include "net/connection.h"
#include "session/auth/authenticator.h"
#include "wire/encoding.h"

namespace dunlin {

class SessionHost;

// What one connection is to the server beyond its bytes: who it is, in which phase, until when, and where its delivery stands.
//
// Owner: its Connection (as ConnectionUser), which outlives it; it dies right after on_close. Thread: its worker. Everyone else keeps the
// ConnectionHandle and resolves it again (SessionHost::find). Memory: this and the ids' bytes; what is in flight is kept by the worker's
// tables (PendingSends) or by `delivery` only while it lasts.
// Phases: New → Connecting → Ready → Leaving.
//  - New: a socket, nobody yet. Connecting: its connect command is being answered; what comes behind it waits in `held`.
//  - Ready: it may call every command, and messages are pushed to it.
//  - Leaving: replaced, kicked or logged out. Nothing it says is heard any more; what it has sent settles before it is closed (Departures).
struct Session final : ConnectionUser, DeliverySink {
  enum class Phase : std::uint8_t { New, Connecting, Ready, Leaving };

  Session(SessionHost& owner, Connection& transport) : host(owner), connection(transport) {}

  bool ready() const { return phase == Phase::Ready; }
  void set_token(const auth::Identity& identity);
  WallTime token_begins() const { return WallTime(std::chrono::seconds(token_begins_s)); }
  bool idle() const { return pending_sends == 0 && pending_queries == 0; }
  ConnectionHandle handle() const { return connection.handle(); }

  // What `delivery` says goes out through the host.
  Pushed push_message(const MessagePtr& message) override;
  Pushed push_gap(const ConversationId& conversation, const SeqGap& gap) override;
  void blocked() override;
  const UserId& user() const override { return user_id; }
  const SessionKey& key() const override { return session_key; }

  SessionHost& host;
  Connection& connection;

  // constant from connect on
  UserId user_id;
  DeviceId device;
  SessionKey session_key;
  wire::Encoding encoding = wire::Encoding::Json;
  metrics::Platform platform{};  // what the device has said of itself

  // worker only
  Phase phase = Phase::New;
  bool encoding_known = false;  // TCP: the first payload tells it
  bool registered = false;      // in the session registry
  bool attached = false;        // `delivery` runs from the device's cursor
  bool in_store = false;        // the store knows it (begin_session): from its first send on, until all it has sent is settled
  bool judging = false;         // positions that it claims are looked up
  bool own_order = false;       // a limit has refused one of its sends, so Sends::orders() keeps its order
  bool reading_paused = false;
  bool typing = false;                // was told, and its end was not
  bool half_closed = false;           // its peer has ended its side; what it asked is still answered
  bool changed = false;               // in CursorFlush's list of sessions whose cursor may have moved
  bool acked = false;                 // in CursorFlush's list of sessions whose device has acked something since the last note
  std::unique_ptr<std::string> held;  // while Connecting: the packets that came behind connect in its frame
  std::uint16_t pending_queries = 0;
  std::uint16_t refused_refreshes = 0;
  std::uint32_t pending_sends = 0;
  std::uint32_t strikes = 0;  // refused sends in excess of accepted ones
  std::uint32_t token_begins_s = 0;
  MonotonicTime last_life{};  // last complete packet or control frame
  MonotonicTime last_typing{};
  WallTime token_expires{};
  Epoch epoch;                              // in which it began: its cursors and tokens are of that one, also when the store has a newer
  std::optional<SessionDelivery> delivery;  // from connect on
};

}  // namespace dunlin
