#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "admin/health.h"
#include "base/thread_annotations.h"
#include "net/address.h"
#include "net/net_server.h"
#include "runtime/worker.h"
#include "server/engine.h"
#include "session/delivery_mailbox.h"
#include "session/session_host.h"

namespace dunlin {

// Proves all the time that the server can accept, store and deliver, and tells the three health checks. Two threads of its own: one that
// never touches the disk, and one that does and may hang there (its check turns red by the age of its last result).
//  - accept: every port takes a connection, every worker's loop has turned lately.
//  - store: its own health, sends are being answered, and a byte beside the log can be written and synced.
//  - deliver: an empty batch through each worker's mailbox arrives.
// Owner: the node; stopped before anything that it looks at.
class Prober {
 public:
  struct Targets {
    const Clock& clock;
    std::vector<Worker*> workers;
    std::vector<DeliveryMailbox*> mailboxes;  // by worker
    std::vector<SessionHost*> hosts;          // by worker
    std::vector<Endpoint> ports;
    Engine* engine = nullptr;
    const NetServer* net = nullptr;
  };
  explicit Prober(Targets targets);
  ~Prober();

  void start();
  void stop();
  // The ports are closed on purpose: no more probes of them.
  void ports_closed() { ports_open_.store(false, std::memory_order_relaxed); }

  const std::vector<const HealthCheck*> checks() const { return {&accept_, &store_, &deliver_}; }

  static constexpr Milliseconds kEvery{500};
  static constexpr Milliseconds kStale{4'000};  // a result older than this, a loop or a send waiting longer, is red

 private:
  void run_light();
  void run_disk();
  bool wait_turn() EXCLUDES(mutex_);
  Status accepting() const;
  Status storing() const EXCLUDES(mutex_);
  void probe_delivery();

  const Targets targets_;
  HealthCheck accept_;
  HealthCheck store_;
  HealthCheck deliver_;
  std::atomic<bool> ports_open_{true};
  std::atomic<MonotonicTime::rep> disk_proved_{0};
  std::vector<std::uint64_t> answered_;  // probes that each worker had answered at the last round

  mutable Mutex mutex_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::string disk_error_ GUARDED_BY(mutex_);
  std::thread light_;
  std::thread disk_;
};

}  // namespace dunlin
