#include "storage/embedded/state/cursor_riders.h"

#include <gtest/gtest.h>

#include <map>

#include "messaging/model/conversation.h"
#include "storage/embedded/state/state_rows.h"
#include "storage/embedded/testing/worked_bytes.h"

namespace dunlin::embedded {
namespace {

class CursorRidersTest : public testing::Test {
 protected:
  static DeviceStates::CursorWrite cursor(std::string_view device, std::uint64_t position) {
    DeviceStates::CursorWrite out{UserId("ada"), DeviceId(device), {}};
    out.cursor.epoch = Epoch{0x0102030405060708};
    out.cursor.position = InboxPosition(position);
    out.cursor.last_seen = from_ms(1'700'000'000'000);
    return out;
  }
  void note(std::string_view device, std::uint64_t position) {
    const DeviceStates::CursorWrite one = cursor(device, position);
    riders_.note({&one, 1});
  }
  void save(std::string_view device, std::uint64_t position) {
    const DeviceStates::CursorWrite one = cursor(device, position);
    riders_.saved({&one, 1}, riders_.next_order(1));
  }
  std::string take(std::uint64_t last, std::size_t budget = 1 << 20) {
    std::string out;
    riders_.take(LogPosition(last), budget, out);
    return out;
  }
  // What rode in these bytes: device → position.
  using Positions = std::map<std::string, std::uint64_t>;
  static Positions positions_of(std::span<const RidingCursor> cursors) {
    Positions out;
    for (const RidingCursor& one : cursors) {
      EXPECT_TRUE(out.emplace(one.device.substr(5), decode_cursor(one.row)->position.value()).second) << "a device twice";
      EXPECT_EQ(cursor_order(one.row), one.order);
    }
    return out;
  }
  Positions read(std::initializer_list<std::string> batches) {
    CursorRiders other(clock_);
    for (const std::string& bytes : batches) other.read_back(bytes + std::string(3, '\0'));
    Positions out;
    EXPECT_TRUE(other
                    .keep_read_back([&](std::span<const RidingCursor> all) {
                      out.merge(positions_of(all));
                      return Status();
                    })
                    .ok());
    return out;
  }
  Positions keep_through(std::uint64_t through) {
    Positions out;
    EXPECT_TRUE(riders_
                    .keep_through(LogPosition(through),
                                  [&](std::span<const RidingCursor> some) {
                                    out.merge(positions_of(some));
                                    return Status();
                                  })
                    .ok());
    return out;
  }

  ManualClock clock_;
  CursorRiders riders_{clock_};
};

// The worked example of docs/storage.md: a change here is a change of the format.
TEST_F(CursorRidersTest, ARiderHasItsWorkedBytes) {
  clock_.set_wall(from_ms(1'700'000'000'000));
  DeviceStates::CursorWrite one = cursor("phone", 9);
  one.cursor.exceptions.emplace(ConversationId("p3:ada:bob"), MessageSeq(1));
  riders_.note({&one, 1});
  EXPECT_EQ(hex(take(9)),
            packed("03616461 0570686f6e65 27 02 00060a24181e4000 0102030405060708 0000018bcfe56800 09 01 0a70333a6164613a626f62 01"));
}

TEST_F(CursorRidersTest, OnlyTheNewestOfADeviceRidesAndItRidesOnce) {
  note("a1", 3);
  note("b1", 4);
  note("a1", 5);
  EXPECT_EQ(read({take(5)}), (Positions{{"a1", 5}, {"b1", 4}}));
  EXPECT_EQ(take(6), "") << "nothing has moved";
  note("b1", 6);
  EXPECT_EQ(read({take(7)}), (Positions{{"b1", 6}}));
}

TEST_F(CursorRidersTest, OfTwoBatchesTheNewestCopyCountsInWhateverOrderTheyAreRead) {
  note("a1", 3);
  const std::string first = take(3);
  note("a1", 2);  // a token has set the device back
  const std::string second = take(4);
  EXPECT_EQ(read({first, second}), (Positions{{"a1", 2}}));
  EXPECT_EQ(read({second, first}), (Positions{{"a1", 2}}));
}

TEST_F(CursorRidersTest, ASaveEndsTheRidingOfWhatIsOlderAlone) {
  note("a1", 3);
  note("b1", 3);
  save("a1", 4);
  EXPECT_EQ(read({take(5)}), (Positions{{"b1", 3}}));
  const std::uint64_t order = riders_.next_order(1);
  note("b1", 6);  // after the save was begun
  const DeviceStates::CursorWrite late = cursor("b1", 5);
  riders_.saved({&late, 1}, order);
  EXPECT_EQ(read({take(6)}), (Positions{{"b1", 6}}));
  save("b1", 7);
  EXPECT_EQ(riders_.size(), 0U);
}

TEST_F(CursorRidersTest, ABatchTakesWhatItsBudgetHasRoomForAndTheRestRidesOn) {
  for (int i = 0; i < 10; ++i) note("d" + std::to_string(i), 1);
  const std::size_t one = take(1, 60).size();
  ASSERT_GT(one, 0U);
  Positions all = read({take(2, 5 * one + 1)});
  EXPECT_EQ(all.size(), 5U);
  all.merge(read({take(3, 5 * one + 1)}));
  EXPECT_EQ(all.size(), 9U);
  EXPECT_EQ(take(4), "");
}

TEST_F(CursorRidersTest, WhatIsBeyondTheBoundsIsLeftToTheSaves) {
  DeviceStates::CursorWrite large = cursor("d1", 1);
  for (int i = 0; i < 1000; ++i) large.cursor.exceptions.emplace(private_conversation("ada", std::to_string(i)), MessageSeq(1));
  riders_.note({&large, 1});
  EXPECT_EQ(riders_.size(), 0U);
  std::vector<DeviceStates::CursorWrite> many;
  for (std::size_t i = 0; i < CursorRiders::kMax + 10; ++i) many.push_back(cursor("d" + std::to_string(i), 1));
  riders_.note(many);
  EXPECT_EQ(riders_.size(), CursorRiders::kMax);
  riders_.note({&many.front(), 1});
  EXPECT_EQ(riders_.size(), CursorRiders::kMax) << "known ones still move";
  // Saves while nothing is appended: the places stay, and are free again with the next batches.
  riders_.saved(many, riders_.next_order(many.size()));
  for (int i = 0; i < 200; ++i) EXPECT_EQ(take(2), "");
  EXPECT_EQ(riders_.size(), 0U);
}

TEST_F(CursorRidersTest, BeforeASegmentGoesItsNewestCopiesAreKeptAndOthersNot) {
  note("a1", 3);
  note("b1", 3);
  note("c1", 3);
  take(3);
  note("b1", 5);  // waits: the copy in the segment is the only one in the log
  note("c1", 5);
  const std::string later = take(6, 60);  // has room for one
  ASSERT_EQ(read({later}), (Positions{{"b1", 5}}));
  EXPECT_EQ(keep_through(2), Positions());
  EXPECT_EQ(keep_through(4), (Positions{{"a1", 3}, {"c1", 5}}));
  EXPECT_EQ(keep_through(4), Positions());
  EXPECT_EQ(take(7), "") << "what was kept need not ride any more";
  EXPECT_EQ(keep_through(7), (Positions{{"b1", 5}}));
  EXPECT_EQ(riders_.size(), 0U);
}

TEST_F(CursorRidersTest, WhatCouldNotBeKeptIsKeptLater) {
  std::vector<DeviceStates::CursorWrite> many;
  for (int i = 0; i < 1000; ++i) many.push_back(cursor("d" + std::to_string(i), 1));
  riders_.note(many);
  take(1);
  std::size_t good = 300;
  const auto some = riders_.keep_through(LogPosition(1), [&](std::span<const RidingCursor> slice) -> Status {
    if (slice.size() > good) return Error(ErrorCode::NoSpace, "full");
    good -= slice.size();
    return {};
  });
  EXPECT_FALSE(some.ok());
  EXPECT_EQ(keep_through(1).size() + 300 - good, 1000U);
  EXPECT_EQ(riders_.size(), 0U);
}

TEST_F(CursorRidersTest, WhatRodeWithABatchThatWasTakenBackRidesAgain) {
  note("a1", 3);
  EXPECT_EQ(read({take(20)}), (Positions{{"a1", 3}}));
  // The batch that ended at 20 failed; the next one ends at 12.
  EXPECT_EQ(read({take(12)}), (Positions{{"a1", 3}}));
  EXPECT_EQ(keep_through(15), (Positions{{"a1", 3}}));
}

TEST_F(CursorRidersTest, OrdersRiseWhileTheClockStandsOrStepsBackAndAboveAllThatIsFound) {
  const std::uint64_t first = riders_.next_order(5);
  EXPECT_GE(riders_.next_order(1), first + 5);
  clock_.set_wall(clock_.wall() - std::chrono::hours(24));
  EXPECT_GT(riders_.next_order(1), first + 5);
  note("a1", 3);
  const std::string bytes = take(3);
  ManualClock behind;
  behind.set_wall(from_ms(-5));
  CursorRiders other(behind);
  EXPECT_LT(other.next_order(1), first);
  other.read_back(bytes);
  EXPECT_GT(other.next_order(1), first + 6);
}

TEST_F(CursorRidersTest, BytesThatAreNoRidersEndTheReading) {
  note("a1", 3);
  note("b1", 4);
  const std::string bytes = take(5);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CursorRiders other(clock_);
    other.read_back(std::string_view(bytes).substr(0, size));
    EXPECT_EQ(other.size(), size < bytes.size() / 2 ? 0U : 1U) << size;
  }
}

}  // namespace
}  // namespace dunlin::embedded
