#include "bench/load/pair_load.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <random>

namespace dunlin::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(SteadyClock::now().time_since_epoch().count());
}

constexpr std::string_view kBodyStart = R"({"n":")";
constexpr std::string_view kBodyEnd = R"(","text":"one body of sixty-four bytes, no more"})";
constexpr std::size_t kBodyDigits = 64 - kBodyStart.size() - kBodyEnd.size();

// A bijection (the finaliser of splitmix64), so that different numbers give different ids.
std::uint64_t scrambled(std::uint64_t value) {
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9U;
  value = (value ^ value >> 27) * 0x94d049bb133111ebU;
  return value ^ value >> 31;
}

void append_number(std::string& out, std::uint64_t value) {
  char digits[20];
  out.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

void append_body(std::string& out, std::uint64_t number) {
  char digits[20];
  const auto size = static_cast<std::size_t>(std::to_chars(digits, digits + sizeof digits, number).ptr - digits);
  out.append(kBodyStart);
  out.append(kBodyDigits - size, '0');
  out.append(digits, size);
  out.append(kBodyEnd);
}

}  // namespace

// Client 2i sends, client 2i + 1 receives.
PairLoad::PairLoad(LoadLoop& loop, const ServerProcess& server, PairOptions options)
    : Fleet(loop, server), options_(std::move(options)), pairs_(options_.pairs), seed_(std::random_device{}()) {
  for (std::uint32_t i = 0; i < options_.pairs; ++i) {
    pairs_[i].due_ns.resize(kTimes);
    add(fmt::format("{}s{}", options_.prefix, i));
    add(fmt::format("{}r{}", options_.prefix, i));
  }
}

Status PairLoad::connect_all() {
  return connect(0, size());
}

void PairLoad::reset_latency() {
  *ack_latency_ = {};
  *delivered_latency_ = {};
  *lateness_ = {};
}

void PairLoad::start_closed() {
  closed_ = true;
  for (std::uint32_t i = 0; i < pairs_.size(); ++i) keep_in_flight(i);
}

void PairLoad::run_closed(std::chrono::milliseconds duration) {
  run_closed(duration, [] {});
}

void PairLoad::run_open(double per_second, std::chrono::milliseconds duration) {
  closed_ = false;
  open_ = true;
  const double gap_ns = 1e9 / per_second;
  const std::uint64_t start = now_ns();
  const auto end = start + static_cast<std::uint64_t>(std::chrono::nanoseconds(duration).count());
  std::uint64_t count = 0;
  for (std::uint64_t now = start; now < end && problems() == 0; now = now_ns()) {
    for (;;) {
      const std::uint64_t due = start + static_cast<std::uint64_t>(static_cast<double>(count) * gap_ns);
      if (due > now) break;
      lateness_->record(now - due);
      send_next(static_cast<std::uint32_t>(count % pairs_.size()), due);
      ++count;
    }
    repeat_refused();
    send_due_acks(now);
    loop().turn(1);
  }
  open_ = false;
  send_due_acks(UINT64_MAX);
}

bool PairLoad::drain(std::chrono::milliseconds limit) {
  closed_ = false;
  const bool done = loop().run_for(limit, [&] {
    repeat_refused();
    return problems() > 0 || (totals_.acked == totals_.sent && totals_.delivered == totals_.sent);
  });
  return done && problems() == 0;
}

void PairLoad::keep_in_flight(std::uint32_t index) {
  const Pair& pair = pairs_[index];
  const std::uint64_t now = now_ns();
  while (closed_ && pair.refused == 0 && pair.sent - std::min(pair.acked, pair.delivered) < options_.in_flight) send_next(index, now);
}

void PairLoad::send_next(std::uint32_t index, std::uint64_t due_ns) {
  Pair& pair = pairs_[index];
  const LoadClient& sender = client(2 * index);
  if (!sender.connected || problems() > 0) return;
  const std::uint64_t number = pair.sent + 1;
  if (number - std::min(pair.acked, pair.delivered) >= kTimes) {
    report_problem(2 * index, "the server is thousands of messages behind the schedule");
    return;
  }
  pair.sent = number;
  ++totals_.sent;
  pair.due_ns[number % kTimes] = due_ns;
  if (pair.limited) return transmit_more(index);
  transmit(index, ++pair.transmitted);
}

void PairLoad::transmit(std::uint32_t index, std::uint64_t number) {
  const LoadClient& sender = client(2 * index);
  packet_.assign(R"({"id":)");
  append_number(packet_, number);
  packet_.append(R"(,"send":{"to":")").append(client(2 * index + 1).user).append(R"(","client_msg_id":")");
  if (options_.random_ids) {
    fmt::format_to(std::back_inserter(packet_), "{:016x}", scrambled(seed_ ^ (std::uint64_t{index} << 40) ^ number));
  } else {
    packet_.append(sender.session).push_back('-');
    append_number(packet_, number);
  }
  packet_.append(R"(","body":)");
  append_body(packet_, number);
  packet_.append("}}");
  sender.link->send(packet_);
}

// After one refusal all that follow it are refused too, until it is repeated.
bool PairLoad::on_client_error(std::uint32_t index, const ScannedPacket& packet) {
  if (index % 2 != 0 || packet.kind != "error" || member(packet.content, "temporary") != "true") return false;
  Pair& pair = pairs_[index / 2];
  if (packet.id != pair.acked + pair.refused + 1) return false;
  if (pair.refused++ == 0) refused_pairs_.push_back(index / 2);
  pair.limited = true;
  ++totals_.refused;
  const std::uint64_t pause_ms = as_number(member(packet.content, "retry_after_ms").value_or("")).value_or(0);
  pair.retry_ns = now_ns() + std::max<std::uint64_t>(pause_ms, 10) * 1'000'000;
  return true;
}

void PairLoad::repeat_refused() {
  if (refused_pairs_.empty()) return;
  const std::uint64_t now = now_ns();
  std::erase_if(refused_pairs_, [&](std::uint32_t index) {
    Pair& pair = pairs_[index];
    if (pair.acked + pair.refused != pair.transmitted || now < pair.retry_ns || !client(2 * index).connected) return false;
    pair.refused = 0;
    pair.transmitted = pair.acked;
    transmit_more(index);
    return true;
  });
}

// Behind a refusal a pair has no more than `in_flight` under way until it has caught up, as a client would: all at once would only be
// refused again.
void PairLoad::transmit_more(std::uint32_t index) {
  Pair& pair = pairs_[index];
  if (pair.refused != 0) return;
  while (pair.transmitted < pair.sent && pair.transmitted - pair.acked < options_.in_flight) transmit(index, ++pair.transmitted);
  pair.limited = pair.transmitted < pair.sent;
}

void PairLoad::on_client_packet(std::uint32_t index, const ScannedPacket& packet) {
  const bool is_sender = index % 2 == 0;
  if (is_sender && packet.kind == "send") {
    take_ack(index / 2, packet);
  } else if (!is_sender && packet.kind == "message") {
    take_message(index / 2, packet.content);
  } else if (packet.kind != "receipt" && packet.kind != "notice") {
    report_problem(index, fmt::format("an unexpected packet: {} {}", packet.kind, packet.content));
  }
}

void PairLoad::take_ack(std::uint32_t index, const ScannedPacket& packet) {
  Pair& pair = pairs_[index];
  std::uint64_t seq = 0;
  bool as_promised = false;
  bool duplicate = true;
  ObjectScanner members(packet.content);
  while (members.next()) {
    if (members.name() == "conversation" && pair.conversation.empty()) pair.conversation = members.value();
    if (members.name() == "seq") seq = as_number(members.value()).value_or(0);
    if (members.name() == "durability") as_promised = members.value() == R"("fsync")";
    if (members.name() == "duplicate") duplicate = members.value() != "false";
  }
  const std::uint64_t number = pair.acked + 1;
  if (packet.id != number || seq != number || duplicate || !as_promised) {
    report_problem(2 * index, fmt::format("message {} was acked as {} {}", number, packet.id.value_or(0), packet.content));
    return;
  }
  pair.acked = number;
  ++totals_.acked;
  ack_latency_->record(now_ns() - pair.due_ns[number % kTimes]);
  if (pair.limited) transmit_more(index);
  if (closed_) keep_in_flight(index);
}

void PairLoad::take_message(std::uint32_t index, std::string_view message) {
  Pair& pair = pairs_[index];
  std::uint64_t seq = 0;
  std::string_view from;
  std::string_view body;
  ObjectScanner members(message);
  while (members.next()) {
    if (members.name() == "conversation" && pair.conversation.empty()) pair.conversation = members.value();
    if (members.name() == "seq") seq = as_number(members.value()).value_or(0);
    if (members.name() == "from") from = as_raw_string(members.value());
    if (members.name() == "body") body = members.value();
  }
  packet_.clear();
  append_body(packet_, seq);
  if (seq == 0 || seq > pair.sent || body != packet_ || from != client(2 * index).user) {
    report_problem(2 * index + 1, fmt::format("a message that nobody sent: {}", message));
    return;
  }
  count_delivery(pair, seq);
  pair.ack_due = true;
  if (closed_) keep_in_flight(index);
}

void PairLoad::count_delivery(Pair& pair, std::uint64_t seq) {
  if (seq <= pair.delivered && pair.missing.erase(seq) == 0) {
    ++totals_.duplicated;
    return;
  }
  ++totals_.delivered;
  delivered_latency_->record(now_ns() - pair.due_ns[seq % kTimes]);
  if (seq < pair.delivered) {
    ++totals_.reordered;
    return;
  }
  for (std::uint64_t skipped = pair.delivered + 1; skipped < seq; ++skipped) pair.missing.insert(skipped);
  pair.delivered = seq;
}

void PairLoad::on_client_read_end(std::uint32_t index) {
  Pair& pair = pairs_[index / 2];
  if (index % 2 == 0 || !pair.ack_due || pair.ack_queued) return;
  if (!open_) return send_ack(index / 2);
  pair.ack_queued = true;
  due_acks_.push_back({index / 2, now_ns() + static_cast<std::uint64_t>(std::chrono::nanoseconds(kAckPause).count())});
}

void PairLoad::send_due_acks(std::uint64_t now) {
  for (; !due_acks_.empty() && due_acks_.front().due_ns <= now; due_acks_.pop_front()) send_ack(due_acks_.front().pair);
}

void PairLoad::send_ack(std::uint32_t index) {
  Pair& pair = pairs_[index];
  pair.ack_due = false;
  pair.ack_queued = false;
  const LoadClient& receiver = client(2 * index + 1);
  if (!receiver.connected) return;
  packet_.assign(R"({"ack":{"positions":[{"conversation":)").append(pair.conversation).append(R"(,"seq":)");
  append_number(packet_, pair.delivered);
  packet_.append("}]}}");
  receiver.link->send(packet_);
}

}  // namespace dunlin::bench
