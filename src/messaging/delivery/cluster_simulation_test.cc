// Delivery as a whole under a seed, on three nodes of a shared store (delivery_simulation_test.cc: on one node of a store of one order).
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "messaging/delivery/testing/cluster_world.h"
#include "messaging/delivery/testing/seeds.h"

namespace dunlin {
namespace {

using Faults = SimWorld::Faults;
using ClusterFaults = ClusterWorld::ClusterFaults;

// Of the bounds, those that these faults can reach.
std::string unreached(const DeliveryBounds& bounds, const Faults& faults, const ClusterFaults& cluster) {
  const bool reorders = cluster.bus_delay.count() > 0;
  const std::map<std::string, bool> without{{"mailbox", faults.full_mailbox == 0},
                                            {"head_search", faults.trims == 0},
                                            {"deaths", cluster.deaths == 0},
                                            {"bus_lost", cluster.lose_entry == 0},
                                            {"bus_repeated", cluster.repeat_entry == 0},
                                            {"bus_swapped", !reorders},
                                            {"unknown", cluster.lost == 0},
                                            {"without_range", !reorders},
                                            {"long_ranges", !reorders},
                                            {"bare", cluster.deaths == 0},
                                            {"early", !reorders},
                                            {"overdue", !reorders},
                                            {"tails_lost", cluster.tails == 0},
                                            {"directory", cluster.directory_fails + cluster.directory_stale == 0}};
  std::string names;
  for (const auto& [name, member] : DeliveryBounds::kNames) {
    const auto excused = without.find(name);
    if (bounds.*member == 0 && (excused == without.end() || !excused->second)) names += " " + name;
  }
  return names;
}

void simulate(const Faults& faults, const ClusterFaults& cluster) {
  const Seeds seeds(25);
  DeliveryBounds all;
  for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
    SCOPED_TRACE("DUNLIN_SIMULATION_SEED=" + std::to_string(seed));
    ClusterWorld world(seed, faults, cluster);
    // On until each bound was reached.
    constexpr int kSteps = 3'000;
    constexpr int kMostSteps = 60'000;
    for (int i = 0; i < kMostSteps && !testing::Test::HasFailure(); ++i) {
      if (i >= kSteps && i % 500 == 0 && unreached(world.bounds(), faults, cluster).empty()) break;
      world.step();
    }
    if (!testing::Test::HasFailure()) world.settle();
    if (!testing::Test::HasFailure()) world.check_converged();
    EXPECT_EQ(unreached(world.bounds(), faults, cluster), "") << "bounds that this seed did not reach; it reached" << world.bounds().text();
    all.add(world.bounds());
    if (testing::Test::HasFailure()) return;
  }
  std::puts(("bounds reached:" + all.text()).c_str());
}

constexpr Faults kSlow{.append_delay = Milliseconds(40), .read_delay = Milliseconds(40)};
constexpr Faults kTrimming{.drop_hint = 0.1,
                           .full_mailbox = 0.05,
                           .lose_ack = 0.3,
                           .crash = 0.5,
                           .trims = 0.5,
                           .append_delay = Milliseconds(40),
                           .read_delay = Milliseconds(40)};

TEST(ClusterSimulationTest, ConvergesWithoutFaults) {
  simulate({}, {});
}

TEST(ClusterSimulationTest, ConvergesWhenEntriesBetweenNodesComeInAnyOrder) {
  simulate(kSlow, {.bus_delay = Milliseconds(150)});
}

TEST(ClusterSimulationTest, ConvergesWhenEntriesBetweenNodesAreLostAndRepeated) {
  Faults faults = kSlow;
  faults.drop_hint = 0.1;
  faults.full_mailbox = 0.05;
  faults.lose_ack = 0.2;
  faults.crash = 0.3;
  simulate(faults, {.lose_entry = 0.2, .repeat_entry = 0.2, .bus_delay = Milliseconds(150)});
}

TEST(ClusterSimulationTest, ConvergesWhenTheEngineIsLateRepeatsNotesAndLeavesAnswersOut) {
  Faults faults = kSlow;
  faults.lose_ack = 0.2;
  faults.read_failures = 0.05;
  simulate(faults, {.bus_delay = Milliseconds(150), .unanswered = 0.1, .lost = 0.2, .repeated = 0.3});
}

TEST(ClusterSimulationTest, ConvergesWhenNodesDieWithEverythingInMemory) {
  Faults faults = kSlow;
  faults.lose_ack = 0.3;
  faults.crash = 0.5;
  simulate(faults, {.lose_entry = 0.1,
                    .repeat_entry = 0.1,
                    .bus_delay = Milliseconds(150),
                    .unanswered = 0.05,
                    .lost = 0.2,
                    .repeated = 0.1,
                    .deaths = 0.01});
}

TEST(ClusterSimulationTest, ConvergesWhenInboxesLoseTheirEnds) {
  Faults faults = kSlow;
  faults.lose_ack = 0.2;
  faults.crash = 0.3;
  simulate(faults, {.lose_entry = 0.05, .bus_delay = Milliseconds(150), .repeated = 0.1, .tails = 0.01});
}

// What is stored, noted or told while it is trimmed comes as a gap.
TEST(ClusterSimulationTest, NamesWhatRetentionHasTakenAndConverges) {
  simulate(kTrimming, {.lose_entry = 0.1, .bus_delay = Milliseconds(150), .unanswered = 0.05, .lost = 0.1, .repeated = 0.1});
}

// Nobody knows without a read what was trimmed: pages say that they are not whole.
TEST(ClusterSimulationTest, NamesWhatRetentionHasTakenWhenOnlyReadsTellIt) {
  simulate(kTrimming, {.lose_entry = 0.1, .bus_delay = Milliseconds(150), .knows_trims = false});
}

TEST(ClusterSimulationTest, ConvergesWhenTheDirectoryFailsAndNamesTheWrongNodes) {
  Faults faults = kSlow;
  faults.lose_ack = 0.2;
  faults.crash = 0.3;
  simulate(faults, {.bus_delay = Milliseconds(150), .directory_fails = 0.2, .directory_stale = 0.1});
}

}  // namespace
}  // namespace dunlin
