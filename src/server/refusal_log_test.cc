#include "server/refusal_log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "base/error.h"

namespace dunlin {
namespace {

class RefusalLogTest : public ::testing::Test {
 protected:
  std::string lines(std::chrono::seconds later, bool last = false) {
    clock_.advance(later);
    testing::internal::CaptureStderr();
    log_.look(totals_, clock_.monotonic(), last);
    return testing::internal::GetCapturedStderr();
  }
  static std::size_t count(const std::string& text) { return static_cast<std::size_t>(std::ranges::count(text, '\n')); }

  ManualClock clock_;
  ServerMetrics metrics_;
  NetTotals totals_;
  RefusalLog log_{metrics_};
};

TEST_F(RefusalLogTest, NothingIsSaidWhenNothingWasRefused) {
  EXPECT_EQ(lines(std::chrono::seconds(1)), "");
  EXPECT_EQ(lines(std::chrono::minutes(5)), "");
  EXPECT_EQ(lines(std::chrono::seconds(1), true), "");
}

TEST_F(RefusalLogTest, EachKindHasALineAtOnceAndThenOneAMinuteWithTheCountSince) {
  metrics_.errors_total.add(ErrorCode::Overloaded, 500);
  metrics_.errors_total.add(ErrorCode::RetryInOrder, 35539);
  const std::string first = lines(std::chrono::seconds(1));
  EXPECT_EQ(count(first), 2U);
  EXPECT_NE(first.find("WARN server: requests were refused kind=overloaded count=500\n"), std::string::npos) << first;
  EXPECT_NE(first.find("kind=retry_in_order count=35539\n"), std::string::npos) << first;

  std::string rest;
  for (int second = 0; second < 59; ++second) {
    metrics_.errors_total.add(ErrorCode::Overloaded, 10);
    rest += lines(std::chrono::seconds(1));
  }
  EXPECT_EQ(rest, "");
  const std::string second = lines(std::chrono::seconds(1));
  EXPECT_EQ(count(second), 1U);
  EXPECT_NE(second.find("kind=overloaded count=590\n"), std::string::npos) << second;
}

TEST_F(RefusalLogTest, WhatWillNeverSucceedIsNotRefusedForNow) {
  for (const ErrorInfo& error : error_table()) metrics_.errors_total.add(error.code);
  const std::string told = lines(std::chrono::seconds(1));
  for (const ErrorInfo& error : error_table()) {
    EXPECT_EQ(told.find("kind=" + std::string(error.name) + " ") != std::string::npos, error.temporary) << error.name;
  }
}

TEST_F(RefusalLogTest, ConnectionsBeyondALimitAreToldAndThoseThatAreNoneOfOursAreNot) {
  for (std::uint64_t& refused : totals_.refused) refused = 3;
  const std::string told = lines(std::chrono::seconds(1));
  EXPECT_EQ(count(told), 5U);
  EXPECT_NE(told.find("connections were refused kind=" + std::string(refusal_name(Refusal::IpConnections)) + " count=3\n"),
            std::string::npos)
      << told;
  EXPECT_EQ(told.find(refusal_name(Refusal::Origin)), std::string::npos);
}

TEST_F(RefusalLogTest, AtTheEndTheRestIsTold) {
  metrics_.errors_total.add(ErrorCode::RateLimited);
  lines(std::chrono::seconds(1));
  metrics_.errors_total.add(ErrorCode::RateLimited, 7);
  EXPECT_EQ(lines(std::chrono::seconds(1)), "");
  EXPECT_NE(lines(std::chrono::seconds(1), true).find("kind=rate_limited count=7\n"), std::string::npos);
}

}  // namespace
}  // namespace dunlin
