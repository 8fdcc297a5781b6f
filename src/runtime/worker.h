#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "runtime/job.h"
#include "runtime/timer_wheel.h"

namespace boost::asio {
class io_context;
}

namespace dunlin {

class ResumeQueue;
struct SpawnedFrame;

// Something with a descriptor in a worker's epoll set. on_ready gets epoll events (EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR).
// It may be called once more in the turn in which it was unwatched, so it lives at least until the end of that turn.
class Pollable {
 public:
  virtual void on_ready(std::uint32_t events) = 0;

 protected:
  ~Pollable() = default;
};

// Called at the end of each loop turn, before the worker may block: the place to flush what the turn has gathered.
class TurnHook {
 public:
  virtual void end_of_turn() = 0;

 protected:
  ~TurnHook() = default;
};

// A queue into a worker that its wake() empties (see DeliveryMailbox).
class Inlet {
 public:
  virtual void drain() = 0;  // on the worker

 protected:
  ~Inlet() = default;
};

struct WorkerOptions {
  std::size_t queued_jobs = 65536;  // post() by others refuses beyond this many
};

// One event loop in one thread: client sockets in an epoll set of our own, which is one descriptor of the worker's Asio loop, beside
// everything else that Asio drives (acceptors of admin, signals, DNS). A connection, its session and its coroutines live on one worker.
//
// Owner: the composition root; it outlives everything that points at it, and every OffloadPool that resumes on it is stopped before.
// Turn: ready sockets → posted jobs, mailboxes, resumed coroutines → due timers → hooks → Asio handlers; it blocks at most 500 ms,
// so that last_turn() is never much older than that while the worker is healthy.
// Stop has two phases: refuse() makes post() and spawn-from-outside fail; drain() waits until coroutines and queues are empty; then
// stop() ends the loop, joins, and destroys coroutines that are still suspended (their offloaded results are dropped).
class Worker {
 public:
  Worker(std::uint16_t index, const Clock& clock, WorkerOptions options = {});
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // The worker whose thread this is, or null.
  static Worker* current();

  // -- any thread
  std::uint16_t index() const { return index_; }
  const Clock& clock() const { return clock_; }
  // Runs `job` on the worker, in order of posting. False (and the job is destroyed) when its queue is full or the worker refuses, both but
  // for the worker itself, or when it ends.
  [[nodiscard]] bool post(Job job);
  // Start of the last turn. Older than some seconds = the worker is stalled.
  MonotonicTime last_turn() const { return MonotonicTime(MonotonicTime::duration(last_turn_.load(std::memory_order_relaxed))); }
  std::size_t live_tasks() const { return live_tasks_.load(std::memory_order_relaxed); }
  // Makes the worker drain its inlets soon: one system call for a whole batch of pushes.
  void wake();

  // -- life, from the owner's thread
  void start();                       // runs the loop in a thread of its own
  void refuse();                      // phase 1
  bool drain(Milliseconds deadline);  // phase 2; false when the deadline passed first
  void stop();                        // idempotent
  // For tests without a thread: runs everything that is ready now on the calling thread, timers by clock() included; never blocks.
  void poll();

  // -- on the worker's thread, or before start()
  boost::asio::io_context& io();
  TimerWheel& timers() { return timers_; }
  MonotonicTime now() const { return now_; }  // read once a turn
  WallTime wall();                            // the same, when it is first asked for
  Status watch(int fd, std::uint32_t events, Pollable& target);
  void rewatch(int fd, std::uint32_t events, Pollable& target);
  void unwatch(int fd);
  void add_hook(TurnHook& hook);
  void remove_hook(TurnHook& hook);
  void add_inlet(Inlet& inlet);
  void remove_inlet(Inlet& inlet);

  // -- used by the coroutine types of this folder
  const std::shared_ptr<ResumeQueue>& resume_queue() const { return resume_queue_; }
  void track(SpawnedFrame& frame);
  void untrack(SpawnedFrame& frame);

 private:
  struct Loop;  // Asio's part

  void run();
  bool turn(bool may_block);
  bool poll_sockets();
  bool drain_inlets();
  void run_hooks();
  void wait_in_asio();
  void destroy_frames();

  // constant after construction
  const std::uint16_t index_;
  const Clock& clock_;
  std::unique_ptr<Loop> loop_;
  std::shared_ptr<ResumeQueue> resume_queue_;
  int epoll_fd_ = -1;
  int wake_fd_ = -1;

  // any thread
  std::atomic<bool> wake_pending_{false};
  std::atomic<bool> refusing_{false};
  std::atomic<bool> ending_{false};
  std::atomic<std::int64_t> last_turn_{0};
  std::atomic<std::size_t> live_tasks_{0};

  // worker only
  TimerWheel timers_;
  MonotonicTime now_;
  std::optional<WallTime> wall_;  // of this turn
  std::vector<TurnHook*> hooks_;
  std::vector<Inlet*> inlets_;
  SpawnedFrame* frames_ = nullptr;
  std::uint32_t busy_turns_ = 0;
  bool in_asio_wait_ = false;  // an async_wait on epoll_fd_ is pending
};

}  // namespace dunlin
