#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include "base/log.h"
#include "messaging/model/conversation.h"
#include "runtime/spawn.h"
#include "storage/embedded/embedded_store.h"

namespace dunlin::embedded {
namespace {

namespace fs = std::filesystem;

class Counter final : public StoreListener {
 public:
  void on_records(std::span<const InboxNews>) override {}
  void on_answers(std::span<AppendOutcome> outcomes) override {
    if (inside_.exchange(true)) ++overlaps_;
    std::this_thread::yield();
    for (const auto& outcome : outcomes) stored_ += outcome.refused ? 0 : 1;
    answered_ += outcomes.size();
    inside_ = false;
  }
  std::atomic<std::uint64_t> answered_{0};
  std::atomic<std::uint64_t> stored_{0};
  std::atomic<std::uint64_t> overlaps_{0};  // calls beside another
  std::atomic<bool> inside_{false};
};

// A stop in the middle of everything: sends in flight, segments sealed every few milliseconds, volumes made and dropped, compactions.
class EmbeddedStoreCloseTest : public testing::Test {
 protected:
  EmbeddedStoreCloseTest() : folder_(testing::TempDir() + "/embedded-close-" + std::to_string(::getpid())) {
    set_log_level(LogLevel::Error);
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~EmbeddedStoreCloseTest() override {
    pool_.stop();
    fs::remove_all(folder_);
    set_log_level(LogLevel::Info);
  }
  EmbeddedOptions options() {
    EmbeddedOptions options;
    options.path = folder_ + "/data";
    options.offload = &pool_;
    options.durability = Durability::Os;
    options.segment_bytes = 1 << 20;
    options.backlog_bytes = 4 << 20;
    options.volume_bytes = 1 << 20;
    options.retention_bytes = 8 << 20;
    options.retain_every = std::chrono::milliseconds(20);
    options.reserve_fraction = 0;
    return options;
  }
  // Sends until told to end, with a few thousand in flight.
  std::uint64_t send(EmbeddedStore& store, Counter& counter, const std::atomic<bool>& stop) {
    const SessionKey session = SessionKey::random();
    store.begin_session(session);
    const std::string body = "\"" + std::string(200, 'b') + "\"";
    std::uint64_t sent = 0;
    while (!stop) {
      if (sent > counter.answered_ + 4000) {
        std::this_thread::yield();
        continue;
      }
      std::vector<AppendRequest> requests(100);
      for (auto& request : requests) {
        const std::string peer = "peer" + std::to_string(sent % 701);
        const std::string id = session.text() + "-" + std::to_string(++sent);
        request.message = Message::create({private_conversation("ann", peer).view(), "ann", id, "", body});
        request.session = session;
        request.id = NumberedMsgId::parse(id);
        request.durability = Durability::Os;
        request.abandon = true;
      }
      store.append(requests);
    }
    EXPECT_GT(sent, 0U);
    return sent;
  }

  std::string folder_;
  OffloadPool pool_{OffloadPool::Options{"test", 2, 4096}};
};

TEST_F(EmbeddedStoreCloseTest, EndsSoonAfterVeryFastSendingIntoTinyVolumes) {
  for (int life = 0; life < 3; ++life) {
    Counter counter;
    auto store = EmbeddedStore::open(options());
    ASSERT_TRUE(store.ok()) << store.error().to_string();
    (*store)->set_listener(&counter);
    std::atomic<bool> stop{false};
    std::thread sender([&] { send(**store, counter, stop); });
    std::this_thread::sleep_for(std::chrono::milliseconds(100 + 50 * life));
    stop = true;
    sender.join();
    const auto start = std::chrono::steady_clock::now();
    store->reset();
    const auto took = std::chrono::steady_clock::now() - start;
    EXPECT_LT(took, std::chrono::seconds(20));
    RecordProperty("close_ms", static_cast<int>(took / std::chrono::milliseconds(1)));
    EXPECT_GT(counter.stored_, 0U);
  }
}

// Ids that are looked up, so that a close also meets sends that wait for history.
TEST_F(EmbeddedStoreCloseTest, SendersThatGoOnThroughItAreAnsweredOnceAndOneCallAtATime) {
  for (int life = 0; life < 3; ++life) {
    Counter counter;
    auto store = EmbeddedStore::open(options());
    ASSERT_TRUE(store.ok()) << store.error().to_string();
    EXPECT_EQ((*store)->recovery().cut_bytes, 0U);
    EXPECT_FALSE((*store)->recovery().epoch_renewed);
    (*store)->set_listener(&counter);
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> sent{0};
    std::vector<std::thread> senders;
    senders.emplace_back([&] { sent += send(**store, counter, stop); });
    for (int i = 0; i < 2; ++i) {
      senders.emplace_back([&, i] {
        const SessionKey session = SessionKey::random();
        (*store)->begin_session(session);
        std::uint64_t mine = 0;
        while (!stop) {
          AppendRequest request;
          const std::string id = std::to_string(life) + "." + std::to_string(i) + "." + std::to_string(++mine);
          request.message = Message::create({private_conversation("bob", "peer" + std::to_string(mine % 31)).view(), "bob", id, "", "{}"});
          request.session = session;
          request.durability = Durability::Os;
          request.abandon = true;
          (*store)->append({&request, 1});
          if (mine % 64 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        sent += mine;
        block_on((*store)->end_session(session));
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    (*store)->close();
    const std::uint64_t stored = counter.stored_;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    stop = true;
    for (auto& sender : senders) sender.join();
    store->reset();
    EXPECT_EQ(counter.answered_, sent);
    EXPECT_EQ(counter.overlaps_, 0U);
    EXPECT_GT(stored, 0U);
    EXPECT_EQ(counter.stored_, stored) << "stored behind the end mark";
  }
}

}  // namespace
}  // namespace dunlin::embedded
