#include "bench/histogram.h"

#include <gtest/gtest.h>

#include <memory>

namespace dunlin::bench {
namespace {

TEST(LatencyHistogram, EmptyHasNoQuantiles) {
  auto histogram = std::make_unique<LatencyHistogram>();
  EXPECT_EQ(histogram->quantile(0.99), 0u);
  EXPECT_EQ(histogram->count(), 0u);
}

TEST(LatencyHistogram, SmallValuesAreExact) {
  auto histogram = std::make_unique<LatencyHistogram>();
  for (std::uint64_t v = 1; v <= 100; ++v) histogram->record(v);
  EXPECT_EQ(histogram->quantile(0.5), 50u);
  EXPECT_EQ(histogram->quantile(0.99), 99u);
  EXPECT_EQ(histogram->quantile(1.0), 100u);
  EXPECT_EQ(histogram->max(), 100u);
}

TEST(LatencyHistogram, EveryMagnitudeKeepsItsValueWithinTwoPercent) {
  for (std::uint64_t v = 1; v < (1ULL << 62); v = v * 3 + 1) {
    auto histogram = std::make_unique<LatencyHistogram>();
    histogram->record(v);
    histogram->record(v * 2);
    const std::uint64_t median = histogram->quantile(0.5);
    EXPECT_GE(median, v);
    EXPECT_LE(static_cast<double>(median), static_cast<double>(v) * 1.02 + 1) << v;
  }
}

TEST(LatencyHistogram, LargestValueFits) {
  auto histogram = std::make_unique<LatencyHistogram>();
  histogram->record(UINT64_MAX);
  EXPECT_EQ(histogram->quantile(0.5), UINT64_MAX);
}

}  // namespace
}  // namespace dunlin::bench
