#include "session/detached_cursors.h"

#include <gtest/gtest.h>

namespace dunlin {
namespace {

DeviceCursor at(std::uint64_t position) {
  DeviceCursor cursor;
  cursor.position = InboxPosition(position);
  return cursor;
}

TEST(DetachedCursorsTest, KeepsACursorUntilItIsStored) {
  DetachedCursors cursors;
  const auto number = cursors.put("alice", "phone", at(7));
  ASSERT_TRUE(cursors.find("alice", "phone"));
  EXPECT_EQ(cursors.find("alice", "phone")->position, InboxPosition(7));
  EXPECT_FALSE(cursors.find("alice", "laptop"));
  EXPECT_FALSE(cursors.find("alicep", "hone"));
  cursors.stored("alice", "phone", number);
  EXPECT_FALSE(cursors.find("alice", "phone"));
}

TEST(DetachedCursorsTest, GivesThoseOfOneUser) {
  DetachedCursors cursors;
  cursors.put("alice", "phone", at(7));
  cursors.put("alice", "laptop", at(8));
  cursors.put("alic", "phone", at(1));
  cursors.put("alicea", "phone", at(2));
  cursors.put("bob", "phone", at(3));
  const auto found = cursors.of("alice");
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found.at(DeviceId("phone")).position, InboxPosition(7));
  EXPECT_EQ(found.at(DeviceId("laptop")).position, InboxPosition(8));
  EXPECT_TRUE(cursors.of("carol").empty());
}

TEST(DetachedCursorsTest, StoringAnOlderOneKeepsTheNewer) {
  DetachedCursors cursors;
  const auto older = cursors.put("alice", "phone", at(7));
  cursors.put("alice", "phone", at(9));
  cursors.stored("alice", "phone", older);
  ASSERT_TRUE(cursors.find("alice", "phone"));
  EXPECT_EQ(cursors.find("alice", "phone")->position, InboxPosition(9));
}

TEST(DetachedCursorsTest, ForgettingADeviceLeavesNothing) {
  DetachedCursors cursors;
  cursors.put("alice", "phone", at(7));
  cursors.forget("alice", "phone");
  EXPECT_EQ(cursors.size(), 0u);
}

}  // namespace
}  // namespace dunlin
