// The part of SessionDelivery that reads on from the store. After every co_await the delivery may be gone: `ticket.delivery` tells.
#include <algorithm>
#include <utility>
#include <vector>

#include "base/log.h"
#include "messaging/delivery/session_delivery.h"
#include "messaging/delivery/session_ticket.h"
#include "runtime/spawn.h"

namespace dunlin {
namespace {

constexpr int kMaxRounds = 16;  // reads of the newest part without reaching the target: the heartbeat goes on

// Visits messages and gaps of an ascending page by seq, until a visitor says false.
template <class OnMessage, class OnGap>
bool in_seq_order(const RangePage& page, OnMessage on_message, OnGap on_gap) {
  auto gap = page.gaps.begin();
  for (const MessagePtr& message : page.messages) {
    for (; gap != page.gaps.end() && gap->from < message->seq(); ++gap) {
      if (!on_gap(*gap)) return false;
    }
    if (!on_message(message)) return false;
  }
  for (; gap != page.gaps.end(); ++gap) {
    if (!on_gap(*gap)) return false;
  }
  return true;
}

}  // namespace

NewsQuery SessionDelivery::first_page(const DeliveryOptions& options, UserId user, InboxPosition position) {
  return {std::move(user), position, options.inbox_page, options.page_messages, options.page_bytes};
}

void SessionDelivery::begin_scan(std::vector<ConversationId> first, std::optional<NewsPage> news) {
  if (ticket_ != nullptr) return;  // what runs now goes on, or begins the scan when it ends
  if (!exceptions_pending_ && !flights_ && !head_search_) {
    // Nothing new, and memory knows it: the usual reconnect costs no read.
    const auto quiet = context_.inboxes.quiet_through(sink_.user().view(), handled_);
    if (quiet && *quiet >= target_) {
      handled_ = std::max(handled_, *quiet);
      finish_scan();
      return;
    }
  }
  spawn(scan(this, std::move(first), std::move(news)));
}

void SessionDelivery::finish_scan() {
  phase_ = Phase::Live;
  block_ = Block::None;
  if (lagging_) context_.metrics.lagging_sessions.sub(1);
  lagging_ = false;
  if (flights_) {
    flights_->for_each([](Flight& flight) { flight.ahead = false; });
    flights_->erase_done();
    release_flights();
  }
  if (!own_) return;
  own_->keep_only([this](const std::string& conversation) { return find(conversation) != nullptr; });
  if (own_->empty()) own_.reset();
}

// All of a page is pushed.
void SessionDelivery::finish_page(InboxPosition scanned_to) {
  if (scanned_to <= handled_) return;
  handled_ = scanned_to;
  if (!flights_) return;
  flights_->for_each([this](Flight& flight) { flight.ahead = flight.ahead && flight.within > handled_; });
  flights_->erase_done();
  release_flights();
}

// The session stays where it is; a heartbeat or a later hint tries again.
void SessionDelivery::scan_failed(const Error& error) {
  stuck_since_ms_ = context_.now_ms();
  log_debug("delivery", "reading on from the store failed", {{"error", error.to_string()}});
}

Task<void> SessionDelivery::scan(SessionDelivery* self, std::vector<ConversationId> first, std::optional<NewsPage> news) {
  Ticket ticket(self);
  const InboxPosition begin = self->handled_;
  for (const ConversationId& conversation : first) {
    if (co_await fill_first(ticket, conversation) == Step::Stop) co_return;
  }
  if (self->exceptions_pending_ && co_await fill_exceptions(ticket) == Step::Stop) co_return;
  for (int rounds = 0; rounds < kMaxRounds;) {
    bool more = false;
    // What was read ahead is of the first page and of no other.
    std::optional<NewsPage> ahead = self->handled_ == begin ? std::exchange(news, std::nullopt) : std::nullopt;
    if (co_await scan_page(ticket, std::move(ahead), more) == Step::Stop) co_return;
    if (more) continue;
    if (self->handled_ >= self->target_) {
      self->finish_scan();
      co_return;
    }
    ++rounds;  // a hint came for a record that this read did not show yet
  }
}

// Like Inboxes::seq_at, but never lower than the truth: where retention hides it, all that is hidden counts.
Task<Result<MessageSeq>> SessionDelivery::seq_at_least(DeliveryContext& context, UserId user, ConversationId conversation,
                                                       InboxPosition position) {
  CO_TRY_ASSIGN(const MessageSeq seq, co_await context.inboxes.seq_at(user, conversation, position));
  // Read after seq_at, so that it knows of every trim that seq_at knew of.
  CO_TRY_ASSIGN(const ConversationHead head, co_await context.timelines.head(conversation));
  co_return std::max(seq, head.first_readable.prev());
}

// A conversation that the app shows now: up to its head, ahead of the scan, which finds the flight and goes on behind it.
Task<SessionDelivery::Step> SessionDelivery::fill_first(Ticket& ticket, ConversationId conversation) {
  DeliveryContext& context = ticket.delivery->context_;
  auto acked = co_await context.inboxes.seq_at(ticket.delivery->sink_.user(), conversation, ticket.delivery->handled_);
  SessionDelivery* self = ticket.delivery;
  if (self == nullptr) co_return Step::Stop;
  auto head = co_await context.timelines.head(conversation);
  self = ticket.delivery;
  if (self == nullptr) co_return Step::Stop;
  // Trouble is left to the scan, which comes to all conversations.
  if (!acked.ok() || !head.ok()) co_return Step::Done;
  const Flight* flight = self->find(conversation.view());
  // A conversation that was not acked up to the position has a flight, which knows better where the device is.
  const MessageSeq from = flight != nullptr ? flight->pushed : *acked;
  if (head->last_seq <= from || (flight == nullptr && !self->has_room_for(1))) co_return Step::Done;
  const Extent anywhere;  // where the head stands is not known: ahead until the scan is over
  co_return co_await fill(ticket, conversation, from, head->last_seq, anywhere);
}

// Conversations that were not acked up to the position of the cursor it began from.
Task<SessionDelivery::Step> SessionDelivery::fill_exceptions(Ticket& ticket) {
  std::vector<ConversationId> conversations;
  if (ticket.delivery->flights_) {
    ticket.delivery->flights_->for_each([&](const Flight& flight) {
      if (flight.ahead) conversations.push_back(flight.conversation);
    });
  }
  const Extent extent{ticket.delivery->handled_};
  for (const ConversationId& conversation : conversations) {
    auto to = co_await seq_at_least(ticket.delivery->context_, ticket.delivery->sink_.user(), conversation, *extent.through);
    SessionDelivery* self = ticket.delivery;
    if (self == nullptr) co_return Step::Stop;
    if (!to.ok()) {
      self->scan_failed(to.error());
      co_return Step::Stop;
    }
    Flight* flight = self->find(conversation.view());
    if (flight == nullptr) continue;
    if (flight->pushed > *to) flight->within = InboxPosition(UINT64_MAX);  // acked ahead of the position, nobody knows how far up
    if (co_await fill(ticket, conversation, flight->pushed, *to, extent) == Step::Stop) co_return Step::Stop;
  }
  ticket.delivery->exceptions_pending_ = false;
  co_return Step::Done;
}

Task<SessionDelivery::Step> SessionDelivery::scan_page(Ticket& ticket, std::optional<NewsPage> ahead, bool& more) {
  SessionDelivery* self = ticket.delivery;
  Inboxes& inboxes = self->context_.inboxes;
  more = true;
  const InboxPosition trimmed = inboxes.trimmed_through(self->sink_.user().view());
  if (self->head_search_ || self->handled_ < trimmed) co_return co_await fill_unlisted(ticket, trimmed);
  if (!ahead) {
    auto read = co_await inboxes.news_since(first_page(self->context_.options, self->sink_.user(), self->handled_));
    self = ticket.delivery;
    if (self == nullptr) co_return Step::Stop;
    if (!read.ok()) {
      self->scan_failed(read.error());
      co_return Step::Stop;
    }
    ahead = *std::move(read);
  }
  NewsPage* const news = &*ahead;
  const InboxPage& page = news->inbox;
  // Trimmed since, or a row of the inbox is damaged: heads tell what this page does not.
  if (page.truncated && page.scanned_to > self->handled_) co_return co_await fill_unlisted(ticket, page.scanned_to);
  for (std::size_t i = 0; i < page.entries.size(); ++i) {
    NewsRange* read = i < news->ranges.size() ? &news->ranges[i] : nullptr;
    if (co_await fill_entry(ticket, page.entries[i], page.scanned_to, read) == Step::Stop) co_return Step::Stop;
  }
  self->finish_page(page.scanned_to);
  if (!page.entries.empty()) self->changed_ = true;
  more = page.more;
  co_return Step::Done;
}

Task<SessionDelivery::Step> SessionDelivery::fill_entry(Ticket& ticket, InboxEntry entry, InboxPosition through, NewsRange* read) {
  SessionDelivery* self = ticket.delivery;
  MessageSeq acked = entry.first_seq.prev();
  if (const Flight* flight = self->find(entry.conversation.view())) {
    acked = flight->pushed;
  } else if (read != nullptr) {
    acked = read->from.prev();
  } else if (entry.first_position <= self->handled_) {
    auto seq = co_await self->context_.inboxes.seq_at(self->sink_.user(), entry.conversation, self->handled_);
    self = ticket.delivery;
    if (self == nullptr) co_return Step::Stop;
    if (!seq.ok()) {
      self->scan_failed(seq.error());
      co_return Step::Stop;
    }
    acked = *seq;
  }
  // Not all of the page: it may name the conversation once more, further up.
  const Extent extent{std::min(through, entry.last_position), entry.last_position > through};
  co_return co_await fill(ticket, entry.conversation, acked, entry.last_seq, extent, read);
}

// Pushes acked+1 .. to of the conversation within the extent, in pages; what was read already serves if it begins right there.
Task<SessionDelivery::Step> SessionDelivery::fill(Ticket& ticket, ConversationId conversation, MessageSeq acked, MessageSeq to,
                                                  Extent extent, NewsRange* read) {
  SessionDelivery* self = ticket.delivery;
  if (Flight* flight = self->find(conversation.view())) flight->ahead = true;  // an ack must not end it before we do
  for (MessageSeq from = acked.next(); from <= to;) {
    const DeliveryOptions& options = self->context_.options;
    RangeQuery query{conversation, from, to, options.page_messages, options.page_bytes, false};
    if (extent.cuts) query.within = InboxPlace{self->sink_.user(), *extent.through};
    std::optional<RangePage> page;
    if (read != nullptr && read->from == from) {
      page = std::move(std::exchange(read, nullptr)->page);
    } else {
      page = self->context_.timelines.range_in_memory(query);
    }
    if (!page) {
      auto asked = co_await self->context_.timelines.range(std::move(query));
      self = ticket.delivery;
      if (self == nullptr) co_return Step::Stop;
      if (!asked.ok()) {
        self->scan_failed(asked.error());
        co_return Step::Stop;
      }
      page = *std::move(asked);
    }
    const MessageSeq begin = from;
    if (!self->push_page(conversation, *page, extent.within(), from)) co_return Step::Stop;
    if (!page->more && (from > to || extent.cuts)) break;
    if (!page->more) {
      log_error("delivery", "a range ends below what its inbox names", {{"conversation", conversation.view()}, {"seq", from.value()}});
      self->scan_failed(Error(ErrorCode::Internal, "a range ends too early"));
      co_return Step::Stop;
    }
    if (from == begin) {
      self->scan_failed(Error(ErrorCode::Internal, "a range without progress"));
      co_return Step::Stop;
    }
  }
  self->finish_fill(conversation, extent.through);
  co_return Step::Done;
}

// Everything of the conversation at or below `through` is pushed, if that is given.
void SessionDelivery::finish_fill(const ConversationId& conversation, std::optional<InboxPosition> through) {
  Flight* flight = find(conversation.view());
  if (flight == nullptr) return;
  if (through) {
    if (flight->mark_seq == flight->pushed) flight->mark_position = std::max(flight->mark_position, *through);
    flight->reached = std::max(flight->reached, *through);
  }
  flight->ahead = flight->within > handled_;
  if (flight->done()) forget_flight(*flight);
}

// False: blocked, or the page has a hole, which is never passed over. `from` follows what was pushed.
bool SessionDelivery::push_page(const ConversationId& conversation, const RangePage& page, InboxPosition within, MessageSeq& from) {
  const auto may_push = [&](MessageSeq first) {
    if (first != from) {
      log_error("delivery", "the store gave a range with a hole", {{"conversation", conversation.view()}, {"seq", from.value()}});
      scan_failed(Error(ErrorCode::Internal, "a range with a hole"));
      return false;
    }
    const Flight* flight = find(conversation.view());
    if ((flight != nullptr && flight->unacked()) || has_room_for(1)) return true;
    block(Block::Acks);
    return false;
  };
  const auto pushed = [&](bool queued, MessageSeq last) {
    if (!queued) {
      block(Block::Queue);
      return false;
    }
    if (Flight* flight = find(conversation.view())) {
      flight->ahead = true;
      flight->within = std::max(flight->within, within);
    }
    from = last.next();
    return true;
  };
  return in_seq_order(
      page,
      [&](const MessagePtr& message) {
        return may_push(message->seq()) && pushed(push(message, from.prev(), sent_by_this_session(*message), std::nullopt), message->seq());
      },
      [&](const SeqGap& gap) { return may_push(gap.from) && pushed(push(conversation, gap, from.prev()), gap.to); });
}

// -- what no entry names: trimmed by retention since the device was here, or damaged

// The heads of all the user's conversations are compared instead: rare (away for longer than retention).
Task<SessionDelivery::Step> SessionDelivery::fill_unlisted(Ticket& ticket, InboxPosition through) {
  SessionDelivery* self = ticket.delivery;
  Inboxes& inboxes = self->context_.inboxes;
  if (!self->head_search_) self->head_search_ = std::make_unique<HeadSearch>(HeadSearch{{}, through});
  for (bool more = true; more;) {
    auto page = co_await inboxes.conversations(self->sink_.user(), self->head_search_->after, self->context_.options.inbox_page);
    self = ticket.delivery;
    if (self == nullptr) co_return Step::Stop;
    if (!page.ok()) {
      self->scan_failed(page.error());
      co_return Step::Stop;
    }
    for (const ConversationId& conversation : page->conversations) {
      if (co_await fill_unlisted_conversation(ticket, conversation) == Step::Stop) co_return Step::Stop;
      self->head_search_->after = conversation;
    }
    more = page->more;
  }
  self->finish_page(self->head_search_->through);
  self->changed_ = true;
  self->head_search_.reset();
  co_return Step::Done;
}

// range() names the trimmed part as a gap; where the device was in it may be known only as a lower bound, so the gap may begin too low.
Task<SessionDelivery::Step> SessionDelivery::fill_unlisted_conversation(Ticket& ticket, ConversationId conversation) {
  DeliveryContext& context = ticket.delivery->context_;
  auto acked = co_await context.inboxes.seq_at(ticket.delivery->sink_.user(), conversation, ticket.delivery->handled_);
  SessionDelivery* self = ticket.delivery;
  if (self == nullptr) co_return Step::Stop;
  auto head = co_await context.timelines.head(conversation);
  self = ticket.delivery;
  if (self == nullptr) co_return Step::Stop;
  if (acked.ok() && head.ok() && head->last_seq <= *acked) co_return Step::Done;
  const Extent extent{self->head_search_->through};
  auto to = co_await seq_at_least(context, self->sink_.user(), conversation, *extent.through);
  self = ticket.delivery;
  if (self == nullptr) co_return Step::Stop;
  if (!head.ok() || !to.ok() || !acked.ok()) {
    self->scan_failed(!head.ok() ? head.error() : !to.ok() ? to.error() : acked.error());
    co_return Step::Stop;
  }
  const Flight* flight = self->find(conversation.view());
  co_return co_await fill(ticket, conversation, flight != nullptr ? flight->pushed : *acked, *to, extent);
}

// -- pushing again what no ack came for

Task<void> SessionDelivery::push_again(SessionDelivery* self) {
  Ticket ticket(self);
  std::vector<ConversationId> due;
  const std::uint32_t now = self->context_.now_ms();
  const auto after = static_cast<std::uint32_t>(self->context_.options.retransmit_after.count());
  self->flights_->for_each([&](const Flight& flight) {
    if (flight.acked < flight.sent && now - flight.oldest_push_ms >= after) due.push_back(flight.conversation);
  });
  for (const ConversationId& conversation : due) {
    if (co_await push_again(ticket, conversation) == Step::Stop) break;
  }
  self = ticket.delivery;
  if (self == nullptr) co_return;
  self->ticket_ = nullptr;
  ticket.delivery = nullptr;
  if (self->phase_ == Phase::Scanning && self->block_ == Block::None) self->begin_scan();
}

Task<SessionDelivery::Step> SessionDelivery::push_again(Ticket& ticket, ConversationId conversation) {
  SessionDelivery* self = ticket.delivery;
  const Flight* flight = self->find(conversation.view());
  if (flight == nullptr) co_return Step::Done;
  for (MessageSeq from = flight->acked.next();;) {
    if (from > flight->sent) co_return Step::Done;
    const DeliveryOptions& options = self->context_.options;
    RangeQuery query{conversation, from, flight->sent, options.page_messages, options.page_bytes, false};
    auto page = co_await self->context_.timelines.range(std::move(query));
    self = ticket.delivery;
    if (self == nullptr || !page.ok()) co_return Step::Stop;
    const bool all = in_seq_order(
        *page,
        [&](const MessagePtr& message) {
          from = message->seq().next();
          if (self->sent_by_this_session(*message)) return true;
          if (self->sink_.push_message(message) == DeliverySink::Pushed::AtBound) return false;
          self->context_.metrics.retransmissions_total.add();
          return true;
        },
        [&](const SeqGap& gap) {
          from = gap.to.next();
          if (self->sink_.push_gap(conversation, gap) == DeliverySink::Pushed::AtBound) return false;
          self->context_.metrics.retransmissions_total.add();
          return true;
        });
    if (!all) co_return Step::Stop;
    flight = self->find(conversation.view());
    if (flight == nullptr || !page->more) co_return Step::Done;
  }
}

}  // namespace dunlin
