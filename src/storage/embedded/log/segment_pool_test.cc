#include "storage/embedded/log/segment_pool.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "storage/embedded/file/testing/faulty_file_system.h"

namespace dunlin::embedded {
namespace {

class SegmentPoolTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kBytes = 4096;
  SegmentPoolTest() {
    ignore(files_.make_folder("data"));
    ignore(files_.make_folder("data/log"));
  }
  // A spare that something was written into.
  std::string use() {
    auto slot = pool_.take();
    EXPECT_TRUE(slot.ok());
    EXPECT_TRUE(slot->file->write(100, "content").ok());
    EXPECT_TRUE(slot->file->sync_data().ok());
    return slot->name;
  }
  bool blank(const std::string& name) {
    const std::string bytes = files_.content("data/log/" + name);
    return bytes.size() == kBytes && bytes.find_first_not_of('\0') == std::string::npos;
  }
  std::vector<std::string> names() { return *files_.list("data/log"); }

  FaultyFileSystem files_{3};
  SegmentPool pool_{files_, "data/log", kBytes};
};

TEST_F(SegmentPoolTest, AFreedFileIsUsedAsItIsUnlessItIsNoted) {
  ASSERT_TRUE(pool_.maintain().ok());
  const std::string first = use();
  pool_.give(first, true);
  ASSERT_TRUE(pool_.maintain().ok());
  EXPECT_FALSE(blank(first)) << "to write it anew costs";
  EXPECT_TRUE(*pool_.blank_one());
  EXPECT_TRUE(blank(first));
  EXPECT_FALSE(*pool_.blank_one());
}

TEST_F(SegmentPoolTest, NotesAllButBlankSparesOnceNoOtherIsThere) {
  ASSERT_TRUE(pool_.maintain().ok());
  const std::string used = use();
  const std::string freed = use();
  pool_.give(freed, true);
  EXPECT_FALSE(pool_.note_all());
  EXPECT_TRUE(pool_.noted().empty());
  ASSERT_TRUE(*pool_.blank_one());
  EXPECT_TRUE(pool_.note_all());
  EXPECT_EQ(pool_.noted(), std::vector<std::string>{used});
  pool_.strike(used);
  EXPECT_TRUE(pool_.noted().empty());
}

TEST_F(SegmentPoolTest, ANotedFileThatIsNeededAsASpareIsWrittenAnewBeforeItIsOne) {
  ASSERT_TRUE(pool_.maintain().ok());
  const std::string used = use();
  ASSERT_TRUE(pool_.note_all());
  pool_.give(used, true);
  EXPECT_EQ(pool_.noted(), std::vector<std::string>{used}) << "free, but not treated yet";
  EXPECT_NE(pool_.take()->name, used);
  ASSERT_TRUE(pool_.maintain().ok());
  EXPECT_TRUE(pool_.noted().empty());
  EXPECT_TRUE(blank(used));
  EXPECT_FALSE(*pool_.blank_one());
}

TEST_F(SegmentPoolTest, ANotedFileThatIsNotNeededIsRemoved) {
  ASSERT_TRUE(pool_.maintain().ok());
  const std::string used = use();
  ASSERT_TRUE(pool_.note_all());
  ASSERT_TRUE(pool_.maintain().ok());
  pool_.give(used, true);
  ASSERT_TRUE(pool_.maintain().ok());
  EXPECT_TRUE(pool_.noted().empty());
  const auto left = names();
  EXPECT_EQ(std::ranges::find(left, used), left.end());
  EXPECT_EQ(left.size(), SegmentPool::kSpares);
}

TEST_F(SegmentPoolTest, AFullDiskKeepsNoNotedFileFromBeingWrittenAnew) {
  ASSERT_TRUE(pool_.maintain().ok());
  const std::string first = use();
  const std::string second = use();
  ASSERT_TRUE(pool_.note_all());
  files_.fail(FaultyFileSystem::Call::Write, 2, ErrorCode::NoSpace, UINT64_MAX);  // two are in place
  pool_.give(first, true);
  pool_.give(second, true);
  ASSERT_TRUE(pool_.maintain().ok());
  EXPECT_TRUE(blank(first));
  EXPECT_TRUE(blank(second));
  EXPECT_TRUE(pool_.noted().empty());
}

TEST_F(SegmentPoolTest, OneThatCannotBeWrittenAnewIsRemovedAndANewOneMade) {
  ASSERT_TRUE(pool_.maintain().ok());
  const std::string used = use();
  ASSERT_TRUE(pool_.note_all());
  pool_.give(used, true);
  files_.fail(FaultyFileSystem::Call::Write, 0, ErrorCode::Io, 1);
  ASSERT_TRUE(pool_.maintain().ok());
  const auto left = names();
  EXPECT_EQ(std::ranges::find(left, used), left.end());
  EXPECT_EQ(left.size(), SegmentPool::kSpares);
  EXPECT_TRUE(pool_.noted().empty());
}

}  // namespace
}  // namespace dunlin::embedded
