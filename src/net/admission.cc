#include "net/admission.h"

#include <algorithm>

namespace dunlin {
namespace {

constexpr int kSearchedEntries = 32;  // when room is needed: a bounded price for one connection

std::string_view last_item(std::string_view& list) {
  const std::size_t comma = list.rfind(',');
  std::string_view item = comma == std::string_view::npos ? list : list.substr(comma + 1);
  list = comma == std::string_view::npos ? std::string_view() : list.substr(0, comma);
  while (!item.empty() && (item.front() == ' ' || item.front() == '\t')) item.remove_prefix(1);
  while (!item.empty() && (item.back() == ' ' || item.back() == '\t')) item.remove_suffix(1);
  return item;
}

// Some gateways write `1.2.3.4:5555`, `[2001:db8::1]` or `[2001:db8::1]:5555`.
std::string_view without_port(std::string_view item) {
  if (item.starts_with('[')) {
    const std::size_t end = item.find(']');
    return end == std::string_view::npos ? item : item.substr(1, end - 1);
  }
  const std::size_t colon = item.find(':');
  const bool one_colon = colon != std::string_view::npos && item.find(':', colon + 1) == std::string_view::npos;
  return one_colon ? item.substr(0, colon) : item;
}

}  // namespace

Admission::Admission(AdmissionOptions options) {
  set_options(std::move(options));
}

void Admission::set_options(AdmissionOptions options) {
  auto shared = std::make_shared<const AdmissionOptions>(std::move(options));
  MutexLock lock(options_mutex_);
  options_ = std::move(shared);
}

std::shared_ptr<const AdmissionOptions> Admission::options() const {
  MutexLock lock(options_mutex_);
  return options_;
}

bool Admission::exempt(const AdmissionOptions& options, const IpAddress& ip) const {
  return options.mode == LimitMode::Off || (options.exempt_loopback && ip.is_loopback()) || any_contains(options.trusted_proxies, ip);
}

void Admission::drain_buckets(const AdmissionOptions& options, Entry& entry, MonotonicTime now) {
  // Without a limit a bucket would neither fill nor drain: what an earlier limit left in it is forgotten.
  if (options.handshakes_per_s == 0) entry.handshakes = 0;
  if (options.auth_failures_per_minute == 0) entry.auth_failures = 0;
  const float seconds = std::chrono::duration<float>(now - entry.updated).count();
  if (seconds <= 0) return;
  entry.handshakes = std::max(0.0F, entry.handshakes - seconds * static_cast<float>(options.handshakes_per_s));
  entry.auth_failures = std::max(0.0F, entry.auth_failures - seconds * static_cast<float>(options.auth_failures_per_minute) / 60);
  entry.updated = now;
}

std::optional<Refusal> Admission::judge(const AdmissionOptions& options, const Entry& entry) {
  const auto above = [](float used, float limit) { return limit > 0 && used > limit; };
  if (above(entry.handshakes + 1, 2 * static_cast<float>(options.handshakes_per_s))) return Refusal::IpHandshakes;
  if (options.connections > 0 && entry.connections >= options.connections) return Refusal::IpConnections;
  return std::nullopt;
}

// Looks at some entries from where the last search ended: forgets those that say nothing any more, else the oldest of them.
void Admission::make_room(const AdmissionOptions& options, Stripe& stripe, MonotonicTime now) {
  auto& entries = stripe.entries;
  std::optional<IpAddress> oldest;
  MonotonicTime oldest_time = MonotonicTime::max();
  int searched = 0;
  for (std::size_t step = 0; step < entries.bucket_count() && searched < kSearchedEntries; ++step) {
    const std::size_t bucket = stripe.cursor++ % entries.bucket_count();
    for (auto it = entries.begin(bucket); it != entries.end(bucket); ++it, ++searched) {
      if (it->second.connections > 0) continue;
      const MonotonicTime updated = it->second.updated;
      drain_buckets(options, it->second, now);
      const bool forgettable = it->second.handshakes <= 0 && it->second.auth_failures <= 0;
      if (forgettable || updated < oldest_time) {
        oldest = it->first;
        oldest_time = forgettable ? MonotonicTime::min() : updated;
      }
    }
  }
  if (!oldest) return;
  entries.erase(*oldest);
  --stripe.idle;
}

Admission::Verdict Admission::admit(const IpAddress& ip, MonotonicTime now) {
  const auto current = options();
  if (exempt(*current, ip)) return {};
  const IpAddress key = ip.limit_key();
  Stripe& home = stripe(key);
  MutexLock lock(home.mutex);
  auto [it, added] = home.entries.try_emplace(key);
  Entry& entry = it->second;
  if (added) {
    entry.updated = now;
    ++home.idle;
  }
  drain_buckets(*current, entry, now);
  Verdict verdict;
  verdict.refusal = judge(*current, entry);
  verdict.admitted = !verdict.refusal || current->mode == LimitMode::Observe;
  if (verdict.admitted) {
    verdict.counted = true;
    if (entry.connections++ == 0) --home.idle;
  }
  // One too many costs a handshake too, in which it is told so.
  if (verdict.admitted || verdict.refusal == Refusal::IpConnections)
    entry.handshakes = std::min(entry.handshakes + 1, 2 * static_cast<float>(current->handshakes_per_s));
  if (home.idle > kIdleEntries / stripes_.size()) make_room(*current, home, now);
  return verdict;
}

void Admission::release(const IpAddress& ip) {
  const IpAddress key = ip.limit_key();
  Stripe& home = stripe(key);
  MutexLock lock(home.mutex);
  const auto it = home.entries.find(key);
  if (it == home.entries.end() || it->second.connections == 0) return;
  if (--it->second.connections == 0) ++home.idle;
}

// Until one more failure is within the limit.
Milliseconds Admission::wait_after(const AdmissionOptions& options, const Entry& entry) {
  const auto limit = static_cast<float>(options.auth_failures_per_minute);
  if (limit <= 0 || entry.auth_failures + 1 <= limit) return Milliseconds(0);
  return Milliseconds(1 + static_cast<std::int64_t>((entry.auth_failures + 1 - limit) * 60'000 / limit));
}

Admission::Failure Admission::auth_failed(const IpAddress& ip, MonotonicTime now) {
  const auto current = options();
  if (exempt(*current, ip) || current->auth_failures_per_minute == 0) return {};
  const IpAddress key = ip.limit_key();
  Stripe& home = stripe(key);
  MutexLock lock(home.mutex);
  auto [it, added] = home.entries.try_emplace(key);
  if (added) {
    it->second.updated = now;
    ++home.idle;
  }
  drain_buckets(*current, it->second, now);
  const Failure failure{wait_after(*current, it->second), current->mode == LimitMode::Enforce};
  it->second.auth_failures = std::min(it->second.auth_failures + 1, static_cast<float>(current->auth_failures_per_minute));
  if (home.idle > kIdleEntries / stripes_.size()) make_room(*current, home, now);
  return failure;
}

Milliseconds Admission::failing(const IpAddress& ip, MonotonicTime now) {
  const auto current = options();
  if (exempt(*current, ip) || current->mode != LimitMode::Enforce) return Milliseconds(0);
  const IpAddress key = ip.limit_key();
  Stripe& home = stripe(key);
  MutexLock lock(home.mutex);
  const auto it = home.entries.find(key);
  if (it == home.entries.end() || it->second.auth_failures <= 0) return Milliseconds(0);
  drain_buckets(*current, it->second, now);
  return wait_after(*current, it->second);
}

bool Admission::trusts(const IpAddress& proxy) const {
  return any_contains(options()->trusted_proxies, proxy);
}

// Nothing when a proxy that we trust wrote something that is no address: the client is not known then, and it is not the proxy, which is
// exempt.
std::optional<IpAddress> Admission::client_of(const IpAddress& peer, std::string_view forwarded_for) const {
  const auto current = options();
  IpAddress client = peer;
  while (!forwarded_for.empty() && any_contains(current->trusted_proxies, client)) {
    const auto next = IpAddress::parse(without_port(last_item(forwarded_for)));
    if (!next.ok()) return std::nullopt;
    client = *next;
  }
  return client;
}

std::size_t Admission::entries() const {
  std::size_t sum = 0;
  for (const Stripe& one : stripes_) {
    MutexLock lock(one.mutex);
    sum += one.entries.size();
  }
  return sum;
}

}  // namespace dunlin
