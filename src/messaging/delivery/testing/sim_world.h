#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
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
#include "messaging/delivery/early_hints.h"
#include "messaging/delivery/session_delivery.h"
#include "messaging/delivery/testing/delivery_bounds.h"
#include "messaging/delivery/testing/simulated_device.h"
#include "messaging/model/conversation.h"
#include "runtime/spawn.h"

namespace dunlin {

// Counts the pages that a store gives.
template <class Store>
class Counting final : public Store {
 public:
  template <class... Args>
  explicit Counting(DeliveryBounds& bounds, Args&&... args) : Store(std::forward<Args>(args)...), bounds_(bounds) {}

  Task<Result<NewsPage>> news_since(NewsQuery query) override {
    auto page = co_await Store::news_since(std::move(query));
    if (page.ok() && page->inbox.more) ++bounds_.inbox_page;
    if (page.ok() && page->ranges.size() < page->inbox.entries.size()) ++bounds_.news_messages;
    co_return page;
  }
  Task<Result<std::vector<RangePage>>> ranges(std::vector<RangeQuery> queries) override {
    auto pages = co_await Store::ranges(std::move(queries));
    if (pages.ok()) bounds_.range_page += static_cast<std::uint64_t>(std::ranges::count_if(*pages, &RangePage::more));
    co_return pages;
  }
  std::optional<RangePage> range_in_memory(const RangeQuery& query) override {
    auto page = Store::range_in_memory(query);
    if (page && page->more) ++bounds_.range_page;
    return page;
  }
  Task<Result<ConversationsPage>> conversations(UserId user, ConversationId after, std::size_t limit) override {
    ++bounds_.head_search;
    co_return co_await Store::conversations(std::move(user), std::move(after), limit);
  }

 private:
  DeliveryBounds& bounds_;
};

// Three users with two devices each, and peers who only write, on the nodes of a store, all on one thread under one seed and a manual
// clock. Every step is random; every fault that delivery has to survive is one of the steps. The bounds are small, so that each is reached.
// What kind of store it is, and what else may happen to it, is the heirs'.
class SimWorld {
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

  SimWorld(std::uint64_t seed, const Faults& faults) : random_(seed), faults_(faults) {
    send_share_ = 5 + chance(25);
    for (const char* user : {"ann", "bob", "cyd"}) {
      for (int i = 0; i < 2; ++i) {
        SimDevice& device = devices_.emplace_back();
        device.user = UserId(user);
        device.device = DeviceId("d" + std::to_string(i));
        device.name = std::string(user) + "/" + device.device.str();
      }
    }
  }
  virtual ~SimWorld() = default;
  SimWorld(const SimWorld&) = delete;
  SimWorld& operator=(const SimWorld&) = delete;

  void step() {
    close_ended();
    if (disturb()) return;
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

  // Everybody comes online and behaves; then every device must have everything.
  void settle() {
    faults_ = Faults{};
    faults_.queue_bound = 16;
    heal();
    shows_ = 1;
    for (int round = 0; round < 4000; ++round) {
      calm_round(Milliseconds(50), round % 10 == 9);
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
      EXPECT_EQ(session->delivery.cursor().position, newest(session->device)) << session->device.name;
    }
    EXPECT_EQ(metrics_.lagging_sessions.value(), 0);
  }

  // Who has not caught up, for whoever looks for the reason.
  std::string describe() {
    std::string out = quiet() ? "the store is quiet" : "the store is not quiet";
    if (any_mail()) out += ", mail waits";
    for (SimDevice& device : devices_) {
      SimSession* session = session_of(device);
      out += "\n" + device.name + ": ";
      if (session == nullptr) {
        out += "no session";
        continue;
      }
      const DeviceCursor cursor = session->delivery.cursor();
      out += session->attached ? "attached" : "attaching";
      out += session->delivery.caught_up() ? ", caught up" : ", scanning";
      out += session->delivery.lagging() ? ", lagging" : "";
      out += " at " + std::to_string(cursor.position.value()) + " of " + std::to_string(newest(device).value()) + ", " +
             std::to_string(cursor.exceptions.size()) + " exceptions, queue " + std::to_string(session->queue.size());
    }
    return out;
  }

  DeliveryBounds bounds() const {
    DeliveryBounds out = bounds_;
    out.flights = metrics_.delivery_waits_acks.value();
    out.write_queue = metrics_.delivery_waits_queue.value();
    out.own_messages = metrics_.own_messages_dropped.value();
    out.retransmit = metrics_.retransmissions_total.value();
    return out;
  }

 protected:
  static constexpr std::size_t kWorkers = 2;  // of a node

  struct SimMailbox final : public WorkerMailbox {
    bool post(DeliveryBatch batch) override { return world->posted(*this, std::move(batch)); }
    SimWorld* world = nullptr;
    std::deque<DeliveryBatch> queue;
    bool hints_lost = false;
  };

  // What a process has in memory beside the store.
  struct Node final : public StoreListener {
    Node(SimWorld& of, Timelines& store, Inboxes& user_inboxes, DeviceStates& states)
        : world(of),
          timelines(store),
          inboxes(user_inboxes),
          dispatcher(registry, {&mailboxes[0], &mailboxes[1]}),
          keeper(store, user_inboxes, states, of.clock_, of.turns_),
          context{store, user_inboxes, of.clock_, of.metrics_, {}} {
      for (SimMailbox& mailbox : mailboxes) mailbox.world = &world;
      context.options.max_flights = 6;
      context.options.inbox_page = 3;
      context.options.page_messages = 3;
      context.options.own_message_bytes = 140;
      timelines.set_listener(this);
    }
    void on_answers(std::span<AppendOutcome> outcomes) override {
      world.answered(outcomes);
      dispatcher.on_answers(outcomes);
    }
    void on_records(std::span<const InboxNews> news) override {
      world.telling(news);
      dispatcher.on_records(news);
    }
    std::optional<InboxPosition> told(std::string_view user) const override { return dispatcher.told(user); }

    SimWorld& world;
    Timelines& timelines;
    Inboxes& inboxes;
    SessionRegistry registry;
    std::array<SimMailbox, kWorkers> mailboxes;
    Dispatcher dispatcher;
    CursorKeeper keeper;
    EarlyHints early{EarlyHints::Options{.wait = Milliseconds(50), .session_bytes = 2'000}};
    DeliveryContext context;
  };

  // -- the store
  // Something that this kind of store suffers from has happened.
  virtual bool disturb() { return false; }
  virtual void trim() {}
  virtual void heal() = 0;
  virtual bool pump() = 0;                                  // what is due by the clock; false: nothing was
  virtual bool quiet() const = 0;                           // nothing is under way in the store
  virtual void answered(std::span<const AppendOutcome>) {}  // before anybody knows
  virtual void telling(std::span<const InboxNews>) {}
  // What a position of the device's user claims of a conversation, and where his inbox ends.
  virtual std::uint64_t seq_at(const SimDevice& device, const ConversationId& conversation, InboxPosition position) = 0;
  virtual InboxPosition newest(const SimDevice& device) = 0;
  virtual bool is_trimmed(const ConversationId& conversation, MessageSeq seq) = 0;

  int chance(int below) { return std::uniform_int_distribution<>(0, below - 1)(random_); }
  bool happens(double share) { return std::uniform_real_distribution<>(0, 1)(random_) < share; }
  template <class C>
  typename C::value_type& pick(C& from) {
    return *std::next(from.begin(), chance(static_cast<int>(from.size())));
  }
  Node& node_of(const SimSession& session) { return *nodes_[session.node]; }
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
    node_of(*session).timelines.append({&request, 1});
  }

  std::string peer() { return "peer" + std::to_string(chance(kPeers)); }

  // Peers write to one user in turn, from wherever they are: what a device that was away finds interleaves, or is a lot of one
  // conversation.
  void burst() {
    const UserId user = pick(devices_).user;
    std::vector<std::string> peers(static_cast<std::size_t>(1 + chance(kPeers)));
    for (std::string& one : peers) one = peer();
    for (int round = 1 + chance(12); round > 0; --round) {
      for (const std::string& from : peers) write(from, user);
    }
  }
  // By a session nobody waits for, on any node.
  void write(const std::string& from, const UserId& to) {
    AppendRequest request;
    const std::string id = from + "#" + std::to_string(++peers_sent_);
    request.message = Message::create({private_conversation(from, to.view()).view(), from, id, {}, from});
    pick(nodes_)->timelines.append({&request, 1});
  }

  bool all_live() {
    return std::ranges::all_of(devices_, [&](SimDevice& device) {
      SimSession* const session = session_of(device);
      return session != nullptr && session->attached && session->delivery.caught_up();
    });
  }

  // Everybody is online, reads and acks.
  void calm_round(Milliseconds time, bool with_heartbeats) {
    close_ended();
    for (SimDevice& device : devices_) {
      if (session_of(device) == nullptr) connect(device);
    }
    pass_time(time);
    while (any_mail()) deliver();
    for (auto& [ref, session] : sessions_) {
      while (!session->queue.empty()) read_socket(*session);
      ack_all(*session);
      if (with_heartbeats && session->attached) session->delivery.on_heartbeat();
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

  bool any_mail() const {
    return std::ranges::any_of(nodes_, [](const auto& node) {
      return std::ranges::any_of(node->mailboxes, [](const SimMailbox& mailbox) { return !mailbox.queue.empty(); });
    });
  }

  void deliver() {
    const auto number = static_cast<std::size_t>(chance(static_cast<int>(nodes_.size())));
    Node& node = *nodes_[number];
    SimMailbox& mailbox = pick(node.mailboxes);
    for (int batches = chance(8); batches >= 0 && !mailbox.queue.empty(); --batches) {
      DeliveryBatch batch = std::move(mailbox.queue.front());
      mailbox.queue.pop_front();
      for (const AppendOutcome& sent : batch.acks) {
        const auto at = sessions_.find(sent.reply.connection);
        if (at != sessions_.end() && !sent.refused) at->second->delivery.on_sent(sent.message->conversation(), sent.seq);
      }
      for (const Hint& hint : batch.hints) {
        const auto at = sessions_.find(hint.connection);
        if (at == sessions_.end()) continue;
        const std::size_t early = node.early.bytes();
        at->second->delivery.on_hint(hint);
        if (node.early.bytes() > early) ++bounds_.early;
      }
    }
    if (!std::exchange(mailbox.hints_lost, false)) return;
    for (auto& [ref, session] : sessions_) {
      if (session->node == number && &node.mailboxes[worker_of(ref)] == &mailbox) session->delivery.compare();
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
    EXPECT_TRUE(is_trimmed(gap.conversation, gap.gap.to)) << "a gap where nothing was trimmed";
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
    // As Claims::judge.
    if (seq > head) {
      EXPECT_TRUE(put_back_) << device.name << " acks what is not there";
      to_reset_.insert(&device);
    }
  }

  // Sessions of devices that have claimed what is not there, and those of an epoch that is over.
  void close_ended() {
    for (SimDevice* device : std::exchange(to_reset_, {})) {
      nodes_.front()->keeper.keep({device->user, device->device, DeviceCursor{}});
      marked_.insert(device);
      if (SimSession* session = session_of(*device)) end(*session);
    }
    if (store_epoch() == epoch_) return;
    EXPECT_TRUE(put_back_);
    epoch_ = store_epoch();
    std::vector<SimSession*> ended;
    for (auto& [ref, session] : sessions_) {
      if (session->attached && session->epoch != epoch_) ended.push_back(session.get());
    }
    for (SimSession* session : ended) {
      keep(*session);
      end(*session);
    }
  }
  Epoch store_epoch() const { return nodes_.front()->timelines.epoch(); }
  void keep(SimSession& session) { node_of(session).keeper.keep({session.device.user, session.device.device, checked_cursor(session)}); }

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
    pass_time(DeliveryOptions().retransmit_after * (1 + chance(3)));
    for (auto& [ref, session] : sessions_) {
      if (session->attached) session->delivery.on_heartbeat();
    }
  }

  void connect(SimDevice& device) {
    std::optional<DeviceCursor> inherited;
    const auto number = static_cast<std::size_t>(chance(static_cast<int>(nodes_.size())));
    if (SimSession* old = session_of(device)) {
      if (!old->attached) return;
      if (happens(0.5)) inherited = checked_cursor(*old);
      end(*old);
    }
    if (device.last_node && *device.last_node != number) ++bounds_.moves;
    device.last_node = number;
    Node& node = *nodes_[number];
    const std::uint16_t worker = static_cast<std::uint16_t>(chance(kWorkers));
    const ConnectionRef ref = std::uint64_t{worker} << 54 | ++connections_;
    auto session = std::make_unique<SimSession>(device, ref, node.context, faults_.queue_bound);
    session->node = number;
    EXPECT_TRUE(node.registry.add(device.user.view(), device.device.view(), ref)->empty());
    node.timelines.begin_session(session->session_key);
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
    spawn(attach(this, &node, ref, std::move(request)));
  }

  static Task<void> attach(SimWorld* world, Node* node, ConnectionRef ref, AttachRequest request) {
    auto attachment = co_await node->keeper.attach(std::move(request));
    auto at = world->sessions_.find(ref);
    if (at == world->sessions_.end()) co_return;
    if (!attachment.ok() || attachment->cursor.epoch != node->timelines.epoch()) {
      world->end(*at->second);
      co_return;
    }
    if (attachment->resume == Resume::Reset) world->forget(*at->second, attachment->cursor);
    std::optional<NewsPage> ahead;
    if (world->happens(0.5)) {  // as connect does, to name it in its reply
      NewsQuery query = SessionDelivery::first_page(node->context.options, at->second->device.user, attachment->cursor.position);
      auto read = co_await node->inboxes.news_since(std::move(query));
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
            at != cursor.exceptions.end() ? at->second.value() : seq_at(device, conversation, cursor.position);
      }
      device.met = true;
    }
    check(device, cursor.position, &cursor.exceptions);
    session.epoch = cursor.epoch;
    if (cursor.exceptions.size() >= node_of(session).context.options.max_flights) ++bounds_.exceptions;
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
      device.conversations[conversation].baseline = seq_at(device, conversation, cursor.position);
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
    Node& node = node_of(session);
    node.registry.remove(session.device.user.view(), session.connection);
    spawn(node.timelines.end_session(session.session_key));
    sessions_.erase(session.connection);
  }

  void save_cursors() {
    for (auto& [ref, session] : sessions_) {
      if (session->attached && session->delivery.changed()) keep(*session);
    }
    for (auto& node : nodes_) {
      spawn([](CursorKeeper* keeper) -> Task<void> { ignore(co_await keeper->save()); }(&node->keeper));
    }
  }

  void take_token() {
    SimSession* session = any_session();
    if (session == nullptr || !session->attached) return;
    const auto position = session->delivery.token_position();
    if (!position) return;
    check(session->device, *position, nullptr);
    session->device.token = SyncToken{session->epoch, position, *position, clock_.wall(), node_of(*session).inboxes.run()};
  }

  void pass_time(Milliseconds time) {
    for (Milliseconds step = time / 10; time.count() > 0; time -= step) {
      step = std::max(step, Milliseconds(1));
      clock_.advance(step);
      while (pump()) {
      }
      for (auto& node : nodes_) {
        for (SessionDelivery* session : node->early.overdue(node->context.now_ms())) {
          ++bounds_.overdue;
          session->on_overdue();
        }
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
  void check(SimDevice& device, InboxPosition position, const std::map<ConversationId, MessageSeq>* exceptions) {
    for (const auto& [conversation, records] : truth_.timelines) {
      if (!parse_private(conversation.view())->has(device.user.view())) continue;
      std::uint64_t claimed = seq_at(device, conversation, position);
      if (exceptions != nullptr && exceptions->contains(conversation)) claimed = exceptions->at(conversation).value();
      EXPECT_LE(claimed, device.covered(truth_, conversation))
          << device.name << " at " << position.value() << (exceptions != nullptr ? " (cursor)" : " (token)") << " in "
          << conversation.view();
    }
  }

  bool settled() {
    if (!to_reset_.empty() || store_epoch() != epoch_) return false;
    if (!quiet() || any_mail()) return false;
    for (SimDevice& device : devices_) {
      SimSession* session = session_of(device);
      if (session == nullptr || !session->attached || !session->queue.empty() || !session->delivery.caught_up()) return false;
      if (session->delivery.cursor().position != newest(device) || !session->delivery.cursor().exceptions.empty()) return false;
    }
    return true;
  }

  std::mt19937_64 random_;
  Faults faults_;
  ManualClock clock_;
  ServerMetrics metrics_;
  Truth truth_;
  DeliveryBounds bounds_;
  DeviceTurns turns_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::deque<SimDevice> devices_;
  std::map<ConnectionRef, std::unique_ptr<SimSession>> sessions_;
  Epoch epoch_;                        // as far as the sessions were told
  std::set<SimDevice*> to_reset_;      // devices that claimed what is not there, until the next step
  std::set<const SimDevice*> marked_;  // that are to be told; as DetachedCursors keeps them
  bool put_back_ = false;
  double shows_ = 0.5;  // of the conversations that a device has on its screen when it connects
  std::uint64_t resets_ = 0;
  std::uint64_t connections_ = 0;
  std::uint64_t peers_sent_ = 0;
  int send_share_ = 0;  // percent of the steps: some worlds mostly idle, some overload every socket
};

}  // namespace dunlin
