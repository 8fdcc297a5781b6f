#include "bench/report.h"

#include <gtest/gtest.h>

namespace dunlin::bench {
namespace {

TEST(Report, JsonIsOneLineWithNumbersAtTheTopLevel) {
  Report report("echo");
  report.add("round_trips_per_s", 1234567);
  report.add("ratio", 0.615, "ratio to raw echo");
  EXPECT_EQ(report.json(), R"({"scenario":"echo","passed":true,"round_trips_per_s":1234567,"ratio":0.615,"failures":[]})");
}

TEST(Report, FailedCheckIsNamedInBothForms) {
  Report report("direct");
  report.check(true, "never seen");
  report.check(false, "2 messages \"lost\"");
  EXPECT_FALSE(report.passed());
  EXPECT_NE(report.json().find(R"("failures":["2 messages \"lost\""])"), std::string::npos);
  EXPECT_NE(report.table().find("SELF-CHECK FAILED: 2 messages"), std::string::npos);
  EXPECT_EQ(report.table().find("never seen"), std::string::npos);
}

TEST(Report, TableSaysWhetherABudgetIsMet) {
  Report report("idle");
  report.add("bytes_per_connection", 900, "bytes", Report::Budget::AtMost, 1024);
  EXPECT_NE(report.table().find("met"), std::string::npos);
  EXPECT_EQ(report.table().find("MISSED"), std::string::npos);
  Report worse("idle");
  worse.add("bytes_per_connection", 1025, "bytes", Report::Budget::AtMost, 1024);
  EXPECT_NE(worse.table().find("MISSED"), std::string::npos);
}

TEST(Report, NumberThatIsNotFiniteIsNullInJson) {
  Report report("limits");
  report.add("ratio", 1.0 / 0.0);
  EXPECT_NE(report.json().find("\"ratio\":null"), std::string::npos);
}

TEST(Median, TakesTheMiddleOrTheMeanOfTheTwoMiddleOnes) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(median({}), 0);
}

TEST(Readable, KeepsAsManyDigitsAsSaySomething) {
  EXPECT_EQ(readable(1234567.8), "1,234,568");
  EXPECT_EQ(readable(12.345), "12.3");
  EXPECT_EQ(readable(17), "17");
  EXPECT_EQ(readable(-1234), "-1,234");
}

}  // namespace
}  // namespace dunlin::bench
