#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "storage/embedded/history/history.h"
#include "storage/embedded/history/testing/history_scribe.h"

namespace dunlin::embedded {
namespace {

// Kills a forked child at one named point of its n-th use and looks at what is left.
class HistoryCrashTest : public ::testing::TestWithParam<const char*> {
 protected:
  static constexpr int kSegments = 6;

  void write_segment() {
    for (int i = 0; i < 20; ++i) scribe.write("ada", i % 2 ? "bob" : "cyn", "x");
  }
  // The same script in the child and, for what should be there, in the parent.
  void play(History* history) {
    for (int i = 0; i < kSegments; ++i) {
      write_segment();
      const SealedSegment segment = scribe.seal();
      if (history && segment.last > history->position() && !history->ingest(segment).ok()) _exit(3);
      scribe.clock.advance(std::chrono::hours(13));
      if (history && !history->retain(scribe.clock.wall()).ok()) _exit(4);
    }
  }
  void kill_child_at(std::string_view point, int nth) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      scribe.options.fault_point = [&, left = nth](std::string_view reached) mutable {
        if (reached == point && --left == 0) kill(getpid(), SIGKILL);
      };
      auto history = scribe.open();
      if (!history) _exit(2);
      play(history.get());
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "point " << point << " was not reached " << nth << " times, exit " << WEXITSTATUS(status);
  }

  HistoryScribe scribe;
};

TEST_P(HistoryCrashTest, LeavesWholeSegmentsAndTheRestCanBeIngestedAgain) {
  scribe.options.retention = std::chrono::hours(30);
  const auto begin = scribe.mark();
  const auto clock = scribe.clock;
  for (int nth = 1; nth <= 3; ++nth) {
    std::filesystem::remove_all(scribe.path());
    kill_child_at(GetParam(), nth);
    if (HasFatalFailure()) return;
    auto history = scribe.open();
    ASSERT_TRUE(history) << scribe.last_error.to_string();
    EXPECT_EQ(history->position().value() % 20, 0u) << "a segment is in whole or not at all";
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(scribe.path() + "/incoming"), {}), 0);
    play(history.get());
    EXPECT_EQ(history->position(), LogPosition(scribe.position));
    history.reset();
    history = scribe.open();
    for (const auto& [id, messages] : scribe.messages) {
      const auto head = history->head(id);
      ASSERT_TRUE(head.ok() && *head);
      EXPECT_EQ((*head)->last_seq, messages.back()->seq());
      const auto page = history->range(**head, HistoryScribe::all_of(id));
      ASSERT_TRUE(page.ok());
      EXPECT_EQ(page->messages.size() + (*head)->first_readable.value() - 1, messages.size());
      for (const auto& message : page->messages) EXPECT_TRUE(same_message(*message, *messages[message->seq().value() - 1]));
      for (const auto& gap : page->gaps) EXPECT_EQ(gap.reason, GapReason::Truncated);
    }
    scribe.back_to(begin);
    scribe.clock = clock;
  }
}

INSTANTIATE_TEST_SUITE_P(Points, HistoryCrashTest, ::testing::Values("sort", "volume", "files", "ingest", "watermark", "drop"),
                         [](const auto& point) { return std::string(point.param); });

}  // namespace
}  // namespace dunlin::embedded
