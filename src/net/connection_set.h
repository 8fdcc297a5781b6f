#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "codec/bytes.h"
#include "net/admission.h"
#include "net/connection.h"
#include "net/counters.h"
#include "net/listener_options.h"
#include "net/probe_sources.h"
#include "net/write_queue.h"
#include "runtime/worker.h"

namespace dunlin {

class TlsContext;

// A port's constant settings, shared by all its connections; lives as long as the NetServer.
struct Listening {
  ListenerOptions options;
  WsLimits ws_limits;
  std::vector<ConnectionHandler*> handlers;  // one for each worker
};

// What the connection sets of all workers have in common.
struct NetShared {
  NetOptions options;
  std::atomic<std::uint64_t> incomplete_bytes{0};
  std::atomic<std::uint64_t> live{0};          // of clients: probes of our own take no place
  std::atomic<std::uint64_t> most_live{0};     // since memory was given back last
  std::atomic<std::uint32_t> surplus{0};       // beyond them: connections that are here to be told that they are too many
  std::atomic<std::uint64_t> header_bytes{0};  // of incomplete upgrade requests
  std::atomic<std::shared_ptr<TlsContext>> tls;
  Admission* admission = nullptr;
  ProbeSources probes;
};

// The connections of one worker, in slots that are reused and given back by the chunk when asked (give_back), with what they share: the
// read buffer, recycled write queues, the lists of those to flush and to end at the end of the turn. Worker-bound but for counters().
class ConnectionSet final : public TurnHook {
 public:
  static constexpr std::uint32_t kMostSurplus = 64;  // of the whole process, beyond NetOptions::max_connections

  ConnectionSet(Worker& worker, NetShared& shared);
  ~ConnectionSet();
  ConnectionSet(const ConnectionSet&) = delete;
  ConnectionSet& operator=(const ConnectionSet&) = delete;

  // The connection while it is open, else null. Valid until the end of the turn.
  Connection* find(ConnectionHandle handle);
  // The same until its on_close has been called.
  Connection* find_until_closed(ConnectionHandle handle);
  // Takes a connected non-blocking stream socket (an accepted one, or a test's end of a socketpair), counted by admission or not. When the
  // server or the peer's address has as many connections as allowed, it is taken to be told that, if fewer than kMostSurplus are; else, or
  // when another limit refuses, fd is closed and null returned.
  Connection* adopt(int fd, const Listening& listening, const Endpoint& peer);
  // Calls fn(Connection&) for each open connection; fn may close it.
  template <class F>
  void for_each_open(F&& fn) {
    for (std::uint32_t slot = 0; slot < slots(); ++slot) {
      if (Connection* connection = at(slot); connection != nullptr && connection->open()) fn(*connection);
    }
  }
  void close_all(ErrorCode code);

  // Gives the memory of chunks in which no slot is taken back to the allocator. What was in them stays as stale as before.
  void give_back();
  std::size_t slots_in_memory() const;

  Worker& worker() { return worker_; }
  NetCounters& counters() { return counters_; }
  const NetCounters& counters() const { return counters_; }

  void end_of_turn() override;

 private:
  friend class Connection;
  friend class Opening;
  static constexpr std::uint32_t kChunk = 256;

  friend class Listener;

  std::optional<Refusal> judge(const IpAddress& peer, Admission::Verdict& verdict);
  bool take_surplus(Refusal refusal);
  struct Chunk {
    Connection* slots = nullptr;  // kChunk of them, null while it is given back
    std::uint32_t taken = 0;
    std::uint32_t generation = 1;  // of its slots, when it comes into memory
  };

  std::uint32_t slots() const { return static_cast<std::uint32_t>(chunks_.size()) * kChunk; }
  Connection* at(std::uint32_t slot);  // null where the chunk is given back
  void add_chunk();
  void drop(Chunk& chunk);
  void release(Connection& connection);
  std::unique_ptr<WriteQueue> take_queue();
  void give_queue(std::unique_ptr<WriteQueue> queue);
  void end_connections();

  Worker& worker_;
  NetShared& shared_;
  NetCounters counters_;
  std::uint8_t timer_kind_ = 0;
  std::vector<Chunk> chunks_;
  std::vector<std::uint32_t> free_slots_;
  std::vector<Connection*> dirty_;
  std::vector<Connection*> ending_;
  std::vector<Connection*> dirty_batch_;
  std::vector<std::unique_ptr<WriteQueue>> spare_queues_;
  std::unique_ptr<char[]> read_buffer_;
};

}  // namespace dunlin
