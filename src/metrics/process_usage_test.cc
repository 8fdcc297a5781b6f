#include "metrics/process_usage.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <iterator>
#include <vector>

namespace dunlin::metrics {
namespace {

std::int64_t listed() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return std::distance(begin(all), end(all)) - 1;  // its own
}

class DescriptorCountTest : public ::testing::TestWithParam<bool> {
 protected:
  void open(int count) {
    for (int i = 0; i < count; ++i) opened_.push_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  }
  void TearDown() override {
    for (const int fd : opened_) ::close(fd);
  }
  std::vector<int> opened_;
};

TEST_P(DescriptorCountTest, FewAreCountedAsTheyAre) {
  DescriptorCount descriptors(GetParam());
  EXPECT_EQ(descriptors.count(0), listed());
  open(100);
  EXPECT_EQ(descriptors.count(90), listed());
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutTheKernelsCount, DescriptorCountTest, ::testing::Bool());

TEST(DescriptorCountTest, ManySocketsAreAddedToWhatWasThereBesideFew) {
  DescriptorCount descriptors(false);
  const std::int64_t others = descriptors.count(0);
  EXPECT_EQ(descriptors.count(1'000'000), others + 1'000'000) << "no list was made";
  EXPECT_EQ(descriptors.count(DescriptorCount::kListedSockets + 1), others + DescriptorCount::kListedSockets + 1);
  EXPECT_EQ(descriptors.count(3), listed());
}

TEST(ProcessUsageTest, TellsWhatTheKernelKnows) {
  const ProcessUsage usage = process_usage(0);
  EXPECT_EQ(usage.open_descriptors, listed());
  EXPECT_GT(usage.resident_bytes, 0);
  EXPECT_GT(usage.max_descriptors, 0);
}

}  // namespace
}  // namespace dunlin::metrics
