#include "server/prober.h"

#include "base/log.h"
#include "server/accept_probe.h"

namespace dunlin {
namespace {

constexpr Milliseconds kConnectDeadline{1'000};

void report(HealthCheck& check, const Status& status) {
  if (status.ok()) return check.passed();
  check.failed(status.error().context());
}

}  // namespace

Prober::Prober(Targets targets)
    : targets_(std::move(targets)),
      accept_("accept", kStale, targets_.clock),
      store_("store", kStale, targets_.clock),
      deliver_("deliver", kStale, targets_.clock),
      answered_(targets_.hosts.size(), 0) {}

Prober::~Prober() {
  stop();
}

void Prober::start() {
  disk_ = std::thread([this] { run_disk(); });
  light_ = std::thread([this] { run_light(); });
}

void Prober::stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (light_.joinable()) light_.join();
  if (disk_.joinable()) disk_.join();
}

bool Prober::wait_turn() {
  MutexLock lock(mutex_);
  if (!stopping_) changed_.wait_for(mutex_, kEvery);
  return !stopping_;
}

void Prober::run_light() {
  do {
    report(accept_, accepting());
    report(store_, storing());
    probe_delivery();
  } while (wait_turn());
}

void Prober::run_disk() {
  do {
    const Status proved = targets_.engine->probe();
    const MonotonicTime now = targets_.clock.monotonic();
    MutexLock lock(mutex_);
    disk_error_ = proved.ok() ? "" : proved.error().context();
    disk_proved_.store(now.time_since_epoch().count(), std::memory_order_relaxed);
  } while (wait_turn());
}

Status Prober::accepting() const {
  const MonotonicTime now = targets_.clock.monotonic();
  for (const Worker* worker : targets_.workers) {
    if (now - worker->last_turn() > kStale) return Error(ErrorCode::Timeout, fmt::format("worker {} does not turn", worker->index()));
  }
  if (!ports_open_.load(std::memory_order_relaxed)) return {};
  if (targets_.net != nullptr && targets_.net->full()) return Error(ErrorCode::Overloaded, "the server has the most connections allowed");
  for (const Endpoint& port : targets_.ports) TRY(probe_port(port, kConnectDeadline));
  return {};
}

Status Prober::storing() const {
  const StoreHealth health = targets_.engine->messages().health();
  if (!health.writable || !health.readable) return Error(ErrorCode::StoreUnavailable, health.reason);
  const MonotonicTime now = targets_.clock.monotonic();
  for (const SessionHost* host : targets_.hosts) {
    if (host->unanswered_sends() > 0 && now - host->store_answered() > kStale) {
      return Error(ErrorCode::Timeout, "sends have waited for the store for seconds");
    }
  }
  const MonotonicTime proved{MonotonicTime::duration(disk_proved_.load(std::memory_order_relaxed))};
  if (proved.time_since_epoch().count() == 0) return Error(ErrorCode::Timeout, "the disk has not been tried yet");
  if (now - proved > kStale) return Error(ErrorCode::Timeout, "the disk does not answer");
  MutexLock lock(mutex_);
  if (!disk_error_.empty()) return Error(ErrorCode::StoreUnavailable, disk_error_);
  return {};
}

void Prober::probe_delivery() {
  std::string silent;
  for (std::size_t i = 0; i < targets_.hosts.size(); ++i) {
    const std::uint64_t answered = targets_.hosts[i]->probes_answered();
    if (answered == answered_[i]) silent += fmt::format("{}{}", silent.empty() ? "" : ", ", i);
    answered_[i] = answered;
    DeliveryBatch ask;
    ask.probe = true;
    (void)targets_.mailboxes[i]->post(std::move(ask));
  }
  // The first round only asks; afterwards each worker has had one period to answer. A slow one is red by age.
  if (silent.empty()) deliver_.passed();
}

}  // namespace dunlin
