#include "runtime/worker.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <thread>

#include "runtime/spawn.h"

namespace dunlin {
namespace {

TEST(WorkerTest, RunsPostedJobsInOrderOnItsThread) {
  SystemClock clock;
  Worker worker(3, clock);
  worker.start();
  std::vector<int> seen;
  std::promise<void> done;
  Worker* where = nullptr;
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(worker.post([&seen, i] { seen.push_back(i); }));
  ASSERT_TRUE(worker.post([&] {
    where = Worker::current();
    done.set_value();
  }));
  done.get_future().wait();
  worker.stop();
  EXPECT_EQ(where, &worker);
  EXPECT_EQ(worker.index(), 3);
  ASSERT_EQ(seen.size(), 1000U);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(seen[i], i);
}

TEST(WorkerTest, RefusesJobsBeyondTheBoundOfItsQueue) {
  SystemClock clock;
  Worker worker(0, clock, {.queued_jobs = 2});
  EXPECT_TRUE(worker.post([] {}));
  EXPECT_TRUE(worker.post([] {}));
  EXPECT_FALSE(worker.post([] {}));
  worker.poll();
  EXPECT_TRUE(worker.post([] {}));
}

// What it goes on with in its next turn: the rest of a sweep over all sessions, say.
TEST(WorkerTest, RefusesNoJobOfItsOwn) {
  SystemClock clock;
  Worker worker(0, clock, {.queued_jobs = 2});
  int ran = 0;
  EXPECT_TRUE(worker.post([&] {
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(worker.post([&] { ++ran; }));
  }));
  worker.poll();
  worker.poll();
  EXPECT_EQ(ran, 5);
}

TEST(WorkerTest, RefusesJobsAfterRefuseButRunsThoseItTook) {
  SystemClock clock;
  Worker worker(0, clock);
  int ran = 0;
  EXPECT_TRUE(worker.post([&] { ++ran; }));
  worker.refuse();
  EXPECT_FALSE(worker.post([&] { ++ran; }));
  EXPECT_TRUE(worker.drain(Milliseconds(1000)));
  EXPECT_EQ(ran, 1);
}

TEST(WorkerTest, FiresTimersByItsClock) {
  struct Flag final : Timer {
    void on_timer() override { fired = true; }
    bool fired = false;
  };
  ManualClock clock;
  Worker worker(0, clock);
  Flag flag;
  worker.timers().arm(flag, clock.monotonic() + Milliseconds(30'000));
  clock.advance(Milliseconds(29'999));
  worker.poll();
  EXPECT_FALSE(flag.fired);
  clock.advance(Milliseconds(10));
  worker.poll();
  EXPECT_TRUE(flag.fired);
}

TEST(WorkerTest, FiresTimersWhileItWouldBlock) {
  struct Flag final : Timer {
    void on_timer() override { fired.set_value(); }
    std::promise<void> fired;
  };
  SystemClock clock;
  Worker worker(0, clock);
  Flag flag;
  worker.timers().arm(flag, clock.monotonic() + Milliseconds(20));
  worker.start();
  EXPECT_EQ(flag.fired.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
  worker.stop();
}

TEST(WorkerTest, WakesForASocketAndRunsHooksBeforeItBlocksAgain) {
  struct Reader final : Pollable, TurnHook {
    void on_ready(std::uint32_t) override {
      char byte;
      if (::read(fd, &byte, 1) == 1) ++unflushed;
    }
    void end_of_turn() override {
      while (unflushed > 0) {
        --unflushed;
        if (++flushed == 1000) done.set_value();
        [[maybe_unused]] ssize_t put = ::write(fd, "x", 1);
      }
    }
    int fd = -1;
    int unflushed = 0;
    int flushed = 0;
    std::promise<void> done;
  };
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  SystemClock clock;
  Worker worker(0, clock);
  Reader reader;
  reader.fd = ends[0];
  ASSERT_TRUE(worker.watch(ends[0], EPOLLIN, reader).ok());
  worker.add_hook(reader);
  worker.start();
  for (int i = 0; i < 1000; ++i) {  // one round trip at a time: a missed wake-up would hang here
    char byte;
    ASSERT_EQ(::write(ends[1], "x", 1), 1);
    ASSERT_EQ(::read(ends[1], &byte, 1), 1);
  }
  reader.done.get_future().wait();
  worker.stop();
  EXPECT_EQ(reader.flushed, 1000);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(WorkerTest, ItsHeartbeatGoesOnWhileIdle) {
  SystemClock clock;
  Worker worker(0, clock);
  worker.start();
  const MonotonicTime first = worker.last_turn();
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (worker.last_turn() == first && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
  EXPECT_GT(worker.last_turn(), first);
  worker.stop();
}

}  // namespace
}  // namespace dunlin
