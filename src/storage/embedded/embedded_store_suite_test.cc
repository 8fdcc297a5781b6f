#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include "messaging/ports/one_order.h"
#include "messaging/ports/testing/store_suite.h"
#include "storage/embedded/embedded_store.h"
#include "storage/embedded/file/testing/faulty_file_system.h"

namespace dunlin::embedded {
namespace {

// The system's time, moved on by hand: both clocks together, as a machine that was left alone sees them. Any thread.
class ShiftedClock final : public Clock {
 public:
  MonotonicTime monotonic() const override { return SystemClock().monotonic() + shift(); }
  WallTime wall() const override { return SystemClock().wall() + shift(); }
  void advance(Milliseconds by) { shift_ms_ += by.count(); }

 private:
  Milliseconds shift() const { return Milliseconds(shift_ms_.load()); }
  std::atomic<std::int64_t> shift_ms_{0};
};

// History and state on a real disk, the log on a file system that fails when told.
class EmbeddedFixture final : public StoreFixture {
 public:
  explicit EmbeddedFixture(bool keep_recent) {
    static std::atomic<int> count{0};
    folder_ = testing::TempDir() + "/embedded-suite-" + std::to_string(::getpid()) + "-" + std::to_string(count++);
    std::filesystem::remove_all(folder_);
    EmbeddedOptions options;
    options.path = folder_;
    options.offload = &pool_;
    options.clock = &clock_;
    options.retention = kRetention;
    options.retain_every = std::chrono::milliseconds(0);
    options.segment_bytes = 1 << 20;
    options.file_system = &files_;
    options.keep_recent = keep_recent;
    options.heal_every = std::chrono::milliseconds(0);  // at once when switched off
    options.reserve_fraction = 0;
    options.fault_point = [this](std::string_view at) { trims_ += at == "trimmed" ? 1 : 0; };
    auto opened = EmbeddedStore::open(std::move(options));
    EXPECT_TRUE(opened.ok()) << (opened.ok() ? "" : opened.error().to_string());
    if (opened.ok()) store_ = *std::move(opened);
  }
  ~EmbeddedFixture() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  Timelines& timelines() override { return *store_; }
  Inboxes& inboxes() override { return *store_; }
  Feed* feed() override { return store_.get(); }
  void refuse_appends(bool refuse) override {
    if (refuse) {
      files_.fail(FaultyFileSystem::Call::Write, 0, ErrorCode::Io, UINT64_MAX);
    } else {
      files_.heal();
    }
  }
  // Until memory has let go of it too, which comes last.
  bool trim(std::span<const AppendOutcome> old) override {
    const InboxPosition position = to_inbox(old.back().message->place().position);
    settle_derived();
    const int before = trims_;
    clock_.advance(2 * kRetention);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while ((store_->trimmed_through("") < position || trims_ == before) && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return store_->trimmed_through("") >= position && trims_ > before;
  }
  void settle_derived() override {
    const auto done = store_->flush_to_history(std::chrono::seconds(30));
    EXPECT_TRUE(done.ok()) << (done.ok() ? "" : done.error().to_string());
  }
  void close() override { store_->close(); }

 private:
  static constexpr std::chrono::seconds kRetention{1200};  // longer than any case takes, shorter than what the clock guard doubts
  ShiftedClock clock_;
  std::atomic<int> trims_{0};
  FaultyFileSystem files_{1};
  OffloadPool pool_{OffloadPool::Options{"test", 2, 4096}};
  std::string folder_;
  std::unique_ptr<EmbeddedStore> store_;
};

}  // namespace
}  // namespace dunlin::embedded

namespace dunlin {
namespace {
const auto kEmbedded = testing::Values(StoreFactory([] { return std::make_unique<embedded::EmbeddedFixture>(false); }));
// The same with what history holds still in memory.
const auto kKeepsRecent = testing::Values(StoreFactory([] { return std::make_unique<embedded::EmbeddedFixture>(true); }));
}  // namespace
INSTANTIATE_TEST_SUITE_P(Embedded, TimelinesSuite, kEmbedded);
INSTANTIATE_TEST_SUITE_P(Embedded, InboxesSuite, kEmbedded);
INSTANTIATE_TEST_SUITE_P(Embedded, FeedSuite, kEmbedded);
INSTANTIATE_TEST_SUITE_P(EmbeddedKeepsRecent, TimelinesSuite, kKeepsRecent);
INSTANTIATE_TEST_SUITE_P(EmbeddedKeepsRecent, InboxesSuite, kKeepsRecent);
INSTANTIATE_TEST_SUITE_P(EmbeddedKeepsRecent, FeedSuite, kKeepsRecent);
}  // namespace dunlin
