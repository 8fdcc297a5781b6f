#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "messaging/delivery/dispatcher.h"
#include "net/admission.h"
#include "net/connection_set.h"
#include "session/auth/token_minter.h"
#include "session/connection_ref.h"
#include "session/session_host.h"
#include "storage/memory/memory_message_store.h"
#include "storage/memory/memory_state_store.h"

namespace dunlin {

// A worker with its session host that the test turns by hand, a manual clock, the memory stores, and clients that speak JSON lines over one
// end of a socketpair. The store answers sends when the test says so.
class OneHost {
 public:
  explicit OneHost(const SessionOptions& session_options = {}) : options(std::make_shared<const SessionOptions>(session_options)) {
    shared.admission = &admission;
    store.set_listener(&dispatcher);
    connections = std::make_unique<ConnectionSet>(worker, shared);
    host = std::make_unique<SessionHost>(worker, *connections, services, mailbox, options);
    services.hosts.push_back(host.get());
    listening.options.transport = Transport::Tcp;
    listening.handlers = {host.get()};
  }
  ~OneHost() {
    worker.stop();
    connections.reset();
    host.reset();
    for (const int fd : clients) ::close(fd);
  }

  // The index of a new client.
  std::size_t open() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    clients.push_back(ends[1]);
    connections->adopt(ends[0], listening, {IpAddress::parse("127.0.0.1").value(), 1234});
    worker.poll();
    return clients.size() - 1;
  }
  void say(std::size_t client, std::string line) {
    line += '\n';
    EXPECT_EQ(::send(clients[client], line.data(), line.size(), MSG_NOSIGNAL), static_cast<ssize_t>(line.size()));
    turn();
  }
  // What the client has heard since the last call.
  std::string hear(std::size_t client) {
    turn();
    std::string all;
    char buffer[65536];
    for (ssize_t got = ::recv(clients[client], buffer, sizeof buffer, 0); got > 0;
         got = ::recv(clients[client], buffer, sizeof buffer, 0)) {
      all.append(buffer, static_cast<std::size_t>(got));
    }
    return all;
  }
  // The connections of the device break.
  void cut(std::string_view user, std::string_view device) {
    for (const ConnectionRef ref : registry.sessions_of(user, device)) host->find(connection_handle(ref))->connection.abort();
    turn();
  }
  // Asks to connect; whether that is answered, and how, hear() tells.
  std::size_t connect(std::string_view user, std::string_view device) {
    const std::size_t client = open();
    const std::string token = *mint_token(*keys, {.user = UserId(user), .key_id = {}, .issuer = {}, .audience = {}}, clock.wall());
    say(client, R"({"id":1,"connect":{"token":")" + token + R"(","device":")" + std::string(device) + "\"}}");
    return client;
  }
  void send(std::size_t client, std::string_view to, std::string_view id) {
    say(client, R"({"id":2,"send":{"to":")" + std::string(to) + R"(","client_msg_id":")" + std::string(id) + R"(","body":1}})");
  }
  void pass(Milliseconds time) {
    clock.advance(time);
    turn();
  }
  // The store answers all sends that it has.
  void answer_sends() {
    clock.advance(kHeld);
    while (store.pump()) turn();
    turn();
  }
  void turn() {
    for (int i = 0; i < 4; ++i) worker.poll();
  }

  static constexpr Milliseconds kHeld{1};
  static MemoryStoreOptions store_options(const Clock& clock) {
    MemoryStoreOptions out;
    out.clock = &clock;
    out.append_delay = kHeld;
    return out;
  }
  static std::shared_ptr<const auth::KeySet> one_key() {
    auth::KeySpec key;
    key.id = "k";
    key.secret = "a secret of at least thirty-two bytes";
    return auth::KeySet::create({&key, 1}).value();
  }

  const std::shared_ptr<const SessionOptions> options;
  const std::shared_ptr<const auth::KeySet> keys = one_key();
  ManualClock clock;
  ServerMetrics metrics;
  Worker worker{0, clock};
  MemoryMessageStore store{store_options(clock)};
  MemoryStateStore state{store};
  SessionRegistry registry;
  DeliveryMailbox mailbox{worker, std::size_t{1} << 20, metrics.hints_dropped_total};
  Dispatcher dispatcher{registry, {&mailbox}};
  auth::Authenticator authenticator{keys, {}};
  UserRate user_rate;
  DetachedCursors detached;
  DeviceTurns device_turns;
  SyncTokenMinter sync_tokens{SipKey{1, 2}};
  SessionServices services{clock,     store,    store,        state,       authenticator, registry, dispatcher,
                           user_rate, detached, device_turns, sync_tokens, metrics,       {}};
  Admission admission{{}};
  NetShared shared;
  Listening listening;
  std::unique_ptr<ConnectionSet> connections;
  std::unique_ptr<SessionHost> host;
  std::vector<int> clients;
};

}  // namespace dunlin
