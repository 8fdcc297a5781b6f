#include "metrics/instruments.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace dunlin::metrics {

std::size_t this_thread_shard() {
  static std::atomic<std::size_t> next{0};
  thread_local const std::size_t shard = next.fetch_add(1, std::memory_order_relaxed) % kShards;
  return shard;
}

Histogram::Histogram(std::initializer_list<std::uint64_t> bounds) : bounds_(bounds) {
  CHECK(bounds_.size() <= kMaxBounds);
  CHECK(std::is_sorted(bounds_.begin(), bounds_.end()));
}

void Histogram::observe(std::uint64_t value) {
  const auto bucket = static_cast<std::size_t>(std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin());
  Shard& shard = shards_[this_thread_shard()];
  shard.buckets[bucket].fetch_add(1, std::memory_order_relaxed);
  shard.sum.fetch_add(value, std::memory_order_relaxed);
}

HistogramSnapshot Histogram::snapshot() const {
  HistogramSnapshot snapshot;
  snapshot.buckets.resize(bounds_.size() + 1);
  for (const Shard& shard : shards_) {
    snapshot.sum += shard.sum.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < snapshot.buckets.size(); ++i) snapshot.buckets[i] += shard.buckets[i].load(std::memory_order_relaxed);
  }
  return snapshot;
}

std::uint64_t Histogram::count() const {
  const HistogramSnapshot all = snapshot();
  return std::accumulate(all.buckets.begin(), all.buckets.end(), std::uint64_t{0});
}

}  // namespace dunlin::metrics
