#include "net/admission.h"

#include <gtest/gtest.h>

namespace dunlin {
namespace {

IpAddress ip(std::string_view text) {
  return IpAddress::parse(text).value();
}
const IpAddress kStranger = ip("192.0.2.7");
const MonotonicTime kNow{std::chrono::hours(3)};

AdmissionOptions limits(std::uint32_t connections, std::uint32_t handshakes = 1000, std::uint32_t failures = 1000) {
  AdmissionOptions options;
  options.connections = connections;
  options.handshakes_per_s = handshakes;
  options.auth_failures_per_minute = failures;
  options.trusted_proxies = {Cidr::parse("10.0.0.0/8").value()};
  return options;
}

TEST(AdmissionTest, CountsConnectionsOfAnAddressUntilTheyAreReleased) {
  Admission admission(limits(2));
  EXPECT_TRUE(admission.admit(kStranger, kNow).admitted);
  EXPECT_TRUE(admission.admit(kStranger, kNow).admitted);
  const auto refused = admission.admit(kStranger, kNow);
  EXPECT_FALSE(refused.admitted);
  EXPECT_EQ(refused.refusal, Refusal::IpConnections);
  EXPECT_TRUE(admission.admit(ip("192.0.2.8"), kNow).admitted);
  admission.release(kStranger);
  EXPECT_TRUE(admission.admit(kStranger, kNow).admitted);
}

TEST(AdmissionTest, CountsHandshakesOverTime) {
  Admission admission(limits(1000, 5));
  int admitted = 0;
  for (int i = 0; i < 100; ++i) admitted += admission.admit(kStranger, kNow).admitted;
  EXPECT_EQ(admitted, 10) << "a burst of two seconds";
  admitted = 0;
  for (int i = 0; i < 100; ++i) admitted += admission.admit(kStranger, kNow + Milliseconds(1000)).admitted;
  EXPECT_EQ(admitted, 5);
}

TEST(AdmissionTest, AnAddressThatFailedToAuthenticateTooOftenIsToldToWaitAndStillGetsIn) {
  Admission admission(limits(1000, 1000, 3));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(admission.failing(kStranger, kNow), Milliseconds(0)) << i;
    EXPECT_EQ(admission.auth_failed(kStranger, kNow).wait, Milliseconds(0)) << i;
  }
  const auto fourth = admission.auth_failed(kStranger, kNow);
  EXPECT_TRUE(fourth.enforced);
  EXPECT_NEAR(static_cast<double>(fourth.wait.count()), 20'000, 10);
  EXPECT_GT(admission.failing(kStranger, kNow + Milliseconds(500)), Milliseconds(0)) << "a pause forgives no part of one";
  EXPECT_TRUE(admission.admit(kStranger, kNow).admitted) << "who comes may be another one behind the address";
  EXPECT_EQ(admission.failing(kStranger, kNow + Milliseconds(21'000)), Milliseconds(0)) << "one failure is forgiven every 20 s";
  for (int i = 0; i < 1000; ++i) admission.auth_failed(kStranger, kNow + Milliseconds(21'000));
  EXPECT_EQ(admission.failing(kStranger, kNow + Milliseconds(42'000)), Milliseconds(0)) << "an attack costs the future nothing";
}

TEST(AdmissionTest, FailedAuthenticationsAreOnlySaidWhenObservedAndNothingWhenOffOrExempt) {
  AdmissionOptions options = limits(1000, 1000, 1);
  options.mode = LimitMode::Observe;
  Admission admission(options);
  EXPECT_EQ(admission.auth_failed(kStranger, kNow).wait, Milliseconds(0));
  const auto second = admission.auth_failed(kStranger, kNow);
  EXPECT_GT(second.wait, Milliseconds(0));
  EXPECT_FALSE(second.enforced);
  EXPECT_EQ(admission.failing(kStranger, kNow), Milliseconds(0));
  options.mode = LimitMode::Enforce;
  options.auth_failures_per_minute = 0;
  admission.set_options(options);
  EXPECT_EQ(admission.auth_failed(kStranger, kNow).wait, Milliseconds(0)) << "0 is no limit";
  EXPECT_EQ(admission.failing(kStranger, kNow), Milliseconds(0));
  options.auth_failures_per_minute = 1;
  admission.set_options(options);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(admission.auth_failed(ip("127.0.0.1"), kNow).wait, Milliseconds(0));
}

TEST(AdmissionTest, ExemptsLoopbackAndTrustedProxies) {
  Admission admission(limits(1, 1, 1));
  for (const char* exempt : {"127.0.0.1", "127.255.255.254", "::1", "10.1.2.3"}) {
    for (int i = 0; i < 10; ++i) {
      admission.auth_failed(ip(exempt), kNow);
      EXPECT_TRUE(admission.admit(ip(exempt), kNow).admitted) << exempt;
      EXPECT_FALSE(admission.admit(ip(exempt), kNow).counted) << exempt;
    }
  }
  for (const char* limited : {"192.0.2.7", "128.0.0.1", "11.0.0.1", "::2"}) {
    EXPECT_TRUE(admission.admit(ip(limited), kNow).admitted) << limited;
    EXPECT_FALSE(admission.admit(ip(limited), kNow).admitted) << limited;
  }
}

TEST(AdmissionTest, ZeroIsNoLimit) {
  Admission admission(limits(0, 0, 0));
  for (int i = 0; i < 10'000; ++i) {
    const auto verdict = admission.admit(kStranger, kNow);
    ASSERT_TRUE(verdict.admitted && !verdict.refusal) << i;
    admission.auth_failed(kStranger, kNow);
  }
  const auto refused_by = [&](AdmissionOptions options) {
    Admission one(std::move(options));
    for (int i = 0; i < 100; ++i) {
      if (const auto verdict = one.admit(kStranger, kNow); verdict.refusal) return verdict.refusal;
      if (one.auth_failed(kStranger, kNow).wait > Milliseconds(0)) return std::optional(Refusal::IpAuthFailures);
    }
    return std::optional<Refusal>();
  };
  EXPECT_EQ(refused_by(limits(5, 0, 0)), Refusal::IpConnections) << "each alone";
  EXPECT_EQ(refused_by(limits(0, 5, 0)), Refusal::IpHandshakes);
  EXPECT_EQ(refused_by(limits(0, 0, 5)), Refusal::IpAuthFailures);
}

TEST(AdmissionTest, LimitThatIsSwitchedOffAndOnAgainBeginsAnew) {
  Admission admission(limits(1000, 1, 1));
  for (int i = 0; i < 10; ++i) admission.auth_failed(kStranger, kNow);
  for (int i = 0; i < 10; ++i) static_cast<void>(admission.admit(kStranger, kNow));
  EXPECT_FALSE(admission.admit(kStranger, kNow).admitted);
  admission.set_options(limits(0, 0, 0));
  EXPECT_TRUE(admission.admit(kStranger, kNow).admitted);
  admission.set_options(limits(1000, 1, 1));
  EXPECT_TRUE(admission.admit(kStranger, kNow).admitted);
}

TEST(AdmissionTest, ObserveSaysWhatItWouldDoAndOffDoesNothing) {
  AdmissionOptions options = limits(1);
  options.mode = LimitMode::Observe;
  Admission admission(options);
  EXPECT_EQ(admission.admit(kStranger, kNow).refusal, std::nullopt);
  const auto verdict = admission.admit(kStranger, kNow);
  EXPECT_TRUE(verdict.admitted);
  EXPECT_EQ(verdict.refusal, Refusal::IpConnections);
  options.mode = LimitMode::Off;
  admission.set_options(options);
  EXPECT_EQ(admission.admit(kStranger, kNow).refusal, std::nullopt);
}

TEST(AdmissionTest, CountsAnIpv6NetworkAsOne) {
  Admission admission(limits(1));
  EXPECT_TRUE(admission.admit(ip("2001:db8::1"), kNow).admitted);
  EXPECT_FALSE(admission.admit(ip("2001:db8::2"), kNow).admitted);
}

TEST(AdmissionTest, BelievesForwardedForOnlyFromTrustedProxiesAndFromTheRight) {
  Admission admission(limits(1));
  const IpAddress proxy = ip("10.0.0.1");
  EXPECT_EQ(admission.client_of(kStranger, "1.2.3.4"), kStranger) << "forged by a stranger";
  EXPECT_EQ(admission.client_of(proxy, "1.2.3.4"), ip("1.2.3.4"));
  EXPECT_EQ(admission.client_of(proxy, "6.6.6.6, 1.2.3.4"), ip("1.2.3.4")) << "the client's own forgery stands left";
  EXPECT_EQ(admission.client_of(proxy, "6.6.6.6, 1.2.3.4, 10.9.9.9"), ip("1.2.3.4")) << "over a second proxy";
  EXPECT_EQ(admission.client_of(proxy, "1.2.3.4, garbage"), std::nullopt) << "never the proxy itself, which is exempt";
  EXPECT_EQ(admission.client_of(proxy, "1.2.3.4:5555"), ip("1.2.3.4"));
  EXPECT_EQ(admission.client_of(proxy, "[2001:db8::1]"), ip("2001:db8::1"));
  EXPECT_EQ(admission.client_of(proxy, "[2001:db8::1]:5555"), ip("2001:db8::1"));
  EXPECT_EQ(admission.client_of(proxy, "2001:db8::1"), ip("2001:db8::1"));
  EXPECT_EQ(admission.client_of(proxy, ""), proxy);
  EXPECT_EQ(admission.client_of(proxy, "10.0.0.2"), ip("10.0.0.2"));
}

TEST(AdmissionTest, ItsTableIsBoundedWhenAddressesNeverComeAgain) {
  Admission admission(limits(1000));
  MonotonicTime now = kNow;
  for (std::uint32_t i = 0; i < 200'000; ++i) {
    const IpAddress one = IpAddress::v4(0x20000000 + i);
    if (admission.admit(one, now).counted) admission.release(one);
    now += std::chrono::microseconds(10);
  }
  EXPECT_LE(admission.entries(), Admission::kIdleEntries + 16);
}

}  // namespace
}  // namespace dunlin
