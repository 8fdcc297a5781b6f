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
  if (lagging_) context_.metrics.lagging_sessions.sub(1);
}

void SessionDelivery::start(const DeviceCursor& cursor, std::vector<ConversationId> first, std::optional<NewsPage> news) {
  CHECK(phase_ == Phase::New);
  phase_ = Phase::Scanning;
  saved_ms_ = context_.now_ms();
  handled_ = cursor.position;
  for (const auto& [conversation, seq] : cursor.exceptions) {
    Flight& flight = create_flight(conversation.view(), seq);
    flight.last_position = LogPosition(0);  // not known: the acked message may lie anywhere
    flight.ahead = true;
    exceptions_pending_ = true;
  }
  begin_scan(std::move(first), std::move(news));
}

// -- hints

void SessionDelivery::on_hint(const Hint& hint) {
  const LogPosition position = hint.message->position();
  if (phase_ != Phase::Live) {
    if (hint.own) remember_own(hint.message->conversation(), hint.message->seq());
    // The scan comes to it; it may have read the store before this record was there, so it must not end below it.
    target_ = std::max(target_, position);
    const bool idle = phase_ == Phase::Scanning && ticket_ == nullptr && block_ == Block::None;
    if (idle && context_.now_ms() - stuck_since_ms_ >= kRetryAfterMs) begin_scan();
    return;
  }
  if (position <= handled_) return;  // a scan was faster
  const Flight* flight = find(hint.message->conversation());
  const bool follows = flight == nullptr || flight->pushed.next() == hint.message->seq();
  if (!follows || hint.previous > handled_ || hint.message->place().previous > handled_) {
    if (hint.own) remember_own(hint.message->conversation(), hint.message->seq());
    scan_for(position);  // an earlier hint was lost
    return;
  }
  deliver_hint(hint);
}

void SessionDelivery::deliver_hint(const Hint& hint) {
  const Message& message = *hint.message;
  const bool needs_flight = !hint.own && find(message.conversation()) == nullptr;
  if (needs_flight && !has_room_for(1)) {
    block(Block::Acks);
    target_ = message.position();
    return;
  }
  if (!push(hint.message, message.seq().prev(), hint.own)) {
    block(Block::Queue);
    target_ = message.position();
    return;
  }
  handled_ = message.position();
  changed_ = true;
}

void SessionDelivery::scan_for(LogPosition target) {
  target_ = std::max(target_, target);
  phase_ = Phase::Scanning;
  begin_scan();
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
    flight->mark_position = flight->last_position;
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
  if (phase_ == Phase::Live) {
    compare_activity();
  } else if (block_ == Block::None || (block_ == Block::Acks && has_room_for(1))) {
    block_ = Block::None;
    begin_scan();
  }
  push_due_again();
}

void SessionDelivery::compare() {
  if (phase_ == Phase::Live) compare_activity();
}

void SessionDelivery::compare_activity() {
  // Nobody was told anything above it, so neither was this user: on a quiet server a heartbeat takes no lock.
  if (std::max(context_.registry.told(), context_.store.settled_position()) <= handled_) return;
  raise_to_settled();
  const auto activity = context_.registry.activity(sink_.user().view());
  if (activity && *activity > handled_) scan_for(*activity);
}

// With nothing of the user's told since, everything settled is handled. The order of the two reads matters: a record at or below the
// settled position has raised the activity before.
void SessionDelivery::raise_to_settled() {
  const LogPosition settled = context_.store.settled_position();
  if (settled <= handled_) return;
  const auto activity = context_.registry.activity(sink_.user().view());
  if (!activity || *activity > handled_) return;
  handled_ = settled;
  if (context_.now_ms() - saved_ms_ >= kSaveAtLeastEveryMs) changed_ = true;
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
  if (phase_ == Phase::Live) raise_to_settled();
  DeviceCursor out = noted_cursor();
  changed_ = false;
  saved_ms_ = context_.now_ms();
  return out;
}

DeviceCursor SessionDelivery::noted_cursor() {
  DeviceCursor out;
  out.epoch = context_.store.epoch();
  out.position = handled_;
  out.last_seen = context_.clock.wall();
  if (!flights_) return out;
  flights_->for_each([&](const Flight& flight) {
    if (!flight.done()) out.exceptions.emplace(flight.conversation, flight.acked);
  });
  return out;
}

std::optional<LogPosition> SessionDelivery::token_position() {
  if (phase_ == Phase::New || exceptions_pending_) return std::nullopt;
  if (phase_ == Phase::Live) raise_to_settled();
  LogPosition position = handled_;
  if (flights_) {
    flights_->for_each([&](const Flight& flight) {
      if (!flight.done()) position = std::min(position, flight.acked == flight.pushed ? flight.last_position : flight.floor);
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
  flight.last_position = handled_;
  return flight;
}

// Pushes the message that follows what was pushed of its conversation. False: the write queue is at its bound.
bool SessionDelivery::push(const MessagePtr& message, MessageSeq acked, bool own) {
  Flight* flight = find(message->conversation());
  if (own) {
    if (flight != nullptr) {
      if (flight->acked < flight->sent) remember_own(message->conversation(), message->seq());
      advance(*flight, message->seq(), message->position(), false);
    } else if (own_) {
      own_->drop_through(message->conversation(), message->seq());
    }
    return true;
  }
  if (sink_.push_message(message) == DeliverySink::Pushed::AtBound) return false;
  if (flight == nullptr) flight = &create_flight(message->conversation(), acked);
  advance(*flight, message->seq(), message->position(), true);
  return true;
}

bool SessionDelivery::push(const ConversationId& conversation, const SeqGap& gap, MessageSeq acked) {
  if (sink_.push_gap(conversation, gap) == DeliverySink::Pushed::AtBound) return false;
  context_.metrics.gaps_total.add();
  Flight* flight = find(conversation.view());
  if (flight == nullptr) flight = &create_flight(conversation.view(), acked);
  advance(*flight, gap.to, LogPosition(0), true);
  return true;
}

// `position` 0: not known (a gap).
void SessionDelivery::advance(Flight& flight, MessageSeq to, LogPosition position, bool sent) {
  const bool known = position.value() != 0;
  if (sent && flight.acked == flight.pushed) {
    flight.oldest_push_ms = context_.now_ms();
    flight.floor = known ? position.prev() : flight.last_position;
    flight.mark_seq = to;
    flight.mark_position = known ? position : flight.last_position;
  } else if (known && flight.mark_seq == flight.pushed) {
    // A gap has no position of its own: the message behind it tells where it ends.
    flight.mark_position = std::max(flight.mark_position, position.prev());
  }
  flight.pushed = to;
  if (known) flight.last_position = position;
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
