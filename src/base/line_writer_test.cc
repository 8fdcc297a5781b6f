#include "base/line_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "base/log_output.h"

namespace dunlin {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;

std::string missing(std::uint64_t lines) {
  return fmt::format("missing {}\n", lines);
}

class Pipe {
 public:
  Pipe() { EXPECT_EQ(::pipe2(ends_, O_CLOEXEC), 0); }
  ~Pipe() {
    for (const int end : ends_) ::close(end);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  int writing() const { return ends_[1]; }
  // The next lines, until one is `last`.
  std::vector<std::string> read_until(const std::string& last) {
    std::vector<std::string> lines;
    while (lines.empty() || lines.back() != last) {
      const auto end = text_.find('\n');
      if (end == std::string::npos) {
        char bytes[65536];
        const ssize_t got = ::read(ends_[0], bytes, sizeof bytes);
        if (got <= 0) break;
        text_.append(bytes, static_cast<std::size_t>(got));
        continue;
      }
      lines.push_back(text_.substr(0, end));
      text_.erase(0, end + 1);
    }
    return lines;
  }

 private:
  int ends_[2] = {-1, -1};
  std::string text_;
};

std::string contents(const std::string& path) {
  std::string text(1 << 16, '\0');
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const ssize_t got = ::read(fd, text.data(), text.size());
  ::close(fd);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

TEST(LineWriterTest, WritesInOrderWithAndWithoutItsThread) {
  Pipe pipe;
  LineWriter writer(pipe.writing(), missing);
  writer.put("direct\n");
  writer.start();
  for (int i = 0; i < 100; ++i) writer.put(fmt::format("{}\n", i));
  EXPECT_TRUE(writer.flush(milliseconds(10'000)));
  const auto lines = pipe.read_until("99");
  ASSERT_EQ(lines.size(), 101U);
  EXPECT_EQ(lines.front(), "direct");
  for (std::size_t i = 0; i < 100; ++i) EXPECT_EQ(lines[i + 1], std::to_string(i));
  EXPECT_EQ(writer.dropped(), 0U);
}

TEST(LineWriterTest, FullPipeHoldsNobodyUpAndWhatIsMissingIsToldInItsPlace) {
  Pipe pipe;
  LineWriter writer(pipe.writing(), missing);
  writer.start();
  const std::string padding(1000, 'x');
  std::uint64_t put = 0;
  for (; writer.dropped() < 10; ++put) {
    ASSERT_LT(put, 10'000U) << "nothing is ever dropped";
    writer.put(fmt::format("{} {}\n", put, padding));
  }
  EXPECT_FALSE(writer.flush(milliseconds(20))) << "a flush waits for who does not read";
  EXPECT_GE(put * 1000, LineWriter::kMaxBytes);
  const std::uint64_t dropped = writer.dropped();
  const std::string told = fmt::format("missing {}", dropped);
  const auto lines = pipe.read_until(told);
  ASSERT_EQ(lines.back(), told) << "it is told as soon as somebody reads";
  ASSERT_EQ(lines.size() - 1, put - dropped);
  for (std::size_t i = 0; i + 1 < lines.size(); ++i) ASSERT_TRUE(lines[i].starts_with(fmt::format("{} ", i)));
  writer.put("after\n");
  EXPECT_THAT(pipe.read_until("after"), ElementsAre("after"));
}

TEST(LineWriterTest, LinesThatCannotBeWrittenAreCountedAndToldOnceTheyCanBeAgain) {
  for (const bool with_thread : {false, true}) {
    Pipe pipe;
    const int fd = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
    LineWriter writer(fd, missing);
    if (with_thread) writer.start();
    for (int i = 0; i < 3; ++i) writer.put("lost\n");
    EXPECT_TRUE(writer.flush(milliseconds(10'000)));
    EXPECT_EQ(writer.dropped(), 3U);
    ASSERT_EQ(::dup3(pipe.writing(), fd, O_CLOEXEC), fd);
    writer.put("after\n");
    EXPECT_THAT(pipe.read_until("after"), ElementsAre("missing 3", "after"));
    EXPECT_EQ(writer.dropped(), 3U);
    EXPECT_TRUE(writer.flush(milliseconds(10'000)));
    ::close(fd);
  }
}

TEST(LineWriterTest, LineThatWasCutIsEndedBeforeTheNext) {
  char path[] = "/tmp/line_writer_XXXXXX";
  const int fd = ::mkostemp(path, O_CLOEXEC);
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 9;  // a disk that is full after so many bytes
  LineWriter writer(fd, missing);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  writer.put("whole\n");
  writer.put("cut off\n");
  writer.put("lost\n");
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  writer.put("after\n");
  EXPECT_EQ(contents(path), "whole\ncut\nmissing 2\nafter\n");
  EXPECT_EQ(writer.dropped(), 2U);
  ::close(fd);
  ::unlink(path);
}

TEST(LineWriterTest, DescriptorThatSomeoneMadeNonBlockingLosesNothing) {
  Pipe pipe;
  ASSERT_EQ(::fcntl(pipe.writing(), F_SETFL, O_NONBLOCK), 0);
  LineWriter writer(pipe.writing(), missing);
  writer.start();
  const std::string padding(1000, 'x');
  for (int i = 0; i < 500; ++i) writer.put(padding + "\n");  // more than a pipe holds, less than may wait
  writer.put("last\n");
  EXPECT_EQ(pipe.read_until("last").size(), 501U);
  EXPECT_EQ(writer.dropped(), 0U);
}

TEST(LogOutputDeathTest, WhatWasLoggedBeforeACrashIsWritten) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        write_in_background();
        for (int i = 0; i < 500; ++i) log_info("test", "a line before the end", {{"i", i}});
        CHECK(stderr == nullptr);
      },
      testing::KilledBySignal(SIGABRT), "i=499\nbug: CHECK\\(stderr == nullptr\\) failed at .*\n$");
  EXPECT_EXIT(
      {
        write_in_background();
        for (int i = 0; i < 500; ++i) log_info("test", "a line before the end", {{"i", i}});
        flush_output();
        std::_Exit(3);
      },
      testing::ExitedWithCode(3), "i=499");
}

}  // namespace
}  // namespace dunlin
