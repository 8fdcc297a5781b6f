#include "admin/health.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "admin/json_text.h"

namespace dunlin {

HealthCheck::HealthCheck(std::string name, Milliseconds deadline, const Clock& clock)
    : name_(std::move(name)), deadline_(deadline), clock_(clock) {}

void HealthCheck::passed() {
  const MutexLock lock(mutex_);
  probed_ = true;
  ok_ = true;
  reason_.clear();
  probed_at_ = clock_.monotonic();
}

void HealthCheck::failed(std::string reason) {
  const MutexLock lock(mutex_);
  probed_ = true;
  ok_ = false;
  reason_ = std::move(reason);
  probed_at_ = clock_.monotonic();
}

HealthReport HealthCheck::report() const {
  const MutexLock lock(mutex_);
  if (!probed_) return {name_, false, "not checked yet", -1};
  const auto age = std::chrono::duration_cast<Milliseconds>(clock_.monotonic() - probed_at_);
  if (age > deadline_) {
    const std::string last = ok_ ? "" : ": " + reason_;
    return {name_, false, fmt::format("no result for {} ms{}", age.count(), last), age.count()};
  }
  return {name_, ok_, reason_, age.count()};
}

std::vector<HealthReport> Health::reports() const {
  std::vector<HealthReport> all;
  for (const HealthCheck* check : checks_) all.push_back(check->report());
  return all;
}

bool Health::ready() const {
  return !stopping() && std::all_of(checks_.begin(), checks_.end(), [](const HealthCheck* check) { return check->report().ok; });
}

HealthSummary Health::summary() const {
  const bool stops = stopping();
  bool ready = !stops;
  std::string failed;
  std::string checks;
  for (const HealthReport& report : reports()) {
    ready = ready && report.ok;
    if (!report.ok) failed += (failed.empty() ? "" : ",") + json_text(report.name);
    if (!checks.empty()) checks += ',';
    checks += fmt::format(R"({}:{{"ok":{},"detail":{},"age_ms":{}}})", json_text(report.name), report.ok, json_text(report.detail),
                          report.age_ms);
  }
  return {ready, fmt::format(R"({{"ready":{},"stopping":{},"failed":[{}],"checks":{{{}}}}})", ready, stops, failed, checks)};
}

}  // namespace dunlin
