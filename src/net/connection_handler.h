#pragma once

#include <cstdint>
#include <string_view>

#include "codec/bytes.h"
#include "codec/framing.h"

namespace dunlin {

class Connection;

enum class Transport : std::uint8_t { WebSocket, Tcp };

// Why an open connection ended; the `reason` label of dunlin_disconnects_total (with the code's name where we closed it).
enum class CloseCause : std::uint8_t {
  Local,        // close() or abort() of ours; `code` is what was given
  PeerClose,    // the peer's close frame (its code, 1005 if none), or TCP's orderly end (code 0)
  PeerGone,     // reset, or end of stream without a close frame
  BadFrame,     // broke RFC 6455 or the TCP framing
  BadUtf8,      // text that is not UTF-8
  TooLarge,     // over the message or fragment limit
  MemoryBound,  // the process holds too many bytes of incomplete messages
  IoError,      // a system call failed otherwise
};
std::string_view close_cause_name(CloseCause cause);

struct CloseInfo {
  CloseCause cause;
  std::uint16_t code;  // WebSocket close code or error code, 0 if none
};

struct ReceivedMessage {
  MutableBytes payload;  // kPayloadPadding readable bytes follow; valid, and writable, until the call returns
  MessageKind kind;      // TCP: Text in line mode, Binary in length mode (the session looks at the first byte)
};

// What the layer above does with connections. One object for each worker and listener, called on that worker only; it outlives them.
// Inside a callback the handler may send, close or abort this connection or any other: nothing is destroyed and nothing else is called back
// before it returns.
class ConnectionHandler {
 public:
  virtual ~ConnectionHandler() = default;

  // The transport is ready: WebSocket upgraded, or the first byte of a TCP connection has told its framing. Attach a user here.
  virtual void on_open(Connection& connection) = 0;
  virtual void on_message(Connection& connection, const ReceivedMessage& message) = 0;
  // A ping or pong came: a sign of life (pings are answered already).
  virtual void on_control(Connection&) {}
  // After a send() answered AtBound: the write queue is below half its bound again.
  virtual void on_drained(Connection&) {}
  // The deadline armed with Connection::arm_timer() has passed.
  virtual void on_timer(Connection&) {}
  // The peer of a TCP connection has ended its side in order; it may still read. True: what it asked is still being answered, and then
  // Connection::finish() (or a close) is called. False: nothing is owed to it.
  virtual bool on_half_closed(Connection&) { return false; }
  // A TCP connection is about to end because of what its peer sent: the last moment for a packet that says why (reply()).
  // A WebSocket peer learns it from the close code.
  virtual void on_failing(Connection&, const CloseInfo&) {}
  // One too many, which nothing else is told of: the last moment for a packet that says so (reply()), then it is closed with
  // too_many_connections. `first`: over TCP what its peer sent first, if it sent anything.
  virtual void on_refused(Connection&, std::string_view /*first*/) {}
  // Exactly once for each on_open, at the end of the turn in which it ended (never from inside close()); after it the user is destroyed.
  virtual void on_close(Connection& connection, const CloseInfo& info) = 0;
};

}  // namespace dunlin
