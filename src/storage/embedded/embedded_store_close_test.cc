#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include "base/log.h"
#include "messaging/model/conversation.h"
#include "storage/embedded/embedded_store.h"

namespace dunlin::embedded {
namespace {

namespace fs = std::filesystem;

class Counter final : public CommitListener {
 public:
  void on_outcomes(std::span<AppendOutcome> outcomes, LogPosition) override {
    for (const auto& outcome : outcomes) stored_ += outcome.refused ? 0 : 1;
    answered_ += outcomes.size();
  }
  std::atomic<std::uint64_t> answered_{0};
  std::atomic<std::uint64_t> stored_{0};
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
  void send(EmbeddedStore& store, Counter& counter, const std::atomic<bool>& stop) {
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

}  // namespace
}  // namespace dunlin::embedded
