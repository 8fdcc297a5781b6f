#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <thread>

#include "runtime/completion.h"
#include "runtime/deadline.h"
#include "runtime/offload.h"
#include "runtime/spawn.h"

namespace dunlin {
namespace {

Task<int> answer() {
  co_return 42;
}
Task<Result<int>> fails() {
  co_return Error(ErrorCode::NotFound, "no");
}
Task<Result<int>> passes_up() {
  CO_TRY_ASSIGN(int value, co_await fails());
  co_return value;
}

TEST(TaskTest, YieldsItsValueToTheAwaiter) {
  EXPECT_EQ(block_on(answer()), 42);
}

TEST(TaskTest, PassesAnErrorUp) {
  auto result = block_on(passes_up());
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), ErrorCode::NotFound);
}

TEST(TaskTest, IsLazy) {
  bool ran = false;
  {
    auto task = [](bool& flag) -> Task<void> {
      flag = true;
      co_return;
    }(ran);
  }
  EXPECT_FALSE(ran);
}

TEST(OffloadTest, RunsOnThePoolAndResumesOnTheAwaitingWorker) {
  SystemClock clock;
  OffloadPool pool({});
  Worker worker(0, clock);
  worker.start();
  std::promise<bool> done;
  ASSERT_TRUE(worker.post([&] {
    spawn([](OffloadPool& p, std::promise<bool>& d) -> Task<void> {
      Worker* const here = Worker::current();
      auto run = [] { return Worker::current() == nullptr ? 7 : 0; };
      auto result = co_await offload(p, run);
      d.set_value(result.ok() && *result == 7 && Worker::current() == here);
    }(pool, done));
  }));
  EXPECT_TRUE(done.get_future().get());
  EXPECT_TRUE(worker.drain(Milliseconds(5000)));
  pool.stop();
  worker.stop();
  EXPECT_EQ(worker.live_tasks(), 0U);
}

TEST(OffloadTest, WorksWithoutAWorkerAndFlattensResults) {
  OffloadPool pool({});
  auto good = block_on(offload(pool, []() -> Result<int> { return 5; }));
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(*good, 5);
  auto bad = block_on(offload(pool, []() -> Result<int> { return Error(ErrorCode::Io, "x"); }));
  EXPECT_FALSE(bad.ok());
  EXPECT_TRUE(block_on(offload(pool, [] {})).ok());
}

TEST(OffloadTest, AFullQueueGivesOverloaded) {
  std::promise<void> entered, release;  // before the pool, whose thread uses them
  OffloadPool pool({.threads = 1, .queue_jobs = 1});
  ASSERT_TRUE(pool.submit([&] {
    entered.set_value();
    release.get_future().wait();
  }));
  entered.get_future().wait();
  ASSERT_TRUE(pool.submit([] {}));
  auto result = block_on(offload(pool, [] { return 1; }));
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), ErrorCode::Overloaded);
  release.set_value();
}

TEST(OffloadTest, AResultForAStoppedWorkerIsDroppedAndItsFrameDestroyed) {
  SystemClock clock;
  OffloadPool pool({.threads = 1});
  auto worker = std::make_unique<Worker>(std::uint16_t{0}, clock);
  std::promise<void> entered, release;
  auto alive = std::make_shared<int>(1);
  bool resumed = false;
  ASSERT_TRUE(worker->post([&, alive]() mutable {
    spawn([](OffloadPool& p, std::promise<void>& in, std::promise<void>& out, bool& r, std::shared_ptr<int>) -> Task<void> {
      auto run = [&] {
        in.set_value();
        out.get_future().wait();
        return 1;
      };
      ignore(co_await offload(p, run));
      r = true;
    }(pool, entered, release, resumed, std::move(alive)));
  }));
  worker->poll();
  entered.get_future().wait();
  EXPECT_EQ(worker->live_tasks(), 1U);
  EXPECT_FALSE(worker->drain(Milliseconds(5)));
  worker->stop();
  EXPECT_EQ(worker->live_tasks(), 0U);
  worker.reset();
  release.set_value();
  pool.stop();
  EXPECT_FALSE(resumed);
  EXPECT_EQ(alive.use_count(), 1);
}

TEST(CompletionTest, ADroppedCompleterCancels) {
  auto [completer, completion] = make_completion<int>();
  {
    auto dropped = std::move(completer);
  }
  auto wait = [](Completion<int> c) -> Task<Result<int>> { co_return co_await std::move(c); };
  auto result = block_on(wait(std::move(completion)));
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), ErrorCode::Cancelled);
}

TEST(CompletionTest, ManyCompletionsFromOtherThreadsAllArrive) {
  SystemClock clock;
  OffloadPool pool({.threads = 2, .queue_jobs = 100000});
  Worker worker(0, clock);
  worker.start();
  std::promise<int> done;
  ASSERT_TRUE(worker.post([&] {
    auto left = std::make_shared<int>(1000);
    for (int i = 0; i < 1000; ++i) {
      spawn([](OffloadPool& p, std::shared_ptr<int> l, std::promise<int>& d) -> Task<void> {
        auto run = [] { return 1; };
        auto result = co_await offload(p, run);
        if (result.ok() && --*l == 0) d.set_value(0);
      }(pool, left, done));
    }
  }));
  EXPECT_EQ(done.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);
  pool.stop();
  worker.stop();
}

class DeadlineTest : public testing::Test {
 protected:
  // Waits on the worker; `got` tells what came, once.
  void wait(Milliseconds patience, Completion<int> completion) {
    ASSERT_TRUE(worker_.post([this, patience, completion = std::move(completion)]() mutable {
      spawn([](DeadlineTest& test, Milliseconds most, Completion<int> one) -> Task<void> {
        test.got_.push_back(co_await until(test.clock_.monotonic() + most, std::move(one)));
      }(*this, patience, std::move(completion)));
    }));
    worker_.poll();
  }
  void pass(Milliseconds time) {
    clock_.advance(time);
    worker_.poll();
  }

  ManualClock clock_;
  Worker worker_{0, clock_};
  std::vector<Result<int>> got_;
};

TEST_F(DeadlineTest, WhatCompletesInTimeIsGivenOnceAndLeavesNoTimer) {
  auto [completer, completion] = make_completion<int>();
  wait(Milliseconds(1000), std::move(completion));
  pass(Milliseconds(900));
  EXPECT_TRUE(got_.empty());
  completer.complete(7);
  worker_.poll();
  ASSERT_EQ(got_.size(), 1U);
  EXPECT_EQ(*got_[0], 7);
  EXPECT_EQ(worker_.timers().armed_count(), 0U);
  pass(Milliseconds(1000));
  EXPECT_EQ(got_.size(), 1U);
}

TEST_F(DeadlineTest, WhatIsThereAlreadyTakesNoTimer) {
  auto [completer, completion] = make_completion<int>();
  completer.complete(7);
  wait(Milliseconds(0), std::move(completion));
  ASSERT_EQ(got_.size(), 1U);
  EXPECT_EQ(*got_[0], 7);
}

TEST_F(DeadlineTest, AtTheDeadlineItIsATimeoutAndWhatComesLaterIsDropped) {
  auto [completer, completion] = make_completion<std::shared_ptr<int>>();
  bool timed_out = false;
  ASSERT_TRUE(worker_.post([&, waiting = std::move(completion)]() mutable {
    spawn([](bool& late, MonotonicTime deadline, Completion<std::shared_ptr<int>> one) -> Task<void> {
      const auto result = co_await until(deadline, std::move(one));
      late = !result.ok() && result.error().code() == ErrorCode::Timeout;
    }(timed_out, clock_.monotonic() + Milliseconds(1000), std::move(waiting)));
  }));
  worker_.poll();
  pass(Milliseconds(1010));
  EXPECT_TRUE(timed_out);
  EXPECT_EQ(worker_.live_tasks(), 0U);
  auto value = std::make_shared<int>(7);
  const std::weak_ptr<int> watched = value;
  completer.complete(std::move(value));
  worker_.poll();
  EXPECT_TRUE(watched.expired()) << "what came too late is not kept";
}

TEST_F(DeadlineTest, ACompletionOfAnotherThreadAndTheDeadlineNeverBothResumeIt) {
  for (int round = 0; round < 200; ++round) {
    got_.clear();
    auto [completer, completion] = make_completion<int>();
    wait(Milliseconds(8), std::move(completion));
    std::thread other([late = std::move(completer)]() mutable { late.complete(7); });
    while (got_.empty()) pass(Milliseconds(4));
    other.join();
    worker_.poll();
    ASSERT_EQ(got_.size(), 1U);
    EXPECT_TRUE(got_[0].ok() || got_[0].error().code() == ErrorCode::Timeout);
  }
}

TEST_F(DeadlineTest, StopDestroysAWaiter) {
  auto [completer, completion] = make_completion<int>();
  wait(Milliseconds(1000), std::move(completion));
  worker_.stop();
  EXPECT_EQ(worker_.timers().armed_count(), 0U);
  completer.complete(7);
  EXPECT_TRUE(got_.empty());
}

}  // namespace
}  // namespace dunlin
