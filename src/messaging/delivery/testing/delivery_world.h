#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "messaging/delivery/cursor_keeper.h"
#include "messaging/delivery/dispatcher.h"
#include "messaging/delivery/receipts.h"
#include "messaging/delivery/session_delivery.h"
#include "messaging/delivery/testing/simulated_device.h"
#include "messaging/model/conversation.h"
#include "runtime/spawn.h"
#include "storage/memory/memory_message_store.h"
#include "storage/memory/memory_state_store.h"

namespace dunlin {

// How often each bound of delivery was reached in a run. A bound that no run reaches is one that nothing is known of.
struct DeliveryBounds {
  std::uint64_t flights = 0;        // a session had unacked pushes in as many conversations as it may
  std::uint64_t write_queue = 0;    // a push found the queue full
  std::uint64_t activity_page = 0;  // a page of activity that was not all
  std::uint64_t news_messages = 0;  // a page of news without all of its messages
  std::uint64_t range_page = 0;     // a range that was cut
  std::uint64_t ack_positions = 0;  // a device had to ack more conversations than one ack takes
  std::uint64_t own_messages = 0;   // a session could not remember which messages are its own
  std::uint64_t retransmit = 0;     // a push was repeated for want of an ack
  std::uint64_t exceptions = 0;     // a session began with as many unacked conversations as it may have
  std::uint64_t mailbox = 0;        // a full mailbox lost hints
  std::uint64_t head_search = 0;    // heads were compared since part of the activity is trimmed

  void add(const DeliveryBounds& more) {
    for (const auto& [name, member] : kNames) this->*member += more.*member;
  }
  static const std::vector<std::pair<std::string, std::uint64_t DeliveryBounds::*>> kNames;
};
inline const std::vector<std::pair<std::string, std::uint64_t DeliveryBounds::*>> DeliveryBounds::kNames{
    {"flights", &DeliveryBounds::flights},
    {"write_queue", &DeliveryBounds::write_queue},
    {"activity_page", &DeliveryBounds::activity_page},
    {"news_messages", &DeliveryBounds::news_messages},
    {"range_page", &DeliveryBounds::range_page},
    {"ack_positions", &DeliveryBounds::ack_positions},
    {"own_messages", &DeliveryBounds::own_messages},
    {"retransmit", &DeliveryBounds::retransmit},
    {"exceptions", &DeliveryBounds::exceptions},
    {"mailbox", &DeliveryBounds::mailbox},
    {"head_search", &DeliveryBounds::head_search},
};

// Counts the pages that it gives.
class CountingStore final : public MemoryMessageStore {
 public:
  CountingStore(MemoryStoreOptions options, DeliveryBounds& bounds) : MemoryMessageStore(options), bounds_(bounds) {}

  Task<Result<NewsPage>> news_since(NewsQuery query) override {
    auto page = co_await MemoryMessageStore::news_since(std::move(query));
    if (page.ok() && page->activity.more) ++bounds_.activity_page;
    if (page.ok() && page->ranges.size() < page->activity.entries.size()) ++bounds_.news_messages;
    co_return page;
  }
  Task<Result<RangePage>> range(RangeQuery query) override {
    auto page = co_await MemoryMessageStore::range(std::move(query));
    if (page.ok() && page->more) ++bounds_.range_page;
    co_return page;
  }
  std::optional<RangePage> range_in_memory(const RangeQuery& query) override {
    auto page = MemoryMessageStore::range_in_memory(query);
    if (page && page->more) ++bounds_.range_page;
    return page;
  }
  Task<Result<ConversationsPage>> conversations(UserId user, ConversationId after, std::size_t limit) override {
    ++bounds_.head_search;
    co_return co_await MemoryMessageStore::conversations(std::move(user), std::move(after), limit);
  }

 private:
  DeliveryBounds& bounds_;
};

// Three users with two devices each, and peers who only write, two workers and a store, all on one thread under one seed and a manual
// clock. Every step is random; every fault that delivery has to survive is one of the steps. The bounds are small, so that each is reached.
class DeliveryWorld final : public CommitListener {
 public:
  static constexpr int kPeers = 12;
  static constexpr std::size_t kAckPositions = 4;  // of one ack

  struct Faults {
    double drop_hint = 0;     // silently
    double full_mailbox = 0;  // a batch's hints lost, with the flag
    double lose_ack = 0;
    double crash = 0;  // of cuts: the cursor is not saved
    double trims = 0;
    double numbered_ids = 0.5;
    std::size_t queue_bound = 8;
    Milliseconds append_delay{0};
    Milliseconds read_delay{0};
    double read_failures = 0;
  };

  DeliveryWorld(std::uint64_t seed, Faults faults)
      : random_(seed),
        faults_(faults),
        store_(store_options(seed, faults), bounds_),
        dispatcher_(registry_, {&mailboxes_[0], &mailboxes_[1]}),
        keeper_(store_, state_, clock_, turns_),
        context_{store_, registry_, clock_, metrics_, {}} {
    for (SimMailbox& mailbox : mailboxes_) mailbox.world = this;
    send_share_ = 5 + chance(25);
    context_.options.max_flights = 6;
    context_.options.activity_page = 3;
    context_.options.page_messages = 3;
    context_.options.own_message_bytes = 140;
    store_.set_listener(this);
    for (const char* user : {"ann", "bob", "cyd"}) {
      for (int i = 0; i < 2; ++i) {
        SimDevice& device = devices_.emplace_back();
        device.user = UserId(user);
        device.device = DeviceId("d" + std::to_string(i));
        device.name = std::string(user) + "/" + device.device.str();
      }
    }
  }

  // The truth is noted before the dispatcher knows it.
  void on_outcomes(std::span<AppendOutcome> outcomes, LogPosition settled_through) override {
    for (const AppendOutcome& outcome : outcomes) {
      if (outcome.refused || outcome.duplicate) continue;
      auto& records = truth_.timelines[ConversationId(outcome.message->conversation())];
      EXPECT_EQ(outcome.seq.value(), records.size() + 1);
      records.push_back({outcome.message->position(), std::string(outcome.message->client_msg_id()), std::string(outcome.message->body())});
    }
    dispatcher_.on_outcomes(outcomes, settled_through);
  }

  void step() {
    close_ended();
    if (chance(100) < send_share_) return chance(12) == 0 ? burst() : send();
    const int dice = 25 + chance(75);
    if (dice < 45) return deliver();
    if (dice < 65) return read_socket();
    if (dice < 77) return ack();
    if (dice < 80) return heartbeat();
    if (dice < 85) return connect(pick(devices_));
    if (dice < 88) return cut();
    if (dice < 90) return save_cursors();
    if (dice < 91) return take_token();
    if (dice < 92) return trim();
    if (dice < 93) return heartbeat_late();
    pass_time(Milliseconds(chance(2000)));
  }

  // A copy of the data folder, and what was true when it was made.
  struct Folder {
    std::shared_ptr<const MemoryMessageStore::Copy> messages;
    std::shared_ptr<const MemoryStateStore::Copy> state;
    Truth truth;
    std::set<const SimDevice*> met;
  };
  Folder copy_folder() {
    Folder out{store_.copy(), state_.copy(), truth_, {}};
    for (const SimDevice& device : devices_) {
      if (device.met) out.met.insert(&device);
    }
    return out;
  }

  // The server ends without a word and begins again on that copy. What it held in memory is gone; devices keep what they have.
  void put_back(const Folder& folder) {
    for (auto& [ref, session] : sessions_) session->attached = false;
    sessions_.clear();
    store_.put_back(*folder.messages);
    state_.put_back(*folder.state);
    for (SimMailbox& mailbox : mailboxes_) {
      mailbox.queue.clear();
      mailbox.hints_lost = false;
    }
    // In the places of the old ones, which others refer to.
    std::destroy_at(&registry_);
    std::construct_at(&registry_);
    std::destroy_at(&keeper_);
    std::construct_at(&keeper_, store_, state_, clock_, turns_);
    marked_.clear();
    epoch_ = store_.epoch();
    put_back_ = true;
    witness_ = false;
    const Truth before = std::exchange(truth_, folder.truth);
    for (SimDevice& device : devices_) {
      device.met = folder.met.contains(&device);  // else it is a new one there
      if (device.token && device.token->epoch == epoch_ && device.token->position > store_.run().began_at) witness_ = true;
      for (const auto& [conversation, records] : before.timelines) {
        const std::uint64_t kept = truth_.timelines[conversation].size();
        SimDevice::Known& known = device.conversations[conversation];
        for (std::uint64_t seq = kept + 1; seq <= records.size(); ++seq) {
          // Replies to sends have told the seqs of its own.
          if (known.seqs.contains(seq) || records[seq - 1].device == device.name) {
            known.seqs.insert(seq);
            known.undone.insert(seq);
          }
        }
        known.baseline = std::min(known.baseline, kept);
        known.acked = std::min(known.acked, kept);
      }
    }
  }

  // Who dropped a message as known and was not told to forget: only where nothing could tell.
  std::uint64_t unnoticed() const {
    std::uint64_t out = 0;
    for (const SimDevice& device : devices_) {
      for (const auto& [conversation, known] : device.conversations) out += known.dropped ? 1 : 0;
    }
    return out;
  }
  bool has_witness() const { return witness_; }
  std::uint64_t resets() const { return resets_; }

  // Everybody comes online and behaves; then every device must have everything.
  void settle() {
    faults_ = Faults{};
    faults_.queue_bound = 16;
    store_.set_read_failures(0);
    shows_ = 1;
    for (int round = 0; round < 4000; ++round) {
      close_ended();
      for (SimDevice& device : devices_) {
        if (session_of(device) == nullptr) connect(device);
      }
      pass_time(Milliseconds(50));
      while (!mailboxes_[0].queue.empty() || !mailboxes_[1].queue.empty()) deliver();
      for (auto& [ref, session] : sessions_) {
        while (!session->queue.empty()) read_socket(*session);
        ack_all(*session);
        if (round % 10 == 9 && session->attached) session->delivery.on_heartbeat();
      }
      if (round > 20 && settled()) return;
    }
    EXPECT_TRUE(settled()) << "not everybody caught up";
  }

  void check_converged() {
    for (SimDevice& device : devices_) {
      for (const auto& [conversation, records] : truth_.timelines) {
        const auto pair = parse_private(conversation.view());
        if (!pair->has(device.user.view())) continue;
        // What it has of a life that was undone, and was not written again, may be more.
        EXPECT_EQ(std::min<std::uint64_t>(device.contiguous(truth_, conversation), records.size()), records.size())
            << device.name << " in " << conversation.view();
      }
    }
    for (auto& [ref, session] : sessions_) {
      EXPECT_TRUE(session->delivery.cursor().exceptions.empty());
      EXPECT_EQ(session->delivery.cursor().position, store_.settled_position()) << session->device.name;
    }
    EXPECT_EQ(metrics_.lagging_sessions.value(), 0);
  }

  DeliveryBounds bounds() const {
    DeliveryBounds out = bounds_;
    out.flights = metrics_.delivery_waits_acks.value();
    out.write_queue = metrics_.delivery_waits_queue.value();
    out.own_messages = metrics_.own_messages_dropped.value();
    out.retransmit = metrics_.retransmissions_total.value();
    return out;
  }

 private:
  struct SimMailbox final : public WorkerMailbox {
    bool post(DeliveryBatch batch) override { return world->posted(*this, std::move(batch)); }
    DeliveryWorld* world = nullptr;
    std::deque<DeliveryBatch> queue;
    bool hints_lost = false;
  };

  MemoryStoreOptions store_options(std::uint64_t seed, const Faults& faults) const {
    MemoryStoreOptions out;
    out.clock = &clock_;
    out.seed = seed;
    out.append_delay = faults.append_delay;
    out.read_delay = faults.read_delay;
    out.read_failures = faults.read_failures;
    return out;
  }

  int chance(int below) { return std::uniform_int_distribution<>(0, below - 1)(random_); }
  bool happens(double share) { return std::uniform_real_distribution<>(0, 1)(random_) < share; }
  template <class C>
  typename C::value_type& pick(C& from) {
    return *std::next(from.begin(), chance(static_cast<int>(from.size())));
  }
  SimSession* session_of(const SimDevice& device) {
    for (auto& [ref, session] : sessions_) {
      if (&session->device == &device) return session.get();
    }
    return nullptr;
  }
  SimSession* any_session() { return sessions_.empty() ? nullptr : pick(sessions_).second.get(); }

  void send() {
    SimSession* session = any_session();
    if (session == nullptr || !session->attached) return;
    SimDevice& device = session->device;
    // Mostly to those who have devices.
    const std::string to = chance(4) == 0 ? peer() : pick(devices_).user.str();
    const ConversationId conversation = private_conversation(device.user.view(), to);
    ++session->sent;
    const std::string id = happens(faults_.numbered_ids) ? session->session_key.text() + "-" + std::to_string(session->sent)
                                                         : device.name + "#" + std::to_string(++device.sent);
    AppendRequest request;
    request.message = Message::create({conversation.view(), device.user.view(), id, {}, device.name});
    request.session = session->session_key;
    request.id = NumberedMsgId::parse(id);
    request.reply = {session->connection, 0};
    store_.append({&request, 1});
  }

  std::string peer() { return "peer" + std::to_string(chance(kPeers)); }

  // Several peers write to one user in turn: what a device that was away finds interleaves.
  void burst() {
    const UserId user = pick(devices_).user;
    std::vector<std::string> peers(static_cast<std::size_t>(2 + chance(kPeers)));
    for (std::string& one : peers) one = peer();
    for (int round = 1 + chance(8); round > 0; --round) {
      for (const std::string& from : peers) {
        AppendRequest request;
        const std::string id = from + "#" + std::to_string(++peers_sent_);
        request.message = Message::create({private_conversation(from, user.view()).view(), from, id, {}, from});
        store_.append({&request, 1});
      }
    }
  }

  bool posted(SimMailbox& mailbox, DeliveryBatch batch) {
    const bool full = happens(faults_.full_mailbox);
    if (full) {
      ++bounds_.mailbox;
      mailbox.hints_lost = mailbox.hints_lost || !batch.hints.empty();
      batch.hints.clear();
    }
    std::erase_if(batch.hints, [&](const Hint&) { return happens(faults_.drop_hint); });
    mailbox.queue.push_back(std::move(batch));
    return !full;
  }

  void deliver() {
    SimMailbox& mailbox = mailboxes_[static_cast<std::size_t>(chance(2))];
    for (int batches = chance(8); batches >= 0 && !mailbox.queue.empty(); --batches) {
      DeliveryBatch batch = std::move(mailbox.queue.front());
      mailbox.queue.pop_front();
      for (const AppendOutcome& sent : batch.acks) {
        const auto at = sessions_.find(sent.reply.connection);
        if (at != sessions_.end() && !sent.refused) at->second->delivery.on_sent(sent.message->conversation(), sent.seq);
      }
      for (const Hint& hint : batch.hints) {
        const auto at = sessions_.find(hint.connection);
        if (at != sessions_.end()) at->second->delivery.on_hint(hint);
      }
    }
    if (!std::exchange(mailbox.hints_lost, false)) return;
    for (auto& [ref, session] : sessions_) {
      if (&mailboxes_[worker_of(ref)] == &mailbox) session->delivery.compare();
    }
  }

  void read_socket() {
    SimSession* session = any_session();
    if (session == nullptr) return;
    for (int n = chance(6); n >= 0 && !session->queue.empty(); --n) read_socket(*session);
  }

  void read_socket(SimSession& session) {
    const SimSession::Packet packet = std::move(session.queue.front());
    session.queue.pop_front();
    if (const auto* message = std::get_if<MessagePtr>(&packet)) {
      receive(session.device, **message);
      session.to_ack.insert(ConversationId((*message)->conversation()));
    } else {
      const auto& gap = std::get<SimSession::Gap>(packet);
      receive(session.device, gap);
      session.to_ack.insert(gap.conversation);
    }
    if (session.was_at_bound && session.queue.size() <= session.queue_bound / 2) {
      session.was_at_bound = false;
      session.delivery.on_drained();
    }
  }

  void receive(SimDevice& device, const Message& message) {
    const ConversationId conversation(message.conversation());
    const std::uint64_t seq = message.seq().value();
    SimDevice::Known& known = device.conversations[conversation];
    if (known.undone.contains(seq)) {
      known.dropped = true;
      return;
    }
    EXPECT_LE(seq, device.contiguous(truth_, conversation) + 1) << device.name << " got a hole in " << conversation.view();
    EXPECT_EQ(message.client_msg_id(), truth_.timelines[conversation][seq - 1].client_msg_id);
    device.conversations[conversation].seqs.insert(seq);
  }
  void receive(SimDevice& device, const SimSession::Gap& gap) {
    EXPECT_LE(gap.gap.from.value(), device.contiguous(truth_, gap.conversation) + 1) << device.name << " got a gap behind a hole";
    EXPECT_EQ(gap.gap.reason, GapReason::Truncated);
    EXPECT_LE(truth_.timelines[gap.conversation][gap.gap.to.value() - 1].position, store_.trimmed_through())
        << "a gap where nothing was trimmed";
    for (std::uint64_t seq = gap.gap.from.value(); seq <= gap.gap.to.value(); ++seq) {
      device.conversations[gap.conversation].seqs.insert(seq);
    }
  }

  void ack() {
    SimSession* session = any_session();
    if (session == nullptr || truth_.timelines.empty()) return;
    if (chance(2) == 0) return ack_all(*session);
    ack(*session, pick(truth_.timelines).first);
  }
  // In packets of kAckPositions, each lost as a whole or not.
  void ack_all(SimSession& session) {
    std::size_t positions = 0;
    bool lost = false;
    for (const auto& [conversation, records] : truth_.timelines) {
      if (!session.to_ack.contains(conversation)) continue;
      if (positions % kAckPositions == 0) {
        lost = happens(faults_.lose_ack);
        if (positions > 0) ++bounds_.ack_positions;
      }
      ++positions;
      if (!lost) ack(session, conversation);
    }
    session.to_ack.clear();
  }
  void ack(SimSession& session, const ConversationId& conversation) {
    SimDevice& device = session.device;
    const std::uint64_t has = device.contiguous(truth_, conversation);
    // A cumulative ack may be any seq up to what it has.
    const std::uint64_t seq = faults_.lose_ack > 0 && has > 0 ? has - static_cast<std::uint64_t>(chance(2)) : has;
    if (seq == 0 || happens(faults_.lose_ack)) return;
    const auto effect = session.delivery.on_ack(conversation.view(), MessageSeq(seq));
    if (effect.raised) {
      EXPECT_LE(effect.delivered.value(), seq);
    }
    SimDevice::Known& known = device.conversations[conversation];
    const std::uint64_t head = truth_.timelines[conversation].size();
    known.acked = std::max(known.acked, std::min(seq, head));
    // As SessionHost::judge.
    if (seq > head) {
      EXPECT_TRUE(put_back_) << device.name << " acks what is not there";
      to_reset_.insert(&device);
    }
  }

  // Sessions of devices that have claimed what is not there, and those of an epoch that is over.
  void close_ended() {
    for (SimDevice* device : std::exchange(to_reset_, {})) {
      keeper_.keep({device->user, device->device, DeviceCursor{}});
      marked_.insert(device);
      if (SimSession* session = session_of(*device)) end(*session);
    }
    if (store_.epoch() == epoch_) return;
    EXPECT_TRUE(put_back_);
    epoch_ = store_.epoch();
    std::vector<SimSession*> ended;
    for (auto& [ref, session] : sessions_) {
      if (session->attached && session->epoch != epoch_) ended.push_back(session.get());
    }
    for (SimSession* session : ended) {
      keep(*session);
      end(*session);
    }
  }
  void keep(SimSession& session) { keeper_.keep({session.device.user, session.device.device, checked_cursor(session)}); }

  void heartbeat() {
    SimSession* session = any_session();
    if (session != nullptr && session->attached) session->delivery.on_heartbeat();
  }

  // After a pause in which everybody read and nobody acked.
  void heartbeat_late() {
    for (int round = 0; round < 10; ++round) {
      for (auto& [ref, session] : sessions_) {
        while (!session->queue.empty()) read_socket(*session);
      }
      pass_time(Milliseconds(1000));
    }
    pass_time(context_.options.retransmit_after * (1 + chance(3)));
    for (auto& [ref, session] : sessions_) {
      if (session->attached) session->delivery.on_heartbeat();
    }
  }

  void connect(SimDevice& device) {
    std::optional<DeviceCursor> inherited;
    if (SimSession* old = session_of(device)) {
      if (!old->attached) return;
      if (happens(0.5)) inherited = checked_cursor(*old);
      end(*old);
    }
    const std::uint16_t worker = static_cast<std::uint16_t>(chance(2));
    const ConnectionRef ref = std::uint64_t{worker} << 54 | ++connections_;
    auto session = std::make_unique<SimSession>(device, ref, context_, faults_.queue_bound);
    EXPECT_TRUE(registry_.add(device.user.view(), device.device.view(), ref)->empty());
    store_.begin_session(session->session_key);
    sessions_.emplace(ref, std::move(session));
    if (marked_.contains(&device)) inherited = DeviceCursor{};
    AttachRequest request{device.user, device.device, std::nullopt, false, std::move(inherited)};
    if (device.token && (put_back_ || happens(0.5))) {  // one that was not brought could be replaced, and could tell nothing any more
      request.token = device.token;
      request.token_given = true;
    }
    for (const auto& [conversation, records] : truth_.timelines) {  // it shows what it has, now and then
      const auto known = device.conversations.find(conversation);
      if (known == device.conversations.end() || known->second.undone.empty() || !happens(shows_)) continue;
      request.claims_unknown = request.claims_unknown || *known->second.undone.rbegin() > records.size();
    }
    spawn(attach(this, ref, std::move(request)));
  }

  static Task<void> attach(DeliveryWorld* world, ConnectionRef ref, AttachRequest request) {
    auto attachment = co_await world->keeper_.attach(std::move(request));
    auto at = world->sessions_.find(ref);
    if (at == world->sessions_.end()) co_return;
    if (!attachment.ok()) {
      world->end(*at->second);
      co_return;
    }
    if (attachment->cursor.epoch != world->store_.epoch()) {
      world->end(*at->second);
      co_return;
    }
    if (attachment->resume == Resume::Reset) world->forget(*at->second, attachment->cursor);
    std::optional<NewsPage> ahead;
    if (world->happens(0.5)) {  // as connect does, to name it in its reply
      NewsQuery query = SessionDelivery::first_page(world->context_.options, at->second->device.user, attachment->cursor.position);
      auto read = co_await world->store_.news_since(std::move(query));
      at = world->sessions_.find(ref);
      if (at == world->sessions_.end()) co_return;
      if (read.ok()) ahead = *std::move(read);
    }
    world->begin(*at->second, attachment->cursor, std::move(ahead));
  }

  void begin(SimSession& session, const DeviceCursor& cursor, std::optional<NewsPage> ahead) {
    SimDevice& device = session.device;
    if (!device.met) {
      for (const auto& [conversation, records] : truth_.timelines) {
        const auto at = cursor.exceptions.find(conversation);
        device.conversations[conversation].baseline =
            at != cursor.exceptions.end() ? at->second.value() : truth_.seq_at(conversation, cursor.position);
      }
      device.met = true;
    }
    check(device, cursor.position, &cursor.exceptions);
    session.epoch = cursor.epoch;
    if (cursor.exceptions.size() >= context_.options.max_flights) ++bounds_.exceptions;
    session.attached = true;
    session.delivery.start(cursor, {}, std::move(ahead));
  }

  // What `reset` asks of a client: its list and history come by other ways.
  void forget(SimSession& session, const DeviceCursor& cursor) {
    EXPECT_TRUE(put_back_) << session.device.name << " was reset without need";
    ++resets_;
    SimDevice& device = session.device;
    marked_.erase(&device);
    device.token.reset();
    device.conversations.clear();
    for (const auto& [conversation, records] : truth_.timelines) {
      device.conversations[conversation].baseline = truth_.seq_at(conversation, cursor.position);
    }
    device.met = true;
  }

  void cut() {
    SimSession* session = any_session();
    if (session == nullptr) return;
    if (session->attached && !happens(faults_.crash)) keep(*session);
    end(*session);
  }

  void end(SimSession& session) {
    registry_.remove(session.device.user.view(), session.connection);
    spawn(store_.end_session(session.session_key));
    sessions_.erase(session.connection);
  }

  void save_cursors() {
    for (auto& [ref, session] : sessions_) {
      if (!session->attached || !session->delivery.changed()) continue;
      keep(*session);
    }
    spawn([](DeliveryWorld* world) -> Task<void> { ignore(co_await world->keeper_.save()); }(this));
  }

  void take_token() {
    SimSession* session = any_session();
    if (session == nullptr || !session->attached) return;
    const auto position = session->delivery.token_position();
    if (!position) return;
    check(session->device, *position, nullptr);
    session->device.token = SyncToken{session->epoch, position, *position, clock_.wall(), store_.run().id};
  }

  void trim() {
    if (!happens(faults_.trims)) return;
    const std::uint64_t from = store_.trimmed_through().value();
    const std::uint64_t to = (from + store_.settled_position().value()) / 2;  // what is newer is still to be delivered
    if (to > from) store_.trim_through(LogPosition(from + static_cast<std::uint64_t>(chance(static_cast<int>(to - from) + 1))));
  }

  void pass_time(Milliseconds time) {
    for (Milliseconds step = time / 10; time.count() > 0; time -= step) {
      step = std::max(step, Milliseconds(1));
      clock_.advance(step);
      while (store_.pump()) {
      }
    }
  }

  DeviceCursor checked_cursor(SimSession& session) {
    DeviceCursor cursor = session.delivery.cursor();
    cursor.epoch = session.epoch;
    check(session.device, cursor.position, &cursor.exceptions);
    return cursor;
  }

  // No position may claim what the device has not acked.
  void check(SimDevice& device, LogPosition position, const std::map<ConversationId, MessageSeq>* exceptions) {
    for (const auto& [conversation, records] : truth_.timelines) {
      if (!parse_private(conversation.view())->has(device.user.view())) continue;
      std::uint64_t claimed = truth_.seq_at(conversation, position);
      if (exceptions != nullptr && exceptions->contains(conversation)) claimed = exceptions->at(conversation).value();
      EXPECT_LE(claimed, device.covered(truth_, conversation))
          << device.name << " at " << position.value() << (exceptions != nullptr ? " (cursor)" : " (token)") << " in "
          << conversation.view();
    }
  }

  bool settled() {
    if (!to_reset_.empty() || store_.epoch() != epoch_) return false;
    if (store_.next_due() || !mailboxes_[0].queue.empty() || !mailboxes_[1].queue.empty()) return false;
    for (SimDevice& device : devices_) {
      SimSession* session = session_of(device);
      if (session == nullptr || !session->attached || !session->queue.empty() || !session->delivery.caught_up()) return false;
      if (session->delivery.cursor().position != store_.settled_position() || !session->delivery.cursor().exceptions.empty()) return false;
    }
    return true;
  }

  std::mt19937_64 random_;
  Faults faults_;
  ManualClock clock_;
  ServerMetrics metrics_;
  Truth truth_;
  DeliveryBounds bounds_;
  CountingStore store_;
  MemoryStateStore state_;
  SessionRegistry registry_;
  std::array<SimMailbox, 2> mailboxes_;
  Dispatcher dispatcher_;
  DeviceTurns turns_;
  CursorKeeper keeper_;
  DeliveryContext context_;
  std::deque<SimDevice> devices_;
  std::map<ConnectionRef, std::unique_ptr<SimSession>> sessions_;
  Epoch epoch_ = store_.epoch();       // as far as the sessions were told
  std::set<SimDevice*> to_reset_;      // devices that claimed what is not there, until the next step
  std::set<const SimDevice*> marked_;  // that are to be told; as DetachedCursors keeps them
  bool put_back_ = false;
  bool witness_ = false;  // somebody had a token of what was undone
  double shows_ = 0.5;    // of the conversations that a device has on its screen when it connects
  std::uint64_t resets_ = 0;
  std::uint64_t connections_ = 0;
  std::uint64_t peers_sent_ = 0;
  int send_share_ = 0;  // percent of the steps: some worlds mostly idle, some overload every socket
};

}  // namespace dunlin
