#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "admin/health.h"
#include "base/thread_annotations.h"
#include "net/net_server.h"
#include "runtime/worker.h"
#include "server/accept_probe.h"
#include "server/engine.h"
#include "session/delivery_mailbox.h"
#include "session/session_host.h"

namespace dunlin {

// Proves all the time that the server can accept, store and deliver, and tells the three health checks. Each check has a thread of its own
// for what may hang, so that one which hangs turns only its own check red, by the age of its last result:
//  - accept: each port opens a connection for a client of ours (probe_port), each worker has opened one lately, every loop turns.
//  - store: its own health; sends are being answered; a read that a worker asks for comes back; and, on the disk's thread, a few bytes
//    beside the log are written, synced and read back.
//  - deliver: an empty batch through each worker's mailbox arrives.
// Owner: the node; stopped before anything that it looks at. stop() waits for a running probe: kAnswer at most, or for the disk.
class Prober {
 public:
  struct Targets {
    const Clock& clock;
    std::vector<Worker*> workers;
    std::vector<DeliveryMailbox*> mailboxes;  // by worker
    std::vector<SessionHost*> hosts;          // by worker
    std::vector<ProbedPort> ports;
    Engine* engine = nullptr;
    NetServer* net = nullptr;
  };
  explicit Prober(Targets targets);
  ~Prober();

  void start();
  void stop();
  // The ports are closed on purpose: no more probes of them.
  void ports_closed() { ports_open_.store(false, std::memory_order_relaxed); }

  const std::vector<const HealthCheck*> checks() const { return {&accept_, &store_, &deliver_}; }

  static constexpr Milliseconds kEvery{500};
  static constexpr Milliseconds kAtStart{10};    // until every probe has come back once
  static constexpr Milliseconds kStale{4'000};   // a result older than this, a loop or a send waiting longer, is red
  static constexpr Milliseconds kAnswer{3'000};  // for a client of ours at a port

 private:
  struct StoreRead;

  void run_accept();
  void run_disk();
  void run_light();
  bool wait_turn(Milliseconds pause) EXCLUDES(mutex_);
  static bool turns(const Worker& worker, MonotonicTime now);

  Status accepting();
  Status probe(const ProbedPort& port);
  bool all_workers_lately() const;
  Status storing() const EXCLUDES(mutex_);
  void ask_read();
  bool delivering();

  const Targets targets_;
  HealthCheck accept_;
  HealthCheck store_;
  HealthCheck deliver_;
  std::atomic<bool> ports_open_{true};
  std::atomic<MonotonicTime::rep> disk_proved_{0};

  // By worker: the count at the last look, and when it had risen.
  struct Evidence {
    std::uint64_t count = 0;
    MonotonicTime at{};
  };
  std::vector<Evidence> opened_;     // run_accept only
  std::vector<Evidence> delivered_;  // run_light only
  std::shared_ptr<StoreRead> read_;  // shared with the coroutine that reads
  std::size_t reader_ = 0;           // the worker that reads; run_light only

  mutable Mutex mutex_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::string disk_error_ GUARDED_BY(mutex_);
  std::thread accept_thread_;
  std::thread disk_;
  std::thread light_;
};

}  // namespace dunlin
