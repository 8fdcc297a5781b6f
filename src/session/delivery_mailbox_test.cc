#include "session/delivery_mailbox.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"

namespace dunlin {
namespace {

class CountingReceiver final : public DeliveryReceiver {
 public:
  void receive(DeliveryBatch& batch) override {
    ++batches;
    signals += batch.signals.size();
    probes += batch.probe ? 1 : 0;
  }
  void hints_were_lost() override { ++losses; }

  std::size_t batches = 0;
  std::size_t signals = 0;
  std::size_t probes = 0;
  std::size_t losses = 0;
};

class DeliveryMailboxTest : public testing::Test {
 protected:
  DeliveryMailboxTest() { mailbox_.set_receiver(&receiver_); }

  static DeliveryBatch transient(std::size_t body_bytes) {
    DeliveryBatch batch;
    batch.signals.push_back(
        {1, std::make_shared<const Signal>(TransientSignal{ConversationId("c"), UserId("u"), "id", "text", std::string(body_bytes, 'x')})});
    return batch;
  }

  ManualClock clock_;
  Worker worker_{0, clock_};
  metrics::Counter dropped_;
  DeliveryMailbox mailbox_{worker_, 100'000, dropped_};
  CountingReceiver receiver_;
};

TEST_F(DeliveryMailboxTest, BodiesOfTransientMessagesCountAgainstItsBound) {
  std::size_t kept = 0;
  for (int i = 0; i < 100; ++i) kept += mailbox_.post(transient(20'000)) ? 1 : 0;
  EXPECT_LE(kept, 6U);
  mailbox_.drain();
  EXPECT_EQ(receiver_.signals, kept);
}

TEST_F(DeliveryMailboxTest, WhatIsDroppedLeavesNothingBehind) {
  for (int i = 0; i < 100; ++i) static_cast<void>(mailbox_.post(transient(200'000)));
  mailbox_.drain();
  EXPECT_EQ(receiver_.batches, 1U);
}

TEST_F(DeliveryMailboxTest, AProbeArrivesThroughAFullMailboxAndOnlyAProbeCountsAsOne) {
  ASSERT_TRUE(mailbox_.post(transient(200'000)));
  ASSERT_FALSE(mailbox_.post(transient(1)));
  DeliveryBatch ask;
  ask.probe = true;
  EXPECT_TRUE(mailbox_.post(std::move(ask)));
  mailbox_.drain();
  EXPECT_EQ(receiver_.probes, 1U);
}

TEST_F(DeliveryMailboxTest, BatchesOfManyThreadsArriveOnceWhereTheyWereTaken) {
  worker_.start();
  std::atomic<std::size_t> taken{0};
  std::atomic<std::size_t> refused{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20'000; ++i) (mailbox_.post(transient(1'000)) ? taken : refused).fetch_add(1);
    });
  }
  for (auto& thread : threads) thread.join();
  for (int turn = 0; turn < 2; ++turn) {  // the first job may run before the mailbox of the same turn
    std::promise<void> done;
    ASSERT_TRUE(worker_.post([&] { done.set_value(); }));
    done.get_future().wait();
  }
  worker_.stop();
  EXPECT_EQ(receiver_.signals, taken.load());
  EXPECT_EQ(taken.load() + refused.load(), 80'000U);
}

}  // namespace
}  // namespace dunlin
