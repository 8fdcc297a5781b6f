#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "bench/load/fleet.h"

namespace dunlin::bench {

// Fills timelines: a few senders that each work through a list of recipients with a bounded number of sends in flight, every ack
// checked. Temporary refusals (a store that has to catch up) are repeated in order. Used to prepare a scenario and as background traffic.
class BulkSender final : public Fleet {
 public:
  BulkSender(LoadLoop& loop, const ServerProcess& server, std::string prefix, std::uint32_t senders, std::uint32_t in_flight = 64);

  Status connect_all() { return connect(0, size()); }
  // Queues `count` messages with this JSON body from one sender.
  void queue(std::uint32_t sender, std::string to, std::uint32_t count, std::shared_ptr<const std::string> body);
  // Sends all that is queued; an error when an ack does not come in time or is wrong.
  Status send_all(std::chrono::milliseconds limit);
  // Sends what the windows allow now; for callers that turn the loop themselves.
  void pump();
  bool is_idle() const { return acked_ == queued_; }
  std::uint64_t acked() const { return acked_; }

 private:
  struct Job {
    std::string to;
    std::uint32_t left;
    std::shared_ptr<const std::string> body;
  };
  struct Sent {
    std::uint64_t number;  // of the message, and of its request
    std::string to;
    std::shared_ptr<const std::string> body;
    bool refused = false;
  };
  struct Sender {
    std::deque<Job> jobs;
    std::deque<Sent> window;  // not stored yet
    std::uint64_t sent = 0;
    std::size_t refused = 0;
    std::chrono::steady_clock::time_point retry_at{};
  };

  void fill(std::uint32_t index);
  void transmit(const LoadClient& from, const Sent& message);
  void repeat_refused(std::uint32_t index);
  void on_client_packet(std::uint32_t index, const ScannedPacket& packet) override;
  bool on_client_error(std::uint32_t index, const ScannedPacket& packet) override;

  const std::uint32_t in_flight_;
  std::vector<Sender> senders_;
  std::uint64_t queued_ = 0;
  std::uint64_t acked_ = 0;
  std::string packet_;
};

}  // namespace dunlin::bench
