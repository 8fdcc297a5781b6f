#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "messaging/conversation/conversation_list.h"
#include "messaging/conversation/timeline_access.h"
#include "messaging/delivery/receipts.h"
#include "net/connection_set.h"
#include "runtime/worker.h"
#include "session/claims.h"
#include "session/clock_watch.h"
#include "session/cursor_flush.h"
#include "session/delivery_mailbox.h"
#include "session/departures.h"
#include "session/drain.h"
#include "session/every.h"
#include "session/packet_writer.h"
#include "session/pushes.h"
#include "session/sends.h"
#include "session/session.h"
#include "session/session_options.h"
#include "session/session_services.h"
#include "session/session_sweep.h"
#include "wire/decoder.h"

namespace dunlin {

// All sessions of one worker: gets packets from the transport, checks who may call what, runs the handlers, and hands the dispatcher's
// batches on. What is more than one session's own business lies with its parts: Sends, Pushes, CursorFlush, Departures, Drain, Claims, and
// a SessionSweep for each thing that every session is looked at for.
//
// Owner: the composition root; made before its worker starts, destroyed after it has stopped and all its connections are gone.
// Thread: its worker's, but for what says otherwise.
// Bounds: per session max_pending_sends and max_pending_queries (then its connection is not read), the transport's write queue,
// and the mailbox; the rest is one entry a session.
//
// The paths that cross, and who wins:
//  - A device connects again: the newer session is registered first, asks each older one to leave (Departures) and waits.
//  - A session ends in any way (cut, kick, logout): what still runs for it (coroutines, appends) finds its handle stale and drops its
//  answer.
//  - The store begins a new epoch: at the end of its turn each host sees it and closes the sessions of the old one, in slices. Each session
//    keeps the epoch that it began in, so what it still says of positions is of that one; a connect that is under way compares when it
//    ends.
class SessionHost final : public ConnectionHandler, public TurnHook, public DeliveryReceiver {
 public:
  SessionHost(Worker& worker, ConnectionSet& connections, SessionServices& services, DeliveryMailbox& mailbox,
              std::shared_ptr<const SessionOptions> options);
  ~SessionHost() override;
  SessionHost(const SessionHost&) = delete;
  SessionHost& operator=(const SessionHost&) = delete;

  // -- any thread
  void set_options(std::shared_ptr<const SessionOptions> options);
  void set_faults(SessionFaults faults);
  // Tells all clients to come back later and closes them, at most `per_second` in a second.
  void drain(std::uint32_t per_second, Milliseconds reconnect_delay);
  // Writes the cursors that wait to be written.
  void save_soon();
  // Rises whenever a probe came through the mailbox: how a health check proves that the way is open.
  std::uint64_t probes_answered() const { return probes_answered_.load(std::memory_order_relaxed); }
  std::size_t unanswered_sends() const { return sends_.unanswered(); }
  MonotonicTime store_answered() const { return sends_.store_answered(); }
  // Runs it on the worker, at once when this is it. Dropped when the worker refuses: then nothing of ours is alive any more.
  template <class F>
  void on_worker(F&& run) {
    if (Worker::current() == &worker_) return run();
    if (!worker_.post(std::forward<F>(run))) return;
  }

  // -- transport (ConnectionHandler)
  void on_open(Connection& connection) override;
  void on_message(Connection& connection, const ReceivedMessage& message) override;
  void on_control(Connection& connection) override;
  void on_drained(Connection& connection) override;
  void on_failing(Connection& connection, const CloseInfo& info) override;
  void on_refused(Connection& connection, std::string_view first) override;
  void on_timer(Connection& connection) override;
  bool on_half_closed(Connection& connection) override;
  void on_close(Connection& connection, const CloseInfo& info) override;

  // -- the worker (TurnHook) and the dispatcher (DeliveryReceiver)
  void end_of_turn() override;
  void receive(DeliveryBatch& batch) override;
  void hints_were_lost() override;

  // -- for handlers and the host's parts
  Session* find(ConnectionHandle handle) {
    Connection* connection = connections_.find(handle);
    return connection != nullptr ? static_cast<Session*>(connection->user()) : nullptr;
  }
  Worker& worker() { return worker_; }
  ConnectionSet& connections() { return connections_; }
  const SessionOptions& options() const { return *options_; }
  const SessionServices& services() const { return services_; }
  MonotonicTime now() const { return worker_.now(); }
  WallTime wall() const { return worker_.wall(); }
  PacketWriter& writer() { return writer_; }
  DeliveryContext& delivery_context() { return delivery_context_; }
  Receipts& receipts() { return receipts_; }
  ConversationList& conversation_list() { return conversation_list_; }
  TimelineAccess& timelines() { return timelines_; }
  Sends& sends() { return sends_; }
  Pushes& pushes() { return pushes_; }
  CursorFlush& cursor_flush() { return cursor_flush_; }
  Departures& departures() { return departures_; }
  Claims& claims() { return claims_; }

  // A coroutine of the session begins or ends.
  void query_began(Session& session);
  void query_ended(Session& session);
  void pause(Session& session);
  void pause_if_full(Session& session);
  void resume(Session& session);  // if nothing else holds it
  Result<auth::Identity> authenticate(std::string_view token, auth::VerifyOptions options);
  // A login has begun (by), or it has ended, whichever way (-by).
  void count_login(int by) { logins_ += by; }
  int logins() const { return logins_; }
  // From connect on: counted, timed, delivered to.
  void became_ready(Session& session, const DeviceCursor& cursor, std::vector<ConversationId> first, std::optional<NewsPage> news);
  void heartbeat(Session& session);
  void arm_timer(Session& session);
  // The last words of the server: a kick packet, then the close.
  void kick(Session& session, ErrorCode code);
  // Forgets what the session has been delivered, so that its end keeps no cursor.
  void forget_delivery(Session& session);

 private:
  void learn_encoding(Session& session, const ReceivedMessage& message);
  void dispatch(Session& session, wire::Request& request);
  void dispatch_all(Session& session, wire::Decoder& decoder);
  void dispatch_held(Session& session);
  template <class Command>
  void call_handler(Session& session, std::optional<wire::RequestId> id, const Command& command);
  void check_deadlines(Session& session);
  bool should_pause(const Session& session) const;
  void count(const Session& session, std::int64_t by);
  void note_end(const CloseInfo& info);
  void finish_half_closed(Session& session);
  void end_epoch();
  void compare(Session& session);
  void look_at_clock(Session& session);

  Worker& worker_;
  ConnectionSet& connections_;
  SessionServices& services_;
  DeliveryMailbox& mailbox_;
  std::shared_ptr<const SessionOptions> options_;

  // worker only
  PacketWriter writer_;
  std::unique_ptr<wire::Decoder> decoders_[2];  // by Encoding
  DeliveryContext delivery_context_;
  Receipts receipts_;
  ConversationList conversation_list_;
  TimelineAccess timelines_;
  Sends sends_;
  Pushes pushes_;
  CursorFlush cursor_flush_;
  Departures departures_;
  Drain drain_;
  Claims claims_;
  SessionSweep after_lost_hints_;  // each compares its position
  SessionSweep after_clock_step_;  // what the wall clock says of each is looked at again
  SessionSweep of_ended_epoch_;    // each is closed
  ClockWatch clock_watch_;
  Epoch epoch_;  // the store's, as far as the sessions here were told
  std::unique_ptr<Every> flush_timer_;
  std::unique_ptr<Every> receipt_timer_;
  int logins_ = 0;  // under way

  // any thread
  std::atomic<std::uint64_t> probes_answered_{0};
};

}  // namespace dunlin
