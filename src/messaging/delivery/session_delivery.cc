#include "messaging/delivery/session_delivery.h"

#include <algorithm>

#include "messaging/delivery/session_ticket.h"
#include "runtime/spawn.h"

namespace dunlin {
namespace {

constexpr std::uint8_t kMaxPauseDoublings = 6;
constexpr std::uint32_t kSaveAtLeastEveryMs = 24 * 3600 * 1000;  // so that a device that idles online is not forgotten
constexpr std::uint32_t kRetryAfterMs = 1000;                    // hints try a scan again that the store has failed, this often at most

std::uint32_t to_ms32(Milliseconds time) {
  return static_cast<std::uint32_t>(time.count());
}

}  // namespace

static_assert(sizeof(SessionDelivery) <= 88, "one of these lives with every connection");

SessionDelivery::SessionDelivery(DeliveryContext& context, DeliverySink& sink) : context_(context), sink_(sink) {}

SessionDelivery::~SessionDelivery() {
  if (ticket_ != nullptr) ticket_->delivery = nullptr;
  if (has_early_) context_.early->take(*this);
  if (lagging_) context_.metrics.lagging_sessions.sub(1);
}

void SessionDelivery::start(const DeviceCursor& cursor, std::vector<ConversationId> first, std::optional<NewsPage> news) {
  CHECK(phase_ == Phase::New);
  phase_ = Phase::Scanning;
  saved_ms_ = context_.now_ms();
  handled_ = cursor.position;
  for (const auto& [conversation, seq] : cursor.exceptions) {
    Flight& flight = create_flight(conversation.view(), seq);
    flight.reached = InboxPosition(0);  // not known: the acked message may lie anywhere
    flight.ahead = true;
    exceptions_pending_ = true;
  }
  begin_scan(std::move(first), std::move(news));
}

// -- hints

void SessionDelivery::on_hint(const Hint& hint) {
  // Its sender was told that nobody knows whether it is stored, and so the store names none. What is pushed again goes by the id, too.
  if (!hint.own && hint.message && sent_by_this_session(*hint.message)) {
    Hint own = hint;
    own.own = true;
    return on_hint(own);
  }
  if (phase_ != Phase::Live) {
    if (hint.own) remember_own(hint.message->conversation(), hint.message->seq());
    // The scan comes to it; it may have read the store before this record was there, so it must not end below it.
    if (hint.has_range) target_ = std::max(target_, hint.at);
    const bool idle = phase_ == Phase::Scanning && ticket_ == nullptr && block_ == Block::None;
    if (idle && context_.now_ms() - stuck_since_ms_ >= kRetryAfterMs) begin_scan();
    return;
  }
  if (hint.at <= handled_) return;  // a scan was faster
  if (!hint.has_range || !continues(hint)) return wait_or_scan(hint);
  if (deliver_hint(hint) && has_early_) deliver_early();
}

// All of its range that was not pushed is here, and nothing of the user's lies between it and what is handled.
bool SessionDelivery::continues(const Hint& hint) {
  if (!hint.message || hint.previous > handled_) return false;
  const Flight* flight = find(hint.message->conversation());
  const MessageSeq next = flight != nullptr ? flight->pushed.next() : hint.first_seq;
  if (hint.first_seq > next) return false;
  bool own = false;
  for (MessageSeq seq = next; seq < hint.message->seq(); seq = seq.next()) {
    if (!early_record(hint.message->conversation(), seq, own)) return false;
  }
  return true;
}

// It continues where the session stands. False: what is behind it cannot be delivered now.
bool SessionDelivery::deliver_hint(const Hint& hint) {
  const std::string_view conversation = hint.message->conversation();
  Flight* flight = find(conversation);
  MessageSeq seq = flight != nullptr ? flight->pushed.next() : hint.first_seq;
  for (; seq <= hint.message->seq(); seq = seq.next()) {
    const bool last = seq == hint.message->seq();
    bool own = hint.own;
    const MessagePtr record = last ? hint.message : early_record(conversation, seq, own);
    Block why = Block::None;
    if (!own && find(conversation) == nullptr && !has_room_for(1)) {
      why = Block::Acks;
    } else if (!push(record, seq.prev(), own, last ? std::optional(hint.at) : std::nullopt)) {
      why = Block::Queue;
    }
    if (why == Block::None) continue;
    // What was pushed of it lies beyond what is handled.
    flight = find(conversation);
    if (flight != nullptr && seq > hint.first_seq) {
      flight->ahead = true;
      flight->within = std::max(flight->within, hint.at);
    }
    block(why);
    target_ = std::max(target_, hint.at);
    give_up_early();
    return false;
  }
  handled_ = hint.at;
  changed_ = true;
  return true;
}

void SessionDelivery::scan_for(InboxPosition target) {
  target_ = std::max(target_, target);
  phase_ = Phase::Scanning;
  give_up_early();
  begin_scan();
}

// -- hints that came early

MessagePtr SessionDelivery::early_record(std::string_view conversation, MessageSeq seq, bool& own) {
  if (!has_early_) return {};
  for (const auto& [hint, came_ms] : *context_.early->of(*this)) {
    if (hint.message && hint.message->seq() == seq && hint.message->conversation() == conversation) {
      own = hint.own;
      return hint.message;
    }
  }
  return {};
}

// Where records have several sources, what is missing mostly is on its way. Else, and without room, it was lost.
void SessionDelivery::wait_or_scan(const Hint& hint) {
  if (!hint.has_range) {
    const Flight* flight = find(hint.message->conversation());
    if (flight != nullptr && hint.message->seq() <= flight->pushed) return;
  }
  if (context_.early != nullptr && hint.message && context_.early->add(*this, hint, context_.now_ms())) {
    has_early_ = true;
    if (!hint.has_range) deliver_early();
    return;
  }
  if (hint.own) remember_own(hint.message->conversation(), hint.message->seq());
  if (hint.has_range) scan_for(hint.at);
}

// Whatever of it has become the next. What a scan or another hint has passed goes.
void SessionDelivery::deliver_early() {
  while (has_early_ && phase_ == Phase::Live) {
    std::vector<EarlyHints::Early>& waiting = *context_.early->of(*this);
    std::erase_if(waiting, [&](const EarlyHints::Early& early) {
      if (early.hint.at <= handled_) return true;
      if (early.hint.has_range) return false;
      const Flight* flight = find(early.hint.message->conversation());
      return flight != nullptr && early.hint.message->seq() <= flight->pushed;
    });
    const auto next =
        std::ranges::find_if(waiting, [&](const EarlyHints::Early& early) { return early.hint.has_range && continues(early.hint); });
    const std::optional<Hint> found = next == waiting.end() ? std::nullopt : std::optional(next->hint);
    has_early_ = !waiting.empty();
    context_.early->settle(*this);
    if (!found || !deliver_hint(*found)) return;
  }
}

// It is going to be read. A record without a range needs no care: its range is told by somebody.
void SessionDelivery::give_up_early() {
  if (!has_early_) return;
  has_early_ = false;
  for (const auto& [hint, came_ms] : context_.early->take(*this)) {
    if (hint.own) remember_own(hint.message->conversation(), hint.message->seq());
    if (hint.has_range) target_ = std::max(target_, hint.at);
  }
}

void SessionDelivery::on_overdue() {
  if (!has_early_) return;
  give_up_early();
  if (phase_ == Phase::Live && target_ > handled_) scan_for(target_);
}

void SessionDelivery::block(Block why) {
  phase_ = Phase::Scanning;
  block_ = why;
  stuck_since_ms_ = context_.now_ms();
  (why == Block::Queue ? context_.metrics.delivery_waits_queue : context_.metrics.delivery_waits_acks).add();
  if (lagging_) return;
  lagging_ = true;
  context_.metrics.lagging_sessions.add(1);
  sink_.blocked();
}

bool SessionDelivery::too_slow() const {
  return block_ == Block::Queue && context_.now_ms() - stuck_since_ms_ >= to_ms32(context_.options.slow_consumer_after);
}

void SessionDelivery::on_drained() {
  stuck_since_ms_ = context_.now_ms();
  if (block_ != Block::Queue) return;
  block_ = Block::None;
  begin_scan();
}

// -- acks

SessionDelivery::AckEffect SessionDelivery::on_ack(std::string_view conversation, MessageSeq seq) {
  Flight* flight = find(conversation);
  if (flight == nullptr) return {};
  const MessageSeq acked = std::min(seq, flight->pushed);
  if (acked <= flight->acked) return {};
  flight->acked = acked >= flight->sent ? flight->pushed : acked;
  flight->oldest_push_ms = context_.now_ms();
  if (flight->acked >= flight->mark_seq) {
    flight->floor = flight->mark_position;
    flight->mark_seq = flight->pushed;
    flight->mark_position = flight->reached;
  }
  pause_doublings_ = 0;
  changed_ = true;
  if (own_) own_->drop_through(conversation, flight->acked);
  if (flight->done()) forget_flight(*flight);
  // Not for one at a time: each time a page is read anew.
  if (block_ == Block::Acks && has_room_for(context_.options.resume_room())) {
    block_ = Block::None;
    begin_scan();
  }
  return {true, acked};
}

bool SessionDelivery::has_room_for(std::size_t more) const {
  const std::size_t most = context_.options.max_flights;
  return !flights_ || flights_->size() + more <= most || flights_->unacked() + more <= most;
}

void SessionDelivery::forget_flight(Flight& flight) {
  flights_->erase(flight);
  release_flights();
}

// While nothing of the conversation is in flight its hint is enough.
void SessionDelivery::on_sent(std::string_view conversation, MessageSeq seq) {
  if (phase_ != Phase::Live || find(conversation) != nullptr) remember_own(conversation, seq);
}

void SessionDelivery::remember_own(std::string_view conversation, MessageSeq seq) {
  // The store may show it before its answer comes: pushed then, it waits for an ack like any other.
  if (const Flight* flight = find(conversation); flight != nullptr && seq <= flight->sent) return;
  if (!own_) own_ = std::make_unique<OwnMessages>(context_.options.own_message_bytes);
  if (!own_->add(conversation, seq)) context_.metrics.own_messages_dropped.add();
  if (own_->empty()) own_.reset();
}

void SessionDelivery::release_flights() {
  if (flights_ && flights_->empty()) flights_.reset();
}

// -- repair

void SessionDelivery::on_heartbeat() {
  if (phase_ == Phase::New) return;
  // First: where memory cannot say that nothing is new, each heartbeat reads, and there would be no turn for it.
  push_due_again();
  if (phase_ == Phase::Live) {
    compare();
  } else if (block_ == Block::None || (block_ == Block::Acks && has_room_for(1))) {
    block_ = Block::None;
    begin_scan();
  }
}

void SessionDelivery::compare() {
  if (phase_ == Phase::Live && !raise_if_quiet()) scan_for(handled_);
}

// With nothing of the user's above it, handled keeps up with the store. False: there is something, or memory cannot tell.
bool SessionDelivery::raise_if_quiet() {
  const auto quiet = context_.inboxes.quiet_through(sink_.user().view(), handled_);
  if (!quiet) return false;
  if (*quiet <= handled_) return true;
  handled_ = *quiet;
  if (context_.now_ms() - saved_ms_ >= kSaveAtLeastEveryMs) changed_ = true;
  return true;
}

void SessionDelivery::push_due_again() {
  if (!flights_ || ticket_ != nullptr || block_ == Block::Queue) return;
  const std::uint32_t now = context_.now_ms();
  const std::uint32_t pause = to_ms32(context_.options.retransmit_after) << pause_doublings_;
  if (pause_doublings_ > 0 && now - pushed_again_ms_ < pause) return;
  bool due = false;
  flights_->for_each([&](const Flight& flight) { due = due || (flight.acked < flight.sent && now - flight.oldest_push_ms >= pause); });
  if (!due) return;
  pushed_again_ms_ = now;
  pause_doublings_ = std::min<std::uint8_t>(pause_doublings_ + 1, kMaxPauseDoublings);
  spawn(push_again(this));
}

// -- where the device is

DeviceCursor SessionDelivery::cursor() {
  if (phase_ == Phase::Live) raise_if_quiet();
  DeviceCursor out = noted_cursor();
  changed_ = false;
  saved_ms_ = context_.now_ms();
  return out;
}

DeviceCursor SessionDelivery::noted_cursor() {
  DeviceCursor out;
  out.epoch = context_.timelines.epoch();
  out.position = handled_;
  out.last_seen = context_.clock.wall();
  if (!flights_) return out;
  flights_->for_each([&](const Flight& flight) {
    if (!flight.done()) out.exceptions.emplace(flight.conversation, flight.acked);
  });
  return out;
}

std::optional<InboxPosition> SessionDelivery::token_position() {
  if (phase_ == Phase::New || exceptions_pending_) return std::nullopt;
  if (phase_ == Phase::Live) raise_if_quiet();
  InboxPosition position = handled_;
  if (flights_) {
    flights_->for_each([&](const Flight& flight) {
      if (!flight.done()) position = std::min(position, flight.acked == flight.pushed ? flight.reached : flight.floor);
    });
  }
  if (position.value() == 0) return std::nullopt;  // true of every device, and worth nothing
  return position;
}

// -- pushing

Flight& SessionDelivery::create_flight(std::string_view conversation, MessageSeq acked) {
  if (!flights_) flights_ = std::make_unique<FlightTable>();
  Flight& flight = flights_->create(conversation);
  flight.acked = flight.sent = flight.pushed = acked;
  flight.reached = flight.within = handled_;
  return flight;
}

// Pushes the message that follows what was pushed of its conversation. `at`: where it stands, as far as that is known. False: the write
// queue is at its bound.
bool SessionDelivery::push(const MessagePtr& message, MessageSeq acked, bool own, std::optional<InboxPosition> at) {
  Flight* flight = find(message->conversation());
  if (own) {
    if (flight != nullptr) {
      if (flight->acked < flight->sent) remember_own(message->conversation(), message->seq());
      advance(*flight, message->seq(), at, false);
    } else if (own_) {
      own_->drop_through(message->conversation(), message->seq());
    }
    return true;
  }
  if (sink_.push_message(message) == DeliverySink::Pushed::AtBound) return false;
  if (flight == nullptr) flight = &create_flight(message->conversation(), acked);
  advance(*flight, message->seq(), at, true);
  return true;
}

bool SessionDelivery::push(const ConversationId& conversation, const SeqGap& gap, MessageSeq acked) {
  if (sink_.push_gap(conversation, gap) == DeliverySink::Pushed::AtBound) return false;
  context_.metrics.gaps_total.add();
  Flight* flight = find(conversation.view());
  if (flight == nullptr) flight = &create_flight(conversation.view(), acked);
  advance(*flight, gap.to, std::nullopt, true);
  return true;
}

// Where `to` stands is not known for a gap, nor for what a scan pushes before it has all of the conversation's.
void SessionDelivery::advance(Flight& flight, MessageSeq to, std::optional<InboxPosition> at, bool sent) {
  if (sent && flight.acked == flight.pushed) {
    flight.oldest_push_ms = context_.now_ms();
    flight.floor = at ? at->prev() : flight.reached;
    flight.mark_seq = to;
    flight.mark_position = at.value_or(flight.reached);
  } else if (at && flight.mark_seq == flight.pushed) {
    // What had no position of its own ends below the one behind it.
    flight.mark_position = std::max(flight.mark_position, at->prev());
  }
  flight.pushed = to;
  if (at) {
    flight.reached = *at;
    flight.within = std::max(flight.within, *at);
  }
  if (sent) flight.sent = to;
  if (flight.acked >= flight.sent) flight.acked = flight.pushed;
  if (flight.done()) forget_flight(flight);
}

bool SessionDelivery::sent_by_this_session(const Message& message) const {
  if (message.sender() != sink_.user().view()) return false;
  if (own_ && own_->contains(message.conversation(), message.seq())) return true;
  const auto id = NumberedMsgId::parse(message.client_msg_id());
  return id && id->session == sink_.key();
}

}  // namespace dunlin
