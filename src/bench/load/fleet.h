#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "bench/load/link.h"
#include "bench/load/server_process.h"

namespace dunlin::bench {

// A user's device in a benchmark.
struct LoadClient {
  std::string user;
  std::string token;
  std::string sync_token;  // sent with connect when not empty; afterwards the one of the connect reply
  std::string session;
  std::uint64_t heartbeat_ms = 0;
  Link* link = nullptr;
  bool connected = false;  // the connect reply came
};

// Many clients on one loop: connects them, a bounded number at a time, and hands their packets on by client index. A connection that ends
// although nobody closed it, and every error reply that a subclass does not take, is a problem that self-checks report.
class Fleet : public LinkEvents {
 public:
  static constexpr std::uint64_t kConnectId = 1;
  static constexpr std::string_view kDevice = "bench";

  Fleet(LoadLoop& loop, const ServerProcess& server) : loop_(loop), server_(server) {}

  // Adds a client that is not connected yet; returns its index.
  std::uint32_t add(std::string user);
  // Connects clients [first, first + count), `at_once` under way at a time.
  Status connect(std::uint32_t first, std::uint32_t count, LinkOptions options = {}, std::uint32_t at_once = 256,
                 std::chrono::milliseconds limit = std::chrono::seconds(60));
  // Begins to connect one and returns.
  Status begin(std::uint32_t index, LinkOptions options = {});
  void disconnect(std::uint32_t index);

  LoadClient& client(std::uint32_t index) { return clients_[index]; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(clients_.size()); }
  std::uint32_t connected() const { return connected_; }
  const std::string& problem() const { return problem_; }  // the first one; empty: none
  std::uint64_t problems() const { return problems_; }

 protected:
  virtual void on_connected(std::uint32_t) {}
  virtual void on_client_packet(std::uint32_t, const ScannedPacket&) {}
  virtual void on_client_read_end(std::uint32_t) {}
  // True: the subclass deals with this error reply, and it is no problem.
  virtual bool on_client_error(std::uint32_t, const ScannedPacket&) { return false; }

  void report_problem(std::uint32_t index, std::string_view what);
  LoadLoop& loop() { return loop_; }

 private:
  void on_open(Link& link) override;
  void on_packet(Link& link, const ScannedPacket& packet) override;
  void on_read_end(Link& link) override { on_client_read_end(link.tag()); }
  void on_closed(Link& link, std::string_view reason) override;
  void take_connect_reply(std::uint32_t index, std::string_view reply);

  LoadLoop& loop_;
  const ServerProcess& server_;
  std::vector<LoadClient> clients_;
  std::uint32_t connected_ = 0;
  std::string problem_;
  std::uint64_t problems_ = 0;
};

}  // namespace dunlin::bench
