#include "session/pending_sends.h"

#include <gtest/gtest.h>

namespace dunlin {
namespace {

PendingSends::Entry entry(std::uint64_t request) {
  return {ConnectionHandle(1, 2, 3), request, MonotonicTime{}};
}

TEST(PendingSendsTest, GivesEachEntryBackByItsIndex) {
  PendingSends pending;
  const auto first = pending.add(entry(10));
  const auto second = pending.add(entry(11));
  EXPECT_EQ(pending.take(second).request, 11u);
  EXPECT_EQ(pending.take(first).request, 10u);
  EXPECT_EQ(pending.count(), 0u);
}

TEST(PendingSendsTest, ReusesPlacesInsteadOfGrowing) {
  PendingSends pending;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const auto a = pending.add(entry(i));
    const auto b = pending.add(entry(i + 1));
    EXPECT_LT(a, 2u);
    EXPECT_LT(b, 2u);
    EXPECT_EQ(pending.take(a).request, i);
    EXPECT_EQ(pending.take(b).request, i + 1);
  }
}

}  // namespace
}  // namespace dunlin
