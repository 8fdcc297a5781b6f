#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "base/clock.h"
#include "base/thread_annotations.h"
#include "net/address.h"
#include "net/counters.h"
#include "net/listener_options.h"

namespace dunlin {

// Who may connect: live connections and handshakes a second, counted by address over all workers; and who has failed to authenticate too
// often. That costs nobody the connection: it is for whoever judges the tokens (failing()), since others behind the address may have good
// ones.
//
// Any thread; 16 stripes with a mutex each, held for one map look-up. Bound: one entry for each address that has live connections, and at
// most kIdleEntries for those that have none (idle entries whose buckets have refilled go first; if none has, the oldest met is dropped).
class Admission {
 public:
  static constexpr std::size_t kIdleEntries = 65536;

  explicit Admission(AdmissionOptions options);

  struct Verdict {
    std::optional<Refusal> refusal;  // what a limit says
    bool admitted = true;            // false only in mode Enforce
    bool counted = false;            // release() is owed
  };
  // Counts one connection of `ip` if it is admitted; release() it later. Exempt addresses and mode Off are admitted uncounted.
  Verdict admit(const IpAddress& ip, MonotonicTime now);
  void release(const IpAddress& ip);
  // A failure of `ip`.
  struct Failure {
    Milliseconds wait{0};  // 0: within the limit; else how long until one more would be
    bool enforced = false;
  };
  Failure auth_failed(const IpAddress& ip, MonotonicTime now);
  // Not 0: it has failed as often as it may, which is enforced, for this long.
  Milliseconds failing(const IpAddress& ip, MonotonicTime now);

  bool trusts(const IpAddress& proxy) const;
  // The client that X-Forwarded-For names: walked from the right over trusted proxies; `peer` itself if it is not trusted.
  std::optional<IpAddress> client_of(const IpAddress& peer, std::string_view forwarded_for) const;

  void set_options(AdmissionOptions options);
  std::size_t entries() const;

 private:
  struct Entry {
    std::uint32_t connections = 0;
    float handshakes = 0;  // tokens used, which drain with time
    float auth_failures = 0;
    MonotonicTime updated{};
  };
  struct Stripe {
    mutable Mutex mutex;
    std::unordered_map<IpAddress, Entry> entries GUARDED_BY(mutex);
    std::size_t idle GUARDED_BY(mutex) = 0;    // entries without connections
    std::size_t cursor GUARDED_BY(mutex) = 0;  // the bucket where the next search for idle entries begins
  };

  std::shared_ptr<const AdmissionOptions> options() const;
  bool exempt(const AdmissionOptions& options, const IpAddress& ip) const;
  Stripe& stripe(const IpAddress& key) { return stripes_[std::hash<IpAddress>{}(key) % stripes_.size()]; }
  static std::optional<Refusal> judge(const AdmissionOptions& options, const Entry& entry);
  static void drain_buckets(const AdmissionOptions& options, Entry& entry, MonotonicTime now);
  static Milliseconds wait_after(const AdmissionOptions& options, const Entry& entry);
  static void make_room(const AdmissionOptions& options, Stripe& stripe, MonotonicTime now) REQUIRES(stripe.mutex);

  mutable Mutex options_mutex_;
  std::shared_ptr<const AdmissionOptions> options_ GUARDED_BY(options_mutex_);
  std::array<Stripe, 16> stripes_;
};

}  // namespace dunlin
