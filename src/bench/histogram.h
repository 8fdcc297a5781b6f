#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace dunlin::bench {

// Counts of durations in nanoseconds with a relative error below 1 %: 64 linear steps in each power of two, as HdrHistogram does.
// Fixed size, one thread.
class LatencyHistogram {
 public:
  void record(std::uint64_t ns) {
    ++counts_[index_of(ns)];
    ++total_;
    if (ns > max_) max_ = ns;
  }

  std::uint64_t count() const { return total_; }
  std::uint64_t max() const { return max_; }

  // The smallest recorded step below or at which the share `quantile` of all values lies (its upper edge); 0 when empty.
  std::uint64_t quantile(double quantile) const {
    if (total_ == 0) return 0;
    auto wanted = static_cast<std::uint64_t>(std::llround(quantile * static_cast<double>(total_)));
    if (wanted == 0) wanted = 1;
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen >= wanted) return upper_edge(i) < max_ ? upper_edge(i) : max_;
    }
    return max_;
  }

  double quantile_ms(double q) const { return static_cast<double>(quantile(q)) / 1e6; }

 private:
  static constexpr unsigned kStepBits = 6;
  static constexpr std::uint64_t kSteps = 1U << kStepBits;

  // Values below 2 * kSteps have a step of their own; above, the top kStepBits + 1 bits choose it.
  static std::size_t index_of(std::uint64_t ns) {
    if (ns < 2 * kSteps) return static_cast<std::size_t>(ns);
    const unsigned shift = static_cast<unsigned>(std::bit_width(ns)) - kStepBits - 1;
    return static_cast<std::size_t>(shift * kSteps + (ns >> shift));
  }
  static std::uint64_t upper_edge(std::size_t index) {
    if (index < 2 * kSteps) return index;
    const unsigned shift = static_cast<unsigned>(index / kSteps) - 1;
    const std::uint64_t step = index - shift * kSteps;
    return ((step + 1) << shift) - 1;
  }

  std::array<std::uint64_t, (64 - kStepBits + 1) * kSteps> counts_{};
  std::uint64_t total_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace dunlin::bench
