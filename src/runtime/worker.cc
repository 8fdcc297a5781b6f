#include "runtime/worker.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <string>
#include <thread>

#include "base/check.h"
#include "base/thread_annotations.h"
#include "runtime/completion.h"
#include "runtime/spawn.h"

namespace dunlin {
namespace {

thread_local Worker* current_worker = nullptr;

constexpr int kEventsPerTurn = 256;
constexpr std::uint32_t kTurnsBetweenAsio = 8;  // while sockets keep the worker busy
constexpr Milliseconds kLongestBlock{500};

// Jobs from other threads, and from the worker for a later turn: these are never refused, for what is lost of them would never go on.
class JobQueue final : public Inlet {
 public:
  JobQueue(Worker& worker, std::size_t bound) : worker_(worker), bound_(bound) {}

  bool push(Job job, bool from_others) EXCLUDES(mutex_) {
    bool first = false;
    {
      MutexLock lock(mutex_);
      if (from_others && jobs_.size() >= bound_) return false;
      first = jobs_.empty();
      jobs_.push_back(std::move(job));
    }
    if (first) worker_.wake();
    return true;
  }
  bool empty() const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return jobs_.empty() && !running_;
  }
  void drain() override EXCLUDES(mutex_) {
    std::vector<Job> batch;
    {
      MutexLock lock(mutex_);
      if (jobs_.empty()) return;
      batch.swap(jobs_);
      running_ = true;
    }
    for (Job& job : batch) job();
    batch.clear();
    MutexLock lock(mutex_);
    running_ = false;
  }

 private:
  Worker& worker_;
  const std::size_t bound_;
  mutable Mutex mutex_;
  std::vector<Job> jobs_ GUARDED_BY(mutex_);
  bool running_ GUARDED_BY(mutex_) = false;
};

// Swallows the wake-up's counter; the work itself is found by the flag.
class WakeEvent final : public Pollable {
 public:
  explicit WakeEvent(int fd) : fd_(fd) {}
  void on_ready(std::uint32_t) override {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(fd_, &count, sizeof count);
  }

 private:
  int fd_;
};

}  // namespace

struct Worker::Loop {
  Loop(Worker& worker, std::size_t queued_jobs, int epoll_fd, int wake_fd)
      : work(io.get_executor()), sockets(io, epoll_fd), jobs(worker, queued_jobs), wake_event(wake_fd) {}

  boost::asio::io_context io{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work;
  boost::asio::posix::stream_descriptor sockets;  // owns the epoll descriptor
  JobQueue jobs;
  WakeEvent wake_event;
  std::thread thread;
};

Worker::Worker(std::uint16_t index, const Clock& clock, WorkerOptions options)
    : index_(index), clock_(clock), timers_(clock.monotonic()), now_(clock.monotonic()) {
  epoll_fd_ = ::epoll_create1(EPOLL_CLOEXEC);
  wake_fd_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  CHECK(epoll_fd_ >= 0 && wake_fd_ >= 0);  // before the process takes clients it has descriptors
  loop_ = std::make_unique<Loop>(*this, options.queued_jobs, epoll_fd_, wake_fd_);
  resume_queue_ = std::make_shared<ResumeQueue>(*this);
  last_turn_.store(now_.time_since_epoch().count(), std::memory_order_relaxed);
  CHECK(watch(wake_fd_, EPOLLIN, loop_->wake_event).ok());
}

Worker::~Worker() {
  stop();
  resume_queue_->close();
  loop_.reset();
  ::close(wake_fd_);
}

Worker* Worker::current() {
  return current_worker;
}

bool Worker::post(Job job) {
  if (ending_.load(std::memory_order_acquire)) return false;
  if (refusing_.load(std::memory_order_acquire) && current_worker != this) return false;
  return loop_->jobs.push(std::move(job), current_worker != this);
}

// The worker looks at the flag before it blocks, so that its own thread needs no system call.
void Worker::wake() {
  if (wake_pending_.exchange(true, std::memory_order_acq_rel)) return;
  if (current_worker == this) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = ::write(wake_fd_, &one, sizeof one);
}

void Worker::start() {
  CHECK(!loop_->thread.joinable());
  loop_->thread = std::thread([this] { run(); });
}

void Worker::refuse() {
  refusing_.store(true, std::memory_order_release);
}

bool Worker::drain(Milliseconds deadline) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  const bool threaded = loop_->thread.joinable();
  while (true) {
    if (!threaded) poll();
    if (live_tasks() == 0 && loop_->jobs.empty() && resume_queue_->empty()) return true;
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(Milliseconds(1));
  }
}

void Worker::stop() {
  refuse();
  ending_.store(true, std::memory_order_release);
  if (loop_->thread.joinable()) {
    wake_pending_.store(false, std::memory_order_release);
    wake();
    loop_->thread.join();
    return;
  }
  current_worker = this;
  destroy_frames();
  current_worker = nullptr;
}

void Worker::run() {
  current_worker = this;
  pthread_setname_np(pthread_self(), ("worker-" + std::to_string(index_)).c_str());
  while (!ending_.load(std::memory_order_acquire)) turn(true);
  run_hooks();
  destroy_frames();
  current_worker = nullptr;
}

void Worker::poll() {
  Worker* const outer = current_worker;
  current_worker = this;
  while (turn(false)) {
  }
  current_worker = outer;
}

// Gives whether there was anything to do.
bool Worker::turn(bool may_block) {
  now_ = clock_.monotonic();
  wall_.reset();
  last_turn_.store(now_.time_since_epoch().count(), std::memory_order_relaxed);
  bool busy = poll_sockets();
  busy |= drain_inlets();
  timers_.advance(now_);
  run_hooks();
  if (busy || wake_pending_.load(std::memory_order_acquire)) {
    if (!may_block || ++busy_turns_ % kTurnsBetweenAsio == 0) loop_->io.poll();
    return true;
  }
  if (may_block) {
    wait_in_asio();
    return true;
  }
  return loop_->io.poll() > 0;
}

WallTime Worker::wall() {
  if (!wall_) wall_ = clock_.wall();
  return *wall_;
}

bool Worker::poll_sockets() {
  std::array<epoll_event, kEventsPerTurn> events;
  const int count = ::epoll_wait(epoll_fd_, events.data(), kEventsPerTurn, 0);
  for (int i = 0; i < count; ++i) static_cast<Pollable*>(events[i].data.ptr)->on_ready(events[i].events);
  return count > 0;
}

bool Worker::drain_inlets() {
  if (!wake_pending_.load(std::memory_order_acquire)) return false;
  wake_pending_.exchange(false, std::memory_order_acq_rel);
  loop_->jobs.drain();
  resume_queue_->run_all();
  for (std::size_t i = 0; i < inlets_.size(); ++i) inlets_[i]->drain();
  return true;
}

void Worker::run_hooks() {
  for (std::size_t i = 0; i < hooks_.size(); ++i) hooks_[i]->end_of_turn();
}

// The epoll set was seen empty since the last wait was set up (or it is set up now, which looks again), so no event is missed although
// Asio watches the set edge-triggered.
void Worker::wait_in_asio() {
  if (!in_asio_wait_) {
    in_asio_wait_ = true;
    loop_->sockets.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                              [this](const boost::system::error_code&) { in_asio_wait_ = false; });
  }
  if (wake_pending_.load(std::memory_order_acquire) || ending_.load(std::memory_order_acquire)) return;
  MonotonicTime::duration wait = kLongestBlock;
  if (const MonotonicTime next = timers_.next_deadline(); next != MonotonicTime::max()) {
    wait = std::clamp<MonotonicTime::duration>(next - clock_.monotonic(), MonotonicTime::duration(0), wait);
  }
  loop_->io.run_one_for(wait);
}

void Worker::destroy_frames() {
  while (frames_) frames_->frame.destroy();  // its promise untracks it
}

boost::asio::io_context& Worker::io() {
  return loop_->io;
}

Status Worker::watch(int fd, std::uint32_t events, Pollable& target) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &target;
  if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) return errno_error("epoll_ctl", errno);
  return {};
}

void Worker::rewatch(int fd, std::uint32_t events, Pollable& target) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &target;
  CHECK(::epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) == 0);
}

void Worker::unwatch(int fd) {
  epoll_event event{};
  ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, &event);  // a descriptor that could not be watched is unwatched, too
}

void Worker::add_hook(TurnHook& hook) {
  hooks_.push_back(&hook);
}
void Worker::remove_hook(TurnHook& hook) {
  std::erase(hooks_, &hook);
}
void Worker::add_inlet(Inlet& inlet) {
  inlets_.push_back(&inlet);
}
void Worker::remove_inlet(Inlet& inlet) {
  std::erase(inlets_, &inlet);
}

void Worker::track(SpawnedFrame& frame) {
  frame.worker = this;
  frame.prev = nullptr;
  frame.next = frames_;
  if (frames_) frames_->prev = &frame;
  frames_ = &frame;
  live_tasks_.fetch_add(1, std::memory_order_relaxed);
}

void Worker::untrack(SpawnedFrame& frame) {
  (frame.prev ? frame.prev->next : frames_) = frame.next;
  if (frame.next) frame.next->prev = frame.prev;
  frame.worker = nullptr;
  live_tasks_.fetch_sub(1, std::memory_order_release);
}

}  // namespace dunlin
