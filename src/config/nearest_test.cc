#include "config/nearest.h"

#include <gtest/gtest.h>

#include <vector>

namespace dunlin {
namespace {

TEST(EditDistanceTest, CountsInsertDeleteReplaceAndSwap) {
  EXPECT_EQ(edit_distance("", ""), 0U);
  EXPECT_EQ(edit_distance("abc", ""), 3U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("port", "prot"), 1U);
  EXPECT_EQ(edit_distance("port", "ports"), 1U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
}

TEST(NearestTest, PrefersTheWholeKeyThenItsLastPart) {
  const std::vector<std::string> keys = {"websocket.port", "tcpsocket.port", "store.path"};
  EXPECT_EQ(nearest("tcpsocket.prot", keys, '.'), "tcpsocket.port");
  EXPECT_EQ(nearest("path", keys, '.'), "store.path");
  EXPECT_EQ(nearest("storage.path", keys, '.'), "store.path");
}

}  // namespace
}  // namespace dunlin
