#include "server/watched_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace dunlin {
namespace {

namespace fs = std::filesystem;

class WatchedFilesTest : public ::testing::Test {
 protected:
  WatchedFilesTest() : folder_(fs::temp_directory_path() / ("watched-" + std::to_string(getpid()))) {
    fs::create_directories(folder_);
    write("one", "first");
    write("two", "second");
  }
  ~WatchedFilesTest() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path(name)) << text; }

  fs::path folder_;
};

TEST_F(WatchedFilesTest, NothingHasChangedAtFirst) {
  WatchedFiles files({path("one"), path("two")});
  EXPECT_FALSE(files.changed());
  EXPECT_FALSE(WatchedFiles().changed());
}

TEST_F(WatchedFilesTest, ChangeIsToldOnceItRestsAndUntilItIsAccepted) {
  WatchedFiles files({path("one"), path("two")});
  write("two", "longer than before");
  EXPECT_FALSE(files.changed()) << "it may still be being written";
  EXPECT_TRUE(files.changed());
  EXPECT_TRUE(files.changed());
  files.accepted();
  EXPECT_FALSE(files.changed());
}

TEST_F(WatchedFilesTest, ChangeBetweenTwoLooksStartsTheWaitAgain) {
  WatchedFiles files({path("one"), path("two")});
  write("one", "half a");
  EXPECT_FALSE(files.changed());
  write("one", "half and the rest");
  EXPECT_FALSE(files.changed());
  EXPECT_TRUE(files.changed());
}

TEST_F(WatchedFilesTest, LinkTurnedToAnotherFileIsAChange) {
  fs::create_symlink(path("one"), path("live"));
  WatchedFiles files({path("live")});
  fs::create_symlink(path("two"), path("next"));
  fs::rename(path("next"), path("live"));
  EXPECT_FALSE(files.changed());
  EXPECT_TRUE(files.changed());
}

TEST_F(WatchedFilesTest, MissingFileIsAChangeUntilItIsBack) {
  WatchedFiles files({path("one")});
  fs::rename(path("one"), path("away"));
  EXPECT_FALSE(files.changed());
  EXPECT_TRUE(files.changed());
  EXPECT_TRUE(files.changed());
}

}  // namespace
}  // namespace dunlin
