#pragma once

#include "base/ids.h"
#include "messaging/delivery/session_delivery.h"
#include "messaging/delivery/signal.h"
#include "messaging/ports/timelines.h"
#include "session/packet_writer.h"

namespace dunlin {

class SessionHost;
struct Session;

// What a test may break while the server runs.
struct SessionFaults {
  bool drop_pushes = false;  // messages count as pushed but are not written
};

// What goes to clients unasked: messages, gaps and signals. A message or gap that the write queue has no room for is told as AtBound, and
// its session reads on from the store when there is room again. A signal (typing, a receipt) is worth less: it is dropped long before that.
//
// Owner: SessionHost. Thread: its worker's. Keeps nothing; what waits to be written is bounded by the connection's write queue.
class Pushes {
 public:
  explicit Pushes(SessionHost& host) : host_(host) {}
  Pushes(const Pushes&) = delete;
  Pushes& operator=(const Pushes&) = delete;

  DeliverySink::Pushed message(Session& session, const MessagePtr& message);
  DeliverySink::Pushed gap(Session& session, const ConversationId& conversation, const SeqGap& gap);
  void signal(const SignalPush& push);

  void set_faults(SessionFaults faults) { faults_ = faults; }

 private:
  SessionHost& host_;
  SessionFaults faults_;
};

}  // namespace dunlin
