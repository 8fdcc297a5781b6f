// Delivery as a whole under a seed: users, devices, drops, cuts, crashes, trims, over the memory stores.
#include <gtest/gtest.h>

#include <cstdio>
#include <random>
#include <string>

#include "messaging/delivery/testing/delivery_world.h"
#include "messaging/delivery/testing/seeds.h"

namespace dunlin {
namespace {

std::string unreached(const DeliveryBounds& bounds, const DeliveryWorld::Faults& faults) {
  std::string names;
  for (const auto& [name, member] : DeliveryBounds::kNames) {
    if (name == "moves") break;  // that and what follows is of several nodes
    const bool without_its_fault = (name == "mailbox" && faults.full_mailbox == 0) || (name == "head_search" && faults.trims == 0);
    if (bounds.*member == 0 && !without_its_fault) names += " " + name;
  }
  return names;
}

void simulate(const DeliveryWorld::Faults& faults) {
  const Seeds seeds(25);
  DeliveryBounds all;
  for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
    SCOPED_TRACE("DUNLIN_SIMULATION_SEED=" + std::to_string(seed));
    DeliveryWorld world(seed, faults);
    // On until each bound was reached.
    constexpr int kSteps = 3'000;
    constexpr int kMostSteps = 60'000;
    for (int i = 0; i < kMostSteps && !testing::Test::HasFailure(); ++i) {
      if (i >= kSteps && i % 500 == 0 && unreached(world.bounds(), faults).empty()) break;
      world.step();
    }
    if (!testing::Test::HasFailure()) world.settle();
    if (!testing::Test::HasFailure()) world.check_converged();
    EXPECT_EQ(unreached(world.bounds(), faults), "") << "bounds that this seed did not reach";
    all.add(world.bounds());
    if (testing::Test::HasFailure()) return;
  }
  std::puts(("bounds reached:" + all.text()).c_str());
}

TEST(DeliverySimulationTest, ConvergesWithoutFaults) {
  simulate({});
}

TEST(DeliverySimulationTest, ConvergesWhenEveryHintIsDropped) {
  simulate({.drop_hint = 1});
}

TEST(DeliverySimulationTest, ConvergesWhenSomeHintsAreDropped) {
  simulate({.drop_hint = 0.2, .full_mailbox = 0.1});
}

TEST(DeliverySimulationTest, ConvergesWithSlowReadersLostAcksAndCrashes) {
  simulate({.drop_hint = 0.05, .lose_ack = 0.5, .crash = 0.5, .queue_bound = 2});
}

TEST(DeliverySimulationTest, ConvergesWithASlowAndFailingStore) {
  simulate({.drop_hint = 0.1,
            .lose_ack = 0.2,
            .crash = 0.3,
            .append_delay = Milliseconds(400),
            .read_delay = Milliseconds(300),
            .read_failures = 0.1});
}

TEST(DeliverySimulationTest, NamesWhatRetentionHasTakenAndConverges) {
  simulate({.drop_hint = 0.1, .full_mailbox = 0.05, .lose_ack = 0.3, .crash = 0.5, .trims = 0.5, .read_delay = Milliseconds(50)});
}

// An earlier copy of the folder is put back, once or twice, under devices that have had more since.
TEST(DeliverySimulationTest, NobodyLosesUnawaresWhenAnEarlierFolderIsPutBack) {
  const Seeds seeds(60);
  std::uint64_t proved = 0;
  std::uint64_t resets = 0;
  std::uint64_t unnoticed = 0;
  for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("DUNLIN_SIMULATION_SEED=" + std::to_string(seed));
    std::mt19937_64 random(seed);
    const auto steps = [&](DeliveryWorld& world, int most) {
      const int of = static_cast<int>(random() % static_cast<std::uint64_t>(most));
      for (int i = 0; i < of && !testing::Test::HasFailure(); ++i) world.step();
    };
    DeliveryWorld world(
        seed, {.drop_hint = 0.05, .lose_ack = 0.2, .crash = 0.3, .append_delay = Milliseconds(50), .read_delay = Milliseconds(20)});
    steps(world, 2'000);
    const DeliveryWorld::Folder folder = world.copy_folder();
    for (int times = 1 + static_cast<int>(random() % 2); times > 0; --times) {
      steps(world, 1'500);
      world.put_back(folder);
    }
    steps(world, 1'000);
    if (!testing::Test::HasFailure()) world.settle();
    if (!testing::Test::HasFailure()) world.check_converged();
    if (world.has_witness()) {
      ++proved;
      EXPECT_EQ(world.unnoticed(), 0U) << "a token told it, and not all were reset";
    }
    unnoticed += world.unnoticed();
    resets += world.resets();
  }
  std::printf("put back: proved by a token in %llu of %llu, %llu resets, %llu conversations with a drop that nothing could tell\n",
              static_cast<unsigned long long>(proved), static_cast<unsigned long long>(seeds.count),
              static_cast<unsigned long long>(resets), static_cast<unsigned long long>(unnoticed));
  if (seeds.one == 0) {
    EXPECT_GT(proved, 0U);
    EXPECT_GT(resets, 0U);
  }
}

}  // namespace
}  // namespace dunlin
