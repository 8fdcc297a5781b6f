#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "bench/histogram.h"
#include "bench/load/fleet.h"

namespace dunlin::bench {

struct PairOptions {
  std::uint32_t pairs = 500;
  std::uint32_t in_flight = 16;
  bool random_ids = false;  // else <session>-<n>
  std::string prefix;       // of the user names, so that several loads can share a server
};

// Pairs of users: in each, one sends 64-byte bodies and the other acks what arrives, cumulatively. Every message is checked:
// its ack (in order, dense seq, fsync, no duplicate) and its delivery (right body and sender, in order, once). A message is in flight until
// it was both acked and delivered.
//
// Closed: each pair keeps `in_flight` under way; latency counts from the send; receivers ack once a read. Open: messages leave by a
// schedule that does not wait for the server; latency counts from the time they were due, so a stall is charged to every message that it
// delayed; receivers ack kAckPause after the first message that is not acked, as the protocol asks of clients.
class PairLoad final : public Fleet {
 public:
  struct Totals {
    std::uint64_t sent = 0;
    std::uint64_t acked = 0;
    std::uint64_t delivered = 0;  // different messages
    std::uint64_t duplicated = 0;
    std::uint64_t reordered = 0;
    std::uint64_t refused = 0;  // temporarily, and repeated
    std::uint64_t lost() const { return acked > delivered ? acked - delivered : 0; }
  };

  PairLoad(LoadLoop& loop, const ServerProcess& server, PairOptions options);

  Status connect_all();
  void run_closed(std::chrono::milliseconds duration);
  // `more` is called every turn: for what else the scenario sends.
  template <class More>
  void run_closed(std::chrono::milliseconds duration, More more);
  void run_open(double per_second, std::chrono::milliseconds duration);
  // Sends nothing more and waits until all that was sent is acked and delivered; false if the limit came first.
  bool drain(std::chrono::milliseconds limit);

  const Totals& totals() const { return totals_; }
  const LatencyHistogram& ack_latency() const { return *ack_latency_; }
  const LatencyHistogram& delivered_latency() const { return *delivered_latency_; }
  const LatencyHistogram& lateness() const { return *lateness_; }  // open: from the time a message was due until it was sent
  void reset_latency();

 private:
  static constexpr std::size_t kTimes = 8192;  // of messages in flight in one pair
  static constexpr std::chrono::milliseconds kAckPause{100};

  struct DueAck {
    std::uint32_t pair;
    std::uint64_t due_ns;
  };

  struct Pair {
    std::string conversation;  // as it stands in JSON
    std::uint64_t sent = 0;    // messages are numbered 1, 2, 3, …; so are their seqs
    std::uint64_t acked = 0;
    std::uint64_t delivered = 0;  // highest
    std::set<std::uint64_t> missing;
    bool ack_due = false;
    bool ack_queued = false;        // in due_acks_
    std::uint64_t transmitted = 0;  // of those sent; the others wait behind a refusal
    std::uint64_t refused = 0;      // of those transmitted: the first ones behind `acked`
    bool limited = false;           // something was refused and it has not caught up yet
    std::uint64_t retry_ns = 0;
    std::vector<std::uint64_t> due_ns;  // by number modulo its size
  };

  void on_client_packet(std::uint32_t index, const ScannedPacket& packet) override;
  void on_client_read_end(std::uint32_t index) override;
  bool on_client_error(std::uint32_t index, const ScannedPacket& packet) override;
  void repeat_refused();
  void transmit(std::uint32_t pair, std::uint64_t number);
  void transmit_more(std::uint32_t pair);
  void take_ack(std::uint32_t pair, const ScannedPacket& packet);
  void take_message(std::uint32_t pair, std::string_view message);
  void send_ack(std::uint32_t pair);
  void send_due_acks(std::uint64_t now);
  void count_delivery(Pair& pair, std::uint64_t seq);
  void send_next(std::uint32_t pair, std::uint64_t due_ns);
  void keep_in_flight(std::uint32_t pair);
  void start_closed();

  const PairOptions options_;
  std::vector<Pair> pairs_;
  bool closed_ = false;
  bool open_ = false;
  std::deque<DueAck> due_acks_;  // open, by time
  Totals totals_;
  std::unique_ptr<LatencyHistogram> ack_latency_ = std::make_unique<LatencyHistogram>();
  std::unique_ptr<LatencyHistogram> delivered_latency_ = std::make_unique<LatencyHistogram>();
  std::unique_ptr<LatencyHistogram> lateness_ = std::make_unique<LatencyHistogram>();
  std::string packet_;
  std::uint64_t seed_ = 0;  // of random ids
  std::vector<std::uint32_t> refused_pairs_;
};

template <class More>
void PairLoad::run_closed(std::chrono::milliseconds duration, More more) {
  start_closed();
  loop().run_for(duration, [&] {
    more();
    repeat_refused();
    return problems() > 0;
  });
  closed_ = false;
}

}  // namespace dunlin::bench
