#include "server/prober.h"

#include <algorithm>

#include "base/log.h"
#include "runtime/spawn.h"

namespace dunlin {
namespace {

void report(HealthCheck& check, const Status& status) {
  if (status.ok()) return check.passed();
  check.failed(status.error().context());
}

MonotonicTime time_of(const std::atomic<MonotonicTime::rep>& ticks) {
  return MonotonicTime(MonotonicTime::duration(ticks.load(std::memory_order_acquire)));
}

}  // namespace

// One read at a time, asked for on a worker as a command would. While the worker has not begun it, it says nothing about the store.
struct Prober::StoreRead {
  std::atomic<bool> asked{false};
  std::atomic<MonotonicTime::rep> begun{0};  // 0: none is on its way
  std::atomic<bool> answered{false};         // once
  Mutex mutex;
  std::string error GUARDED_BY(mutex);

  // Of a user without devices, or with some: a look-up in the state's own storage either way.
  static Task<void> run(std::shared_ptr<StoreRead> self, DeviceStates* state) {
    const auto rows = co_await state->devices(UserId("probe"));
    {
      const MutexLock lock(self->mutex);
      self->error = rows.ok() ? "" : "reading: " + rows.error().context();
    }
    self->answered.store(true, std::memory_order_relaxed);
    self->begun.store(0, std::memory_order_release);
    self->asked.store(false, std::memory_order_release);
  }
};

Prober::Prober(Targets targets)
    : targets_(std::move(targets)),
      accept_("accept", kStale, targets_.clock),
      store_("store", kStale, targets_.clock),
      deliver_("deliver", kStale, targets_.clock),
      opened_(targets_.workers.size()),
      delivered_(targets_.hosts.size()),
      read_(std::make_shared<StoreRead>()) {}

Prober::~Prober() {
  stop();
}

void Prober::start() {
  for (Evidence& worker : delivered_) worker.at = targets_.clock.monotonic();
  accept_thread_ = std::thread([this] { run_accept(); });
  disk_ = std::thread([this] { run_disk(); });
  light_ = std::thread([this] { run_light(); });
}

void Prober::stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::thread* thread : {&light_, &accept_thread_, &disk_}) {
    if (thread->joinable()) thread->join();
  }
}

bool Prober::wait_turn(Milliseconds pause) {
  MutexLock lock(mutex_);
  if (!stopping_) changed_.wait_for(mutex_, pause);
  return !stopping_;
}

// A stalled worker is named by the other checks; what it owes says nothing about the store.
bool Prober::turns(const Worker& worker, MonotonicTime now) {
  return now - worker.last_turn() <= kStale;
}

// -- accept

void Prober::run_accept() {
  do {
    report(accept_, accepting());
  } while (wait_turn(kEvery));
}

Status Prober::accepting() {
  const MonotonicTime now = targets_.clock.monotonic();
  for (const Worker* worker : targets_.workers) {
    if (!turns(*worker, now)) return Error(ErrorCode::Timeout, fmt::format("worker {} does not turn", worker->index()));
  }
  if (!ports_open_.load(std::memory_order_relaxed) || targets_.ports.empty()) return {};
  if (targets_.net->full()) return Error(ErrorCode::Overloaded, "the server has the most connections allowed");
  for (const ProbedPort& port : targets_.ports) TRY(probe(port));
  // Which worker takes a connection is the kernel's choice: so as many as it needs, while one of them has had none lately.
  for (std::size_t tries = 4 * opened_.size() + 8; tries > 0 && !all_workers_lately(); --tries) {
    TRY(probe(targets_.ports[tries % targets_.ports.size()]));
  }
  for (std::size_t i = 0; i < opened_.size(); ++i) {
    if (targets_.clock.monotonic() - opened_[i].at > kStale) return Error(ErrorCode::Timeout, fmt::format("worker {} accepts nobody", i));
  }
  return {};
}

Status Prober::probe(const ProbedPort& port) {
  const Status answered = probe_port(*targets_.net, port, kAnswer);
  if (!ports_open_.load(std::memory_order_relaxed)) return {};
  TRY(answered);
  bool counted = false;
  for (std::size_t i = 0; i < opened_.size(); ++i) {
    const std::uint64_t count = targets_.net->probes_opened(static_cast<std::uint16_t>(i));
    if (count == opened_[i].count) continue;
    opened_[i] = {count, targets_.clock.monotonic()};
    counted = true;
  }
  if (!counted) return Error(ErrorCode::Io, port.bound.to_string() + ": closed before it was open");
  return {};
}

bool Prober::all_workers_lately() const {
  const MonotonicTime since = targets_.clock.monotonic() - kStale / 2;
  return std::all_of(opened_.begin(), opened_.end(), [&](const Evidence& worker) { return worker.at > since; });
}

// -- store

void Prober::run_disk() {
  do {
    const Status proved = targets_.engine->probe();
    const MonotonicTime now = targets_.clock.monotonic();
    MutexLock lock(mutex_);
    disk_error_ = proved.ok() ? "" : proved.error().context();
    disk_proved_.store(now.time_since_epoch().count(), std::memory_order_release);
  } while (wait_turn(kEvery));
}

Status Prober::storing() const {
  const StoreHealth health = targets_.engine->timelines().health();
  if (!health.writable || !health.readable) return Error(ErrorCode::StoreUnavailable, health.reason);
  const MonotonicTime now = targets_.clock.monotonic();
  for (std::size_t i = 0; i < targets_.hosts.size(); ++i) {
    const SessionHost& host = *targets_.hosts[i];
    if (host.unanswered_sends() > 0 && now - host.store_answered() > kStale && turns(*targets_.workers[i], now)) {
      return Error(ErrorCode::Timeout, "sends have waited for the store for seconds");
    }
  }
  const MonotonicTime begun = time_of(read_->begun);
  if (begun != MonotonicTime{} && now - begun > kStale && turns(*targets_.workers[reader_], now))
    return Error(ErrorCode::Timeout, "a read does not come back");
  {
    const MutexLock lock(read_->mutex);
    if (!read_->error.empty()) return Error(ErrorCode::StoreUnavailable, read_->error);
  }
  const MonotonicTime proved = time_of(disk_proved_);
  if (now - proved > kStale) return Error(ErrorCode::Timeout, "the disk does not answer");
  const MutexLock lock(mutex_);
  if (!disk_error_.empty()) return Error(ErrorCode::StoreUnavailable, disk_error_);
  return {};
}

void Prober::ask_read() {
  if (read_->asked.exchange(true, std::memory_order_acquire)) return;
  reader_ = (reader_ + 1) % targets_.workers.size();
  Worker& worker = *targets_.workers[reader_];
  const bool posted = worker.post([read = read_, state = &targets_.engine->devices(), clock = &targets_.clock] {
    read->begun.store(clock->monotonic().time_since_epoch().count(), std::memory_order_release);
    spawn(StoreRead::run(read, state));
  });
  if (!posted) read_->asked.store(false, std::memory_order_release);
}

// -- deliver

void Prober::run_light() {
  bool complete = false;  // every probe has come back once
  do {
    ask_read();
    const bool delivered = delivering();
    const bool stored = disk_proved_.load(std::memory_order_relaxed) != 0 && read_->answered.load(std::memory_order_relaxed);
    if (stored) report(store_, storing());
    complete = complete || (stored && delivered);
  } while (wait_turn(complete ? kEvery : kAtStart));
}

// Each round asks; what was asked in the one before is answered by now, or has kStale to be. True once each worker has answered one.
bool Prober::delivering() {
  const MonotonicTime now = targets_.clock.monotonic();
  std::string silent;
  bool complete = true;
  for (std::size_t i = 0; i < targets_.hosts.size(); ++i) {
    const std::uint64_t answered = targets_.hosts[i]->probes_answered();
    if (answered != delivered_[i].count) delivered_[i] = {answered, now};
    complete = complete && answered > 0;
    if (now - delivered_[i].at > kStale) silent += fmt::format("{}{}", silent.empty() ? "" : ", ", i);
    DeliveryBatch ask;
    ask.probe = true;
    static_cast<void>(targets_.mailboxes[i]->post(std::move(ask)));
  }
  if (!silent.empty()) {
    deliver_.failed("no answer from worker " + silent);
  } else if (complete) {
    deliver_.passed();
  }
  return complete;
}

}  // namespace dunlin
