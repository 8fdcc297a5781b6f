#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

// The instruments that hot paths write to: one relaxed atomic add on a cache line that the writing thread seldom shares. No locks,
// no allocation, no clock. Every instrument is a member of ServerMetrics (or of a test) and outlives all that write to it.
// Writing: any thread. Reading sums the shards while writers go on, so a scrape is not a snapshot across instruments, but a counter
// never goes back.
namespace dunlin::metrics {

inline constexpr std::size_t kShards = 8;

// This thread's shard: threads take turns, so the few workers of a server each have a line of their own.
std::size_t this_thread_shard();

template <class Number>
class Sharded {
 public:
  void add(Number by) { shards_[this_thread_shard()].value.fetch_add(by, std::memory_order_relaxed); }
  Number sum() const {
    Number total = 0;
    for (const Shard& shard : shards_) total += shard.value.load(std::memory_order_relaxed);
    return total;
  }

 private:
  struct alignas(64) Shard {
    std::atomic<Number> value{0};
  };
  std::array<Shard, kShards> shards_;
};

// Only grows.
class Counter {
 public:
  void add(std::uint64_t by = 1) { count_.add(by); }
  std::uint64_t value() const { return count_.sum(); }

 private:
  Sharded<std::uint64_t> count_;
};

// A level that many threads move up and down, such as bytes queued; the parts add up when it is read.
class LevelGauge {
 public:
  void add(std::int64_t by) { level_.add(by); }
  void sub(std::int64_t by) { level_.add(-by); }
  std::int64_t value() const { return level_.sum(); }

 private:
  Sharded<std::int64_t> level_;
};

// A value that one owner sets, such as the phase of a stop.
class Gauge {
 public:
  void set(std::int64_t value) { value_.store(value, std::memory_order_relaxed); }
  std::int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::int64_t> value_{0};
};

struct HistogramSnapshot {
  std::vector<std::uint64_t> buckets;  // not cumulative; one more than bounds: the last is what exceeds them all
  std::uint64_t sum = 0;
};

// Counts of integer observations in fixed buckets, `value <= bound` as Prometheus defines it, and their sum. Durations are observed
// in nanoseconds and exposed in seconds. At most kMaxBounds bounds, ascending (checked: they are constants of ours).
class Histogram {
 public:
  static constexpr std::size_t kMaxBounds = 23;

  Histogram(std::initializer_list<std::uint64_t> bounds);

  void observe(std::uint64_t value);
  void observe(std::chrono::nanoseconds duration) { observe(duration.count() < 0 ? 0 : static_cast<std::uint64_t>(duration.count())); }

  const std::vector<std::uint64_t>& bounds() const { return bounds_; }
  HistogramSnapshot snapshot() const;
  std::uint64_t count() const;

 private:
  struct alignas(64) Shard {
    std::atomic<std::uint64_t> sum{0};
    std::array<std::atomic<std::uint64_t>, kMaxBounds + 1> buckets{};
  };
  std::vector<std::uint64_t> bounds_;
  std::array<Shard, kShards> shards_;
};

}  // namespace dunlin::metrics
