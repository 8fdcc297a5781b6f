#include "base/open_table.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <memory>
#include <random>

namespace dunlin {
namespace {

struct Entry {
  std::uint64_t key = 0;
  std::size_t hash = 0;
  std::unique_ptr<int> value;  // null: free
};
template <std::size_t kMost>
struct Rule {
  static bool free(const Entry& entry) { return entry.value == nullptr; }
  static std::size_t hash(const Entry& entry) { return entry.hash; }
  static constexpr std::size_t kFirst = 4;
  static constexpr std::size_t kLoad = kMost;
};

template <class T>
class OpenTableTest : public testing::Test {};
using Loads = testing::Types<Rule<4>, Rule<7>>;
TYPED_TEST_SUITE(OpenTableTest, Loads);

TYPED_TEST(OpenTableTest, AnEmptyOneHasNothingAndAllocatesNothing) {
  OpenTable<Entry, TypeParam> table;
  EXPECT_EQ(table.find(7, [](const Entry&) { return true; }), nullptr);
  EXPECT_EQ(table.size(), 0U);
  EXPECT_EQ(table.bytes(), 0U);
}

// Against std::map, with hashes of a few values so that all collide, and of all bits; erasing as often as adding, wrapping round the end.
TYPED_TEST(OpenTableTest, HoldsWhatAMapHoldsWhateverTheHashes) {
  for (const std::uint64_t hash_values : {1, 3, 8, 1 << 20}) {
    std::mt19937_64 random(hash_values);
    OpenTable<Entry, TypeParam> table;
    std::map<std::uint64_t, int> truth;
    const auto hash_of = [&](std::uint64_t key) { return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15ULL >> 20) % hash_values); };
    const auto find = [&](std::uint64_t key) { return table.find(hash_of(key), [&](const Entry& e) { return e.key == key; }); };
    for (int step = 0; step < 20'000; ++step) {
      const std::uint64_t key = random() % 60;
      Entry* found = find(key);
      ASSERT_EQ(found != nullptr, truth.contains(key)) << step;
      if (found != nullptr) {
        ASSERT_EQ(*found->value, truth[key]);
        table.erase(*found);
        truth.erase(key);
      } else {
        Entry& added = table.add({key, hash_of(key), std::make_unique<int>(step)});
        ASSERT_EQ(added.key, key);
        truth[key] = step;
      }
      ASSERT_EQ(table.size(), truth.size());
      ASSERT_LE(table.size() * 8, table.slot_count() * TypeParam::kLoad);
      if (step % 500 != 0) continue;
      for (const auto& [each, value] : truth) {
        ASSERT_NE(find(each), nullptr);
        ASSERT_EQ(*find(each)->value, value);
      }
      std::size_t taken = 0;
      for (std::size_t i = 0; i < table.slot_count(); ++i) taken += TypeParam::free(table.slot(i)) ? 0 : 1;
      ASSERT_EQ(taken, truth.size());
    }
  }
}

TYPED_TEST(OpenTableTest, NothingMovesWhileThereIsReservedRoom) {
  OpenTable<Entry, TypeParam> table;
  table.reserve(100);
  const std::size_t slots = table.slot_count();
  std::map<std::uint64_t, std::size_t> where;
  for (std::uint64_t key = 0; key < 100; ++key) where[key] = table.index(table.add({key, key * 7, std::make_unique<int>(1)}));
  EXPECT_EQ(table.slot_count(), slots);
  for (const auto& [key, index] : where) EXPECT_EQ(table.slot(index).key, key);
}

}  // namespace
}  // namespace dunlin
