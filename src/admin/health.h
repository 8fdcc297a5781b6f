#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/thread_annotations.h"

namespace dunlin {

// What a health check reports: red with a reason, or green.
struct HealthReport {
  std::string name;
  bool ok = false;
  std::string detail;        // why it is red, empty when green
  std::int64_t age_ms = -1;  // since the last probe, -1 before the first
};

// One thing that the server must be able to do (accept, store, deliver). A prober outside proves it again and again and tells the
// result here; readers never wait for the prober. A result older than `deadline` is red, so a prober that hangs turns the check red
// by itself. Red until the first result. Owned by server/; any thread.
class HealthCheck {
 public:
  HealthCheck(std::string name, Milliseconds deadline, const Clock& clock);

  void passed() EXCLUDES(mutex_);
  void failed(std::string reason) EXCLUDES(mutex_);
  HealthReport report() const EXCLUDES(mutex_);
  const std::string& name() const { return name_; }

 private:
  const std::string name_;
  const Milliseconds deadline_;
  const Clock& clock_;

  mutable Mutex mutex_;
  bool probed_ GUARDED_BY(mutex_) = false;
  bool ok_ GUARDED_BY(mutex_) = false;
  std::string reason_ GUARDED_BY(mutex_);
  MonotonicTime probed_at_ GUARDED_BY(mutex_);
};

// One look at all checks: {"ready":false,"stopping":false,"failed":["store"],"checks":{"store":{"ok":false,"detail":"…","age_ms":12}}}
struct HealthSummary {
  bool ready = false;
  std::string json;
};

// All checks of a server and whether it wants traffic at all. Checks are added before the admin server starts and outlive it.
class Health {
 public:
  void add(const HealthCheck* check) { checks_.push_back(check); }

  // A stop begins: not ready from now on, whatever the checks say.
  void set_stopping() { stopping_.store(true, std::memory_order_relaxed); }
  bool stopping() const { return stopping_.load(std::memory_order_relaxed); }

  bool ready() const;
  HealthSummary summary() const;
  std::vector<HealthReport> reports() const;

 private:
  std::vector<const HealthCheck*> checks_;
  std::atomic<bool> stopping_{false};
};

}  // namespace dunlin
