#include "base/memory_limit.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace dunlin {
namespace {

namespace fs = std::filesystem;

// Folders as the kernel shows them.
class MemoryLimitTest : public testing::Test {
 protected:
  MemoryLimitTest() : root_(fs::path(testing::TempDir()) / ("groups." + std::to_string(::getpid()))) {
    fs::remove_all(root_);
    fs::create_directories(root_ / "proc");
  }
  ~MemoryLimitTest() override { fs::remove_all(root_); }
  void member_of(const std::string& lines) const { std::ofstream(root_ / "proc/cgroup") << lines; }
  void write(const std::string& path, const std::string& text) const {
    const fs::path file = root_ / "groups" / path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  MemoryLimit found() const { return memory_limit((root_ / "proc").string(), (root_ / "groups").string()); }

  const fs::path root_;
  const std::uint64_t machine_ =
      static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
};

TEST_F(MemoryLimitTest, WithoutGroupsItIsTheMachines) {
  EXPECT_EQ(found().bytes, machine_);
  EXPECT_EQ(found().from, "machine");
  member_of("no group\n:\n0::\n1:memory\n");
  EXPECT_EQ(found().bytes, machine_);
}

TEST_F(MemoryLimitTest, LeastOfOwnGroupAndAllAboveCounts) {
  member_of("0::/system.slice/dunlin.service\n");
  write("system.slice/dunlin.service/memory.max", "104857600");
  EXPECT_EQ(found().bytes, 104857600U);
  write("system.slice/dunlin.service/memory.high", "90000000");
  EXPECT_EQ(found().bytes, 90000000U);
  EXPECT_TRUE(found().from.ends_with("/system.slice/dunlin.service/memory.high"));
  write("system.slice/memory.max", "52428800");
  EXPECT_EQ(found().bytes, 52428800U);
  write("memory.max", "20000000");
  EXPECT_EQ(found().bytes, 20000000U);
}

TEST_F(MemoryLimitTest, WhatIsNoLimitDoesNotCount) {
  member_of("0::/a/b\n");
  write("a/b/memory.max", "max");
  write("a/memory.max", "");
  write("memory.max", "12x");
  EXPECT_EQ(found().from, "machine");
  write("a/memory.max", std::to_string(machine_ * 2));
  EXPECT_EQ(found().bytes, machine_);
  write("a/memory.max", "0");
  EXPECT_EQ(found().bytes, machine_);
}

TEST_F(MemoryLimitTest, FirstVersionOfControlGroups) {
  member_of("9:name=systemd:/x\n4:cpu,memory,io:/docker/abc\n0::/\n");
  write("memory/docker/abc/memory.limit_in_bytes", "9223372036854771712");
  EXPECT_EQ(found().bytes, machine_);
  write("memory/docker/memory.limit_in_bytes", "300000000");
  EXPECT_EQ(found().bytes, 300000000U);
  write("memory/docker/abc/memory.limit_in_bytes", "200000000");
  EXPECT_EQ(found().bytes, 200000000U);
}

TEST_F(MemoryLimitTest, ContainerThatSeesOnlyItsOwnGroupFindsItAtTheRoot) {
  member_of("0::/../../elsewhere\n4:memory:/docker/abc\n");
  write("memory.max", "150000000");
  EXPECT_EQ(found().bytes, 150000000U);
  write("memory/memory.limit_in_bytes", "140000000");
  EXPECT_EQ(found().bytes, 140000000U);
}

}  // namespace
}  // namespace dunlin
