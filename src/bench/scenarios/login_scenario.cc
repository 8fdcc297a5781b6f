#include <fmt/format.h>

#include <algorithm>

#include "bench/limits/limits.h"
#include "bench/load/bulk_sender.h"
#include "bench/scenarios/scenarios.h"

namespace dunlin::bench {
namespace {

using std::chrono::seconds;
using SteadyClock = std::chrono::steady_clock;

constexpr std::uint32_t kConversations = 20;
constexpr std::uint32_t kBehind = 4;  // of them, at each login
constexpr std::uint32_t kMissed = 5;  // messages in each of these
constexpr std::uint32_t kSenders = 64;
constexpr std::uint32_t kAtOnce = 128;
constexpr std::uint32_t kRounds = 3;
constexpr std::uint64_t kAckId = 2;

// Users who log in, take what they missed, ack it and leave. A login is complete when the ack was answered.
class LoginFleet final : public Fleet {
 public:
  LoginFleet(LoadLoop& loop, const ServerProcess& server, std::uint32_t users) : Fleet(loop, server), visits_(users) {
    for (std::uint32_t i = 0; i < users; ++i) add(fmt::format("l{}", i));
  }

  // Every user logs in once. Each must get `conversations` conversations with the seqs first_seq … first_seq + messages - 1 each.
  Status log_in_all(std::uint32_t conversations, std::uint32_t messages, std::uint64_t first_seq, seconds limit) {
    expected_conversations_ = conversations;
    expected_messages_ = messages;
    first_seq_ = first_seq;
    std::uint32_t begun = 0;
    done_ = 0;
    Status failure;
    const bool finished = loop().run_for(limit, [&] {
      while (failure.ok() && begun < size() && begun - done_ < kAtOnce) {
        visits_[begun] = {};
        failure = begin(begun);
        ++begun;
      }
      return !failure.ok() || problems() > 0 || done_ == size();
    });
    TRY(std::move(failure));
    if (problems() > 0) return Error(ErrorCode::Io, problem());
    if (!finished) return Error(ErrorCode::Timeout, fmt::format("{} of {} logins completed in time", done_, size()));
    return {};
  }

 private:
  struct Seen {
    std::string conversation;  // as it stands in JSON
    std::uint64_t seq = 0;     // highest
  };
  struct Visit {
    std::vector<Seen> seen;
    std::uint32_t received = 0;
  };

  void on_client_packet(std::uint32_t index, const ScannedPacket& packet) override {
    if (packet.kind == "message") {
      take_message(index, packet.content);
    } else if (packet.kind == "ack" && packet.id == kAckId) {
      client(index).sync_token = as_raw_string(member(packet.content, "sync_token").value_or(""));
      visits_[index] = {};
      disconnect(index);
      ++done_;
    } else if (packet.kind != "receipt" && packet.kind != "notice") {
      report_problem(index, fmt::format("an unexpected packet: {} {}", packet.kind, packet.content));
    }
  }

  void take_message(std::uint32_t index, std::string_view message) {
    Visit& visit = visits_[index];
    const std::string_view conversation = member(message, "conversation").value_or("");
    const std::uint64_t seq = as_number(member(message, "seq").value_or("")).value_or(0);
    auto seen = std::find_if(visit.seen.begin(), visit.seen.end(), [&](const Seen& s) { return s.conversation == conversation; });
    if (seen == visit.seen.end()) {
      visit.seen.push_back({std::string(conversation), first_seq_ - 1});
      seen = visit.seen.end() - 1;
    }
    if (seq != seen->seq + 1 || seq >= first_seq_ + expected_messages_) {
      report_problem(index, fmt::format("seq {} came behind {} of {}", seq, seen->seq, conversation));
      return;
    }
    seen->seq = seq;
    ++visit.received;
  }

  void on_client_read_end(std::uint32_t index) override {
    Visit& visit = visits_[index];
    if (!client(index).connected || visit.received != expected_conversations_ * expected_messages_) return;
    if (visit.seen.size() != expected_conversations_) {
      report_problem(index, "messages came from another number of conversations");
      return;
    }
    std::string packet = fmt::format(R"({{"id":{},"ack":{{"positions":[)", kAckId);
    for (const Seen& seen : visit.seen) {
      fmt::format_to(std::back_inserter(packet), R"({}{{"conversation":{},"seq":{}}})", &seen == &visit.seen.front() ? "" : ",",
                     seen.conversation, seen.seq);
    }
    visit.received = 0;
    client(index).link->send(packet + "]}}");
  }

  std::vector<Visit> visits_;
  std::uint32_t expected_conversations_ = 0;
  std::uint32_t expected_messages_ = 0;
  std::uint64_t first_seq_ = 1;
  std::uint32_t done_ = 0;
};

// Which of the senders is user `user`'s peer number `slot`.
std::uint32_t peer_of(std::uint32_t user, std::uint32_t slot) {
  return (user + slot * 3) % kSenders;
}

}  // namespace

Status run_login(const BenchOptions& options, Report& report) {
  const auto users = std::max<std::uint32_t>(64, static_cast<std::uint32_t>(12'000 * options.scale));
  const auto raw_time = std::chrono::milliseconds(static_cast<int>(3000 * options.scale));
  progress("login", "system calls of a login before");
  TRY_ASSIGN(const RawLogins raw_before, raw_logins(raw_time));
  TRY_ASSIGN(ServerProcess server, ServerProcess::start(options));
  LoadLoop sender_loop(server.target(), server.path());
  LoadLoop login_loop(server.target(), server.path());
  BulkSender peers(sender_loop, server, "p", kSenders);
  LoginFleet fleet(login_loop, server, users);
  const auto body = std::make_shared<const std::string>(R"({"text":"what you missed"})");

  progress("login", fmt::format("{} users get 20 conversations each", users));
  TRY(peers.connect_all());
  for (std::uint32_t user = 0; user < users; ++user) {
    for (std::uint32_t slot = 0; slot < kConversations; ++slot) peers.queue(peer_of(user, slot), fleet.client(user).user, 1, body);
  }
  TRY(peers.send_all(seconds(60)));
  TRY(fleet.log_in_all(kConversations, 1, 1, seconds(60)));
  login_loop.clear();

  std::vector<double> rates;
  double cpu = 0;
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    for (std::uint32_t user = 0; user < users; ++user) {
      for (std::uint32_t k = 0; k < kBehind; ++k) {
        peers.queue(peer_of(user, round * kBehind + k), fleet.client(user).user, kMissed, body);
      }
    }
    TRY(peers.send_all(seconds(60)));
    sender_loop.run_for(seconds(1), [] { return false; });
    progress("login", fmt::format("round {} begins", round + 1));
    const double cpu_before = server.cpu_seconds();
    const auto start = SteadyClock::now();
    TRY(fleet.log_in_all(kBehind, kMissed, 2, seconds(60)));
    rates.push_back(users / std::chrono::duration<double>(SteadyClock::now() - start).count());
    cpu += server.cpu_seconds() - cpu_before;
    login_loop.clear();
    progress("login", fmt::format("round {}: {} logins/s", round + 1, readable(rates.back())));
  }
  report.check(peers.problem().empty(), peers.problem());
  const bool measurable = server.is_measurable();
  sender_loop.clear();
  if (const Status stopped = server.stop(); !stopped.ok()) report.check(false, stopped.error().context());

  progress("login", "system calls of a login after");
  TRY_ASSIGN(const RawLogins raw_after, raw_logins(raw_time));
  const double raw = (raw_before.per_cpu_s + raw_after.per_cpu_s) / 2;
  report.add("logins_per_s", median(rates), "logins/s: TCP, upgrade, connect, 20 missed messages, ack");
  report.add("raw_logins_per_s", (raw_before.per_s + raw_after.per_s) / 2, "system calls of a login alone, logins/s, before and after");
  report.add("raw_logins_per_cpu_s", raw, "the same a second of the server thread's CPU");
  if (measurable) {
    const double per_cpu_s = users * kRounds / cpu;
    report.add("logins_per_cpu_s", per_cpu_s, "logins a second of server CPU", Report::Budget::AtLeast, 20'000);
    report.add("ratio", per_cpu_s / raw, "ratio to the system calls of a login alone, by CPU");
  }
  return {};
}

}  // namespace dunlin::bench
