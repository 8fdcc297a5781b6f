#include "bench/load/ready_line.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string_view>

#include "bench/load/sockets.h"

namespace dunlin::bench {
namespace {

using std::chrono::milliseconds;

class ReadLineTest : public testing::Test {
 protected:
  ReadLineTest() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    read_end_ = Fd(ends[0]);
    write_end_ = Fd(ends[1]);
  }
  void write(std::string_view text) { ASSERT_EQ(::write(write_end_.get(), text.data(), text.size()), static_cast<ssize_t>(text.size())); }

  Fd read_end_;
  Fd write_end_;
};

TEST_F(ReadLineTest, AWholeLineIsGiven) {
  write("ready ws=127.0.0.1:1\n");
  const auto line = read_line(read_end_.get(), milliseconds(10'000));
  ASSERT_TRUE(line.ok()) << line.error().to_string();
  EXPECT_EQ(*line, "ready ws=127.0.0.1:1\n");
}

// The writer lives on: a read would wait for ever.
TEST_F(ReadLineTest, SilenceEndsWithTheTime) {
  const auto line = read_line(read_end_.get(), milliseconds(1));
  ASSERT_FALSE(line.ok());
  EXPECT_EQ(line.error().code(), ErrorCode::Timeout);
}

TEST_F(ReadLineTest, APartOfALineIsNotOne) {
  write("ready ws");
  const auto line = read_line(read_end_.get(), milliseconds(1));
  ASSERT_FALSE(line.ok());
  EXPECT_EQ(line.error().code(), ErrorCode::Timeout);
}

TEST_F(ReadLineTest, AnEndBeforeTheLineIsTold) {
  write("rea");
  write_end_.reset();
  const auto line = read_line(read_end_.get(), milliseconds(10'000));
  ASSERT_FALSE(line.ok());
  EXPECT_EQ(line.error().code(), ErrorCode::Io);
}

}  // namespace
}  // namespace dunlin::bench
