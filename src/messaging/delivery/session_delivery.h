#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "messaging/delivery/delivery_batch.h"
#include "messaging/delivery/flights.h"
#include "messaging/delivery/session_registry.h"
#include "messaging/model/session_key.h"
#include "messaging/ports/message_store.h"
#include "messaging/ports/state_store.h"
#include "metrics/server_metrics.h"

namespace dunlin {

struct DeliveryOptions {
  Milliseconds retransmit_after{5'000};      // first pause; it doubles until an ack comes
  Milliseconds slow_consumer_after{60'000};  // at the bound this long without progress: the session layer closes
  std::size_t max_flights = 512;             // conversations in flight: about 64 KiB
  std::size_t activity_page = 64;
  std::size_t page_messages = 100;
  std::size_t page_bytes = 64 * 1024;
};

// What all deliveries of one worker share. Outlives them.
struct DeliveryContext {
  MessageStore& store;
  const SessionRegistry& registry;
  const Clock& clock;
  ServerMetrics& metrics;
  DeliveryOptions options;

  // Wraps after 49 days; only differences are used.
  std::uint32_t now_ms() const {
    return static_cast<std::uint32_t>(std::chrono::duration_cast<Milliseconds>(clock.monotonic().time_since_epoch()).count());
  }
};

// Where a session's pushes go: implemented by the session. Calls come on its worker and must not destroy the delivery.
class DeliverySink {
 public:
  enum class Pushed : std::uint8_t { Queued, AtBound };  // AtBound: not taken; on_drained() follows when there is room

  virtual Pushed push_message(const MessagePtr& message) = 0;
  virtual Pushed push_gap(const ConversationId& conversation, const SeqGap& gap) = 0;
  // It has begun to lag: too_slow() wants to be asked from now on.
  virtual void blocked() {}
  virtual const UserId& user() const = 0;
  virtual const SessionKey& key() const = 0;

 protected:
  ~DeliverySink() = default;
};

// Brings everything of its user's from the timelines to one session, in order, from the device's cursor on: the state machine of
// docs/design/delivery.md. It knows no socket and no packet.
//
// `handled` is the one position it stands on: everything of the user's at or below it is acked, or in a flight. A hint that continues
// there is pushed at once; anything else (a lost hint, a full write queue, a resume) makes it read on from the store ("scan") until it has
// caught up. So every trouble has one repair.
//
// Owner: the session, on one worker; single-threaded. A scan is a coroutine that finds the delivery gone by a ticket; there is at most one.
// Size: at most 88 bytes while idle, nothing allocated. Flights exist only while something is in flight, at most options.max_flights; at
// the bound it waits for acks.
class SessionDelivery {
 public:
  SessionDelivery(DeliveryContext& context, DeliverySink& sink);
  ~SessionDelivery();
  SessionDelivery(const SessionDelivery&) = delete;
  SessionDelivery& operator=(const SessionDelivery&) = delete;

  // Delivers from `cursor` on (its epoch is the store's: CursorKeeper::attach sees to that). Once, and only after the session is in the
  // registry; hints that come before only mark that there is something. What is new in the conversations of `first` (those the app shows
  // now) is delivered before everything else. `news`: the answer to first_page(), when somebody had a use for it before.
  void start(const DeviceCursor& cursor, std::vector<ConversationId> first = {}, std::optional<NewsPage> news = std::nullopt);
  // What a delivery that begins at `position` reads first.
  static NewsQuery first_page(const DeliveryOptions& options, UserId user, LogPosition position);

  void on_hint(const Hint& hint);

  struct AckEffect {
    bool raised = false;   // the device has newly acked something
    MessageSeq delivered;  // what it has acked now; meaningful when raised
  };
  // Cumulative; counts up to what was pushed. Unknown conversations and old seqs have no effect.
  AckEffect on_ack(std::string_view conversation, MessageSeq seq);

  void on_drained();    // the write queue has room again
  void on_heartbeat();  // after the acks that came with it
  void compare();       // the worker may have lost hints

  bool caught_up() const { return phase_ == Phase::Live; }
  bool lagging() const { return lagging_; }
  // True while push_message() brings what has just been told, not what is read from the store.
  bool pushes_hints() const { return phase_ == Phase::Live && ticket_ == nullptr; }
  // True: at its bound for longer than slow_consumer_after without a byte or an ack of progress. Close it with SlowConsumer.
  bool too_slow() const;

  // What a save of the cursor says now. Clears changed().
  DeviceCursor cursor();
  bool changed() const { return changed_; }  // also once a day while idle, to keep last_seen fresh

  // Everything at or below it is acked by this device: what a sync_token may say. Nothing while nothing is known.
  std::optional<LogPosition> token_position();

 private:
  enum class Phase : std::uint8_t { New, Scanning, Live };
  enum class Block : std::uint8_t { None, Queue, Acks };  // what a scan waits for
  enum class Step : std::uint8_t { Done, Stop };          // Stop: the delivery is gone, blocked, or the store failed
  // On a coroutine's frame: tells it whether the delivery still lives, and the delivery that it runs.
  struct Ticket;
  // How far the search for trimmed conversations has got.
  struct TrimSearch {
    ConversationId after;
    LogPosition through;
  };

  // hints and acks (session_delivery.cc)
  void deliver_hint(const Hint& hint);
  void scan_for(LogPosition target);
  void raise_to_settled();
  void compare_activity();
  void block(Block why);
  void release_flights();
  void push_due_again();

  // pushing, in order (session_delivery.cc)
  Flight* find(std::string_view conversation) { return flights_ ? flights_->find(conversation) : nullptr; }
  bool may_create_flight() const { return !flights_ || flights_->size() < context_.options.max_flights; }
  Flight& create_flight(std::string_view conversation, MessageSeq acked);
  bool push(const MessagePtr& message, MessageSeq acked, bool own);
  bool push(const ConversationId& conversation, const SeqGap& gap, MessageSeq acked);
  void advance(Flight& flight, MessageSeq to, LogPosition position, bool sent);
  bool sent_by_this_session(const Message& message) const;

  // reading on from the store (session_scan.cc)
  void begin_scan(std::vector<ConversationId> first = {}, std::optional<NewsPage> news = std::nullopt);
  void finish_scan();
  void scan_failed(const Error& error);
  bool push_page(const ConversationId& conversation, const RangePage& page, MessageSeq& from);
  static Task<Result<MessageSeq>> seq_at_least(MessageStore& store, ConversationId conversation, LogPosition position);
  static Task<void> scan(SessionDelivery* self, std::vector<ConversationId> first, std::optional<NewsPage> news);
  static Task<Step> fill_exceptions(Ticket& ticket);
  static Task<Step> fill_first(Ticket& ticket, ConversationId conversation);
  static Task<Step> fill_trimmed(Ticket& ticket);
  static Task<Step> fill_trimmed_conversation(Ticket& ticket, ConversationId conversation);
  static Task<Step> scan_page(Ticket& ticket, std::optional<NewsPage> ahead, bool& more);
  // `read`: what was read of it already, or null; it outlives the call.
  static Task<Step> fill_entry(Ticket& ticket, ActivityEntry entry, NewsRange* read);
  static Task<Step> fill(Ticket& ticket, ConversationId conversation, MessageSeq acked, MessageSeq to, NewsRange* read = nullptr);
  static Task<void> push_again(SessionDelivery* self);
  static Task<Step> push_again(Ticket& ticket, ConversationId conversation);

  DeliveryContext& context_;
  DeliverySink& sink_;
  std::unique_ptr<FlightTable> flights_;     // null while nothing is in flight
  std::unique_ptr<TrimSearch> trim_search_;  // null but while it goes on
  Ticket* ticket_ = nullptr;                 // of the coroutine that runs now
  LogPosition handled_;
  LogPosition cursor_;                 // where the scan reads on, in the order of entries' last positions; >= handled_
  LogPosition target_;                 // the scan is not over before handled_ reaches it
  std::uint32_t stuck_since_ms_ = 0;   // blocked, or the store failed
  std::uint32_t pushed_again_ms_ = 0;  // meaningful with pause_doublings_ > 0
  std::uint32_t saved_ms_ = 0;
  Phase phase_ = Phase::New;
  Block block_ = Block::None;
  std::uint8_t pause_doublings_ = 0;
  bool lagging_ : 1 = false;
  bool changed_ : 1 = false;
  bool exceptions_pending_ : 1 = false;
};

}  // namespace dunlin
