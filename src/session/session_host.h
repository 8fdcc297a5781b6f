#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "messaging/conversation/conversation_list.h"
#include "messaging/conversation/timeline_access.h"
#include "messaging/delivery/cursor_keeper.h"
#include "messaging/delivery/receipts.h"
#include "messaging/delivery/send_orders.h"
#include "net/connection_set.h"
#include "runtime/completion.h"
#include "runtime/timer_wheel.h"
#include "runtime/worker.h"
#include "session/delivery_mailbox.h"
#include "session/every.h"
#include "session/packet_writer.h"
#include "session/pending_sends.h"
#include "session/session.h"
#include "session/session_options.h"
#include "session/session_services.h"
#include "wire/decoder.h"

namespace dunlin {

// A client says that it has this seq, or has read it.
struct ClaimedPosition {
  ConversationAccess access;
  MessageSeq seq;
};

// How the session that made room for a newer one of its device has ended.
struct Departure {
  std::optional<DeviceCursor> cursor;  // what its device had acked; nothing when it never got that far
};

// What a test may break while the server runs.
struct SessionFaults {
  bool drop_pushes = false;  // messages count as pushed but are not written
};

// All sessions of one worker: gets packets from the transport, checks who may call what, runs the handlers, and brings the
// dispatcher's batches to the connections.
//
// Owner: the composition root; made before its worker starts, destroyed after it has stopped and all its connections are gone.
// Thread: its worker's, but for evict(), set_options() and drain(), which post to it, and the atomics at the end.
// Bounds: per session max_pending_sends and max_pending_queries (then its connection is not read), the transport's write queue,
// and the mailbox; the rest is one entry a session.
//
// The paths that cross, and who wins:
//  - A device connects again: the newer session is registered first, asks each older one to leave (evict) and waits. The older one stops
//    reading, waits until its last send is settled, is closed with Replaced, and its end hands its cursor over.
//  - A session ends in any way (cut, kick, logout): on_close is the one place that keeps its cursor; once its sends have settled, it is out
//  of
//    the registry and those who wait for it are told. What still runs for it (coroutines, appends) finds its handle stale and drops its
//    answer.
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
  // Makes the session leave with this code, if it is still there; completes when it has.
  void evict(ConnectionHandle handle, ErrorCode code, Completer<Departure> left);
  // Nothing of what any worker keeps of the device, which has no session, is written any more when it ends well. In the user's turn.
  static Task<Status> forget_unsaved(const SessionServices& services, MonotonicTime deadline, UserId user, DeviceId device);
  // Tells all clients to come back later and closes them, at most `per_second` in a second.
  void drain(std::uint32_t per_second, Milliseconds reconnect_delay);
  // Writes the cursors that wait to be written.
  void save_soon();
  // Rises whenever a probe came through the mailbox: how a health check proves that the way is open.
  std::uint64_t probes_answered() const { return probes_answered_.load(std::memory_order_relaxed); }
  std::size_t unanswered_sends() const { return unanswered_sends_.load(std::memory_order_acquire); }
  // When the store last answered a send, or began to have none to answer.
  MonotonicTime store_answered() const { return MonotonicTime(MonotonicTime::duration(store_answered_.load(std::memory_order_relaxed))); }

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

  // -- for sessions and handlers
  Session* find(ConnectionHandle handle);
  const SessionOptions& options() const { return *options_; }
  const SessionServices& services() const { return services_; }
  PacketWriter& writer() { return writer_; }
  CursorKeeper& cursors() { return cursors_; }
  Receipts& receipts() { return receipts_; }
  SendOrders& send_orders() { return send_orders_; }
  DeliveryContext& delivery_context() { return delivery_context_; }
  ConversationList& conversation_list() { return conversation_list_; }
  TimelineAccess& timelines() { return timelines_; }
  MonotonicTime now() const { return worker_.now(); }
  WallTime wall() const { return worker_.wall(); }

  // Sends the append with the others of this turn; the outcome answers `request`.
  void append(Session& session, AppendRequest request, std::optional<wire::RequestId> id);
  void flush_batch();  // now, not at the end of the turn
  // A coroutine of the session begins or ends.
  void query_began(Session& session);
  void query_ended(Session& session);
  void pause(Session& session);
  void resume(Session& session);  // if nothing else holds it
  Result<auth::Identity> authenticate(std::string_view token, auth::VerifyOptions options);
  // The delay and a random part of it: nobody comes back before it, and not all at once.
  static Milliseconds jittered(Milliseconds delay);
  // A login has begun (by), or it has ended, whichever way (-by).
  void count_login(int by) { logins_ += by; }
  int logins() const { return logins_; }
  // From connect on: counted, timed, delivered to.
  void became_ready(Session& session, const DeviceCursor& cursor, std::vector<ConversationId> first, std::optional<NewsPage> news);
  void note_changed(Session& session);  // its cursor may have moved
  void note_acked(Session& session);    // so that more is behind it
  void heartbeat(Session& session);
  void arm_timer(Session& session);
  // The last words of the server: a kick packet, then the close.
  void kick(Session& session, ErrorCode code);
  // Everything the session has in the store settles, then it is kicked.
  void leave(Session& session, ErrorCode code);
  // Forgets what the session has been delivered, so that its end keeps no cursor.
  void forget_delivery(Session& session);

  // Positions that need not be there (session/session_host_claims.cc). Looks up what was claimed and was not pushed; with one beyond the
  // head of its conversation the device is reset, and nobody else. The session is not read meanwhile.
  void judge(Session& session, std::vector<ClaimedPosition> claimed);
  static Task<bool> beyond_head(Timelines& timelines, ClaimedPosition claimed);
  // What the device has is not of this store: its next connect is told `reset`. The session is closed, if it is still there.
  void reset_device(ConnectionHandle handle, const UserId& user, const DeviceId& device);

  // sync_tokens (session/sync_tokens.cc): what the device has acked by now, and up to where its conversation list is known (nothing: the
  // same).
  std::string mint_sync_token(Session& session, std::optional<InboxPosition> listed);
  std::string mint_sync_token(const Session& session, const DeviceCursor& cursor);
  std::optional<SyncToken> parse_sync_token(const Session& session, std::string_view text) const;  // of this user and device

  DeliverySink::Pushed push_message(Session& session, const MessagePtr& message);
  DeliverySink::Pushed push_gap(Session& session, const ConversationId& conversation, const SeqGap& gap);

 private:
  void learn_encoding(Session& session, const ReceivedMessage& message);
  void dispatch(Session& session, wire::Request& request);
  void dispatch_all(Session& session, wire::Decoder& decoder);
  void dispatch_held(Session& session);
  template <class Command>
  void call_handler(Session& session, std::optional<wire::RequestId> id, const Command& command);
  void check_deadlines(Session& session);
  void watch_clock();
  void judge_some();
  void count(const Session& session, std::int64_t by);
  std::string mint(const Session& session, Epoch epoch, std::optional<InboxPosition> acked, InboxPosition listed) const;
  void evict_here(ConnectionHandle handle, ErrorCode code, Completer<Departure> left);
  static Task<void> forget_kept(SessionHost& host, UserId user, DeviceId device, Completer<std::monostate> done);
  void drain_here(std::uint32_t per_second, Milliseconds reconnect_delay);
  void say_farewell(Session& session);
  void finish_half_closed(Session& session);
  void keep_cursor(Session& session);
  DeviceCursor cursor_of(Session& session);
  static Task<void> judge_claims(SessionHost& host, ConnectionHandle handle, UserId user, DeviceId device);
  void end_epoch();
  void close_ended();
  void detach(Session& session);
  void answer(AppendOutcome& outcome);
  void push_signal(const SignalPush& push);
  void save_cursors();
  void note_cursors();
  void note_some_cursors();
  // Runs out once after the first ack, so that an idle worker sleeps.
  struct NoteTimer final : Timer {
    explicit NoteTimer(SessionHost& owner) : host(owner) {}
    void on_timer() override { host.note_cursors(); }
    SessionHost& host;
  };
  void compare_all();
  void compare_some();
  void drain_some();
  void note_end(const CloseInfo& info);
  bool should_pause(const Session& session) const;
  static Task<void> finish_leaving(SessionHost& host, ConnectionHandle handle, SessionKey key, ErrorCode code);
  static Task<void> settle_sends(SessionHost& host, ConnectionHandle handle, SessionKey key, UserId user,
                                 std::optional<DeviceCursor> cursor);
  void tell_departed(ConnectionHandle handle, std::optional<DeviceCursor> cursor);
  Task<void> save_now();
  // Runs it on the worker, at once when this is it. Dropped when the worker refuses: then nothing of ours is alive any more.
  template <class F>
  void on_worker(F&& run) {
    if (Worker::current() == &worker_) return run();
    if (!worker_.post(std::forward<F>(run))) return;
  }

  Worker& worker_;
  ConnectionSet& connections_;
  SessionServices& services_;
  DeliveryMailbox& mailbox_;
  std::shared_ptr<const SessionOptions> options_;
  SessionFaults faults_;

  // worker only
  PacketWriter writer_;
  std::unique_ptr<wire::Decoder> decoders_[2];  // by Encoding
  DeliveryContext delivery_context_;
  CursorKeeper cursors_;
  Receipts receipts_;
  SendOrders send_orders_;  // of sessions whose sends a limit refused
  ConversationList conversation_list_;
  TimelineAccess timelines_;
  PendingSends pending_;
  std::vector<AppendRequest> batch_;  // of this turn
  struct Detached {
    UserId user;
    DeviceId device;
    std::uint64_t number;
  };
  std::vector<Detached> detached_;                // sessions that ended; their cursors wait to be written
  std::vector<ConnectionHandle> changed_;         // sessions whose cursor may have moved
  std::vector<ConnectionHandle> changed_before_;  // scratch
  std::vector<ConnectionHandle> acked_;           // sessions whose cursor is worth a note to the store
  std::vector<ConnectionHandle> to_note_;         // those of the last time that are still to be noted
  std::vector<ConnectionHandle> to_compare_;      // hints were lost: still to be compared
  std::vector<ConnectionHandle> to_drain_;
  std::vector<ConnectionHandle> to_judge_;                                     // the clock was set: what it says of them is to be looked at
  Milliseconds clock_offset_;                                                  // wall clock less monotonic clock, when last looked
  std::vector<ConnectionHandle> to_reset_;                                     // sessions of an epoch that is over, still to be closed
  std::unordered_map<ConnectionHandle, std::vector<ClaimedPosition>> claims_;  // of sessions that are `judging`; a frame's worth each
  Epoch epoch_;                                                                // the store's, as far as the sessions here were told
  // Sessions that end: who waits for it, perhaps nobody. Those whose on_close was called stand here until their sends have settled.
  std::unordered_map<ConnectionHandle, std::vector<Completer<Departure>>> waiting_for_end_;
  NoteTimer note_timer_{*this};
  std::unique_ptr<Every> save_timer_;
  std::unique_ptr<Every> receipt_timer_;
  std::unique_ptr<Every> drain_timer_;
  int logins_ = 0;  // under way
  std::uint32_t drain_per_tick_ = 0;
  Milliseconds reconnect_delay_{0};
  bool draining_ = false;
  bool saving_ = false;
  bool save_at_end_of_turn_ = false;

  // any thread
  std::atomic<std::uint64_t> probes_answered_{0};
  std::atomic<std::size_t> unanswered_sends_{0};
  std::atomic<MonotonicTime::rep> store_answered_{0};
};

}  // namespace dunlin
