#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "messaging/delivery/delivery_batch.h"
#include "messaging/delivery/early_hints.h"
#include "messaging/delivery/flights.h"
#include "messaging/delivery/own_messages.h"
#include "messaging/model/session_key.h"
#include "messaging/ports/device_states.h"
#include "messaging/ports/inboxes.h"
#include "messaging/ports/timelines.h"
#include "metrics/server_metrics.h"

namespace dunlin {

struct DeliveryOptions {
  Milliseconds retransmit_after{5'000};      // first pause; it doubles until an ack comes
  Milliseconds slow_consumer_after{60'000};  // at the bound this long without progress: the session layer closes
  std::size_t max_flights = 512;             // conversations with unacked pushes: about 64 KiB
  std::size_t inbox_page = 64;
  std::size_t page_messages = 100;
  std::size_t page_bytes = 64 * 1024;
  std::size_t own_message_bytes = 32 * 1024;  // which own messages are not to come back: some 2,000 that alternate with others

  // At the bound of max_flights it goes on when so many are free.
  std::size_t resume_room() const { return std::max<std::size_t>(max_flights / 8, 1); }
};

// What all deliveries of one worker share. Outlives them.
struct DeliveryContext {
  Timelines& timelines;
  Inboxes& inboxes;
  const Clock& clock;
  ServerMetrics& metrics;
  DeliveryOptions options;
  EarlyHints* early = nullptr;  // null: hints come in order, and what is missing was lost

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
// Invariants:
//  1. A scan reads page by page from `handled` on; handled moves only when all of a page is pushed. Whatever stops a scan (the queue, the
//     flights, a failure), the next one begins at handled again, and nowhere else: the store may have coalesced anew meanwhile.
//  2. What was pushed beyond handled has a flight until handled has passed it, also when all of it is acked ("ahead"): so beginning again
//     pushes nothing twice.
//  3. At most options.max_flights conversations have unacked pushes. At the bound nothing of another one is pushed until acks have made
//     room for resume_room() of them, or a heartbeat finds room for one. Waiting for acks ends no session.
//
// Owner: the session, on one worker; single-threaded. A scan is a coroutine that finds the delivery gone by a ticket; there is at most one.
// Size: at most 88 bytes while idle, nothing allocated. Flights exist only while something is in flight: max_flights, and of those that are
// ahead a page and what `first` names.
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
  static NewsQuery first_page(const DeliveryOptions& options, UserId user, InboxPosition position);

  void on_hint(const Hint& hint);
  // What has come early has waited for too long (EarlyHints::overdue).
  void on_overdue();

  struct AckEffect {
    bool raised = false;   // the device has newly acked something
    MessageSeq delivered;  // what it has acked now; meaningful when raised
  };
  // Cumulative; counts up to what was pushed. Unknown conversations and old seqs have no effect.
  AckEffect on_ack(std::string_view conversation, MessageSeq seq);

  // The store has answered a send of this very session. Before the hint of that message, if it comes.
  void on_sent(std::string_view conversation, MessageSeq seq);

  void on_drained();    // the write queue has room again
  void on_heartbeat();  // after the acks that came with it
  void compare();       // the worker may have lost hints

  bool caught_up() const { return phase_ == Phase::Live; }
  bool lagging() const { return lagging_; }
  // True while push_message() brings what has just been told, not what is read from the store.
  bool pushes_hints() const { return phase_ == Phase::Live && ticket_ == nullptr; }
  // True: its queue is at the bound for longer than slow_consumer_after without a byte of progress. Close it with SlowConsumer.
  bool too_slow() const;

  // What a save of the cursor says now. Clears changed().
  DeviceCursor cursor();
  // For a note between two saves: true as well, but not raised to what concerned others alone.
  DeviceCursor noted_cursor();
  void save_soon() { changed_ = true; }
  bool changed() const { return changed_; }  // also once a day while idle, to keep last_seen fresh

  // Everything at or below it is acked by this device: what a sync_token may say. Nothing while nothing is known.
  std::optional<InboxPosition> token_position();

 private:
  enum class Phase : std::uint8_t { New, Scanning, Live };
  enum class Block : std::uint8_t { None, Queue, Acks };  // what a scan waits for
  enum class Step : std::uint8_t { Done, Stop };          // Stop: the delivery is gone, blocked, or the store failed
  // On a coroutine's frame: tells it whether the delivery still lives, and the delivery that it runs.
  struct Ticket;
  // How far the search for conversations that no entry names has got: what `through` covers may be trimmed or damaged.
  struct HeadSearch {
    ConversationId after;
    InboxPosition through;
  };
  // What a scan pushes of one conversation: everything at or below `through`, where that is known. `cuts`: there may be more of it above,
  // which is not for now.
  struct Extent {
    std::optional<InboxPosition> through;
    bool cuts = false;

    InboxPosition within() const { return through.value_or(InboxPosition(UINT64_MAX)); }
  };

  // hints and acks (session_delivery.cc)
  bool continues(const Hint& hint);
  bool deliver_hint(const Hint& hint);
  MessagePtr early_record(std::string_view conversation, MessageSeq seq, bool& own);
  void wait_or_scan(const Hint& hint);
  void deliver_early();
  void give_up_early();
  void scan_for(InboxPosition target);
  bool raise_if_quiet();
  void block(Block why);
  void release_flights();
  void push_due_again();

  // pushing, in order (session_delivery.cc)
  Flight* find(std::string_view conversation) { return flights_ ? flights_->find(conversation) : nullptr; }
  // Of `more` conversations, whether acks leave room for them.
  bool has_room_for(std::size_t more) const;
  Flight& create_flight(std::string_view conversation, MessageSeq acked);
  bool push(const MessagePtr& message, MessageSeq acked, bool own, std::optional<InboxPosition> at);
  bool push(const ConversationId& conversation, const SeqGap& gap, MessageSeq acked);
  void advance(Flight& flight, MessageSeq to, std::optional<InboxPosition> at, bool sent);
  bool sent_by_this_session(const Message& message) const;
  void remember_own(std::string_view conversation, MessageSeq seq);
  void forget_flight(Flight& flight);

  // reading on from the store (session_scan.cc)
  void begin_scan(std::vector<ConversationId> first = {}, std::optional<NewsPage> news = std::nullopt);
  void finish_scan();
  void finish_page(InboxPosition scanned_to);
  void scan_failed(const Error& error);
  bool push_page(const ConversationId& conversation, const RangePage& page, InboxPosition within, MessageSeq& from);
  void finish_fill(const ConversationId& conversation, std::optional<InboxPosition> through);
  static Task<Result<MessageSeq>> seq_at_least(DeliveryContext& context, UserId user, ConversationId conversation, InboxPosition position);
  static Task<void> scan(SessionDelivery* self, std::vector<ConversationId> first, std::optional<NewsPage> news);
  static Task<Step> fill_exceptions(Ticket& ticket);
  static Task<Step> fill_first(Ticket& ticket, ConversationId conversation);
  static Task<Step> fill_unlisted(Ticket& ticket, InboxPosition through);
  static Task<Step> fill_unlisted_conversation(Ticket& ticket, ConversationId conversation);
  static Task<Step> scan_page(Ticket& ticket, std::optional<NewsPage> ahead, bool& more);
  // `read`: what was read of it already, or null; it outlives the call. Nothing above `through` is pushed.
  static Task<Step> fill_entry(Ticket& ticket, InboxEntry entry, InboxPosition through, NewsRange* read);
  static Task<Step> fill(Ticket& ticket, ConversationId conversation, MessageSeq acked, MessageSeq to, Extent extent,
                         NewsRange* read = nullptr);
  static Task<void> push_again(SessionDelivery* self);
  static Task<Step> push_again(Ticket& ticket, ConversationId conversation);

  DeliveryContext& context_;
  DeliverySink& sink_;
  std::unique_ptr<FlightTable> flights_;     // null while nothing is in flight
  std::unique_ptr<HeadSearch> head_search_;  // null but while it goes on
  Ticket* ticket_ = nullptr;                 // of the coroutine that runs now
  std::unique_ptr<OwnMessages> own_;         // null while there are none
  InboxPosition handled_;
  InboxPosition target_;               // the scan is not over before handled_ reaches it
  std::uint32_t stuck_since_ms_ = 0;   // the queue is full, or the store failed
  std::uint32_t pushed_again_ms_ = 0;  // meaningful with pause_doublings_ > 0
  std::uint32_t saved_ms_ = 0;
  Phase phase_ = Phase::New;
  Block block_ = Block::None;
  std::uint8_t pause_doublings_ = 0;
  bool lagging_ : 1 = false;
  bool changed_ : 1 = false;
  bool exceptions_pending_ : 1 = false;
  bool has_early_ : 1 = false;  // in context_.early
};

}  // namespace dunlin
