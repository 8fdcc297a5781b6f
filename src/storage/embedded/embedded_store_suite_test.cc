#include <gtest/gtest.h>

#include <filesystem>

#include "messaging/ports/message_store_suite.h"
#include "storage/embedded/embedded_store.h"
#include "storage/embedded/file/faulty_file_system.h"

namespace dunlin::embedded {
namespace {

// History and state on a real disk, the log on a file system that fails when told.
class EmbeddedFixture final : public MessageStoreFixture {
 public:
  EmbeddedFixture() {
    static std::atomic<int> count{0};
    folder_ = testing::TempDir() + "/embedded-suite-" + std::to_string(::getpid()) + "-" + std::to_string(count++);
    std::filesystem::remove_all(folder_);
    EmbeddedOptions options;
    options.path = folder_;
    options.offload = &pool_;
    options.segment_bytes = 1 << 20;
    options.file_system = &files_;
    options.heal_every = std::chrono::milliseconds(0);  // at once when switched off
    options.reserve_fraction = 0;
    auto opened = EmbeddedStore::open(std::move(options));
    EXPECT_TRUE(opened.ok()) << (opened.ok() ? "" : opened.error().to_string());
    if (opened.ok()) store_ = *std::move(opened);
  }
  ~EmbeddedFixture() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  MessageStore& store() override { return *store_; }
  bool refuse_appends(bool refuse) override {
    if (refuse) {
      files_.fail(FaultyFileSystem::Call::Write, 0, ErrorCode::Io, UINT64_MAX);
    } else {
      files_.heal();
    }
    return true;
  }
  void settle_derived() override {
    const auto done = store_->flush_to_history(std::chrono::seconds(30));
    EXPECT_TRUE(done.ok()) << (done.ok() ? "" : done.error().to_string());
  }

 private:
  FaultyFileSystem files_{1};
  OffloadPool pool_{OffloadPool::Options{"test", 2, 4096}};
  std::string folder_;
  std::unique_ptr<EmbeddedStore> store_;
};

}  // namespace
}  // namespace dunlin::embedded

namespace dunlin {
INSTANTIATE_TEST_SUITE_P(Embedded, MessageStoreSuite,
                         testing::Values(MessageStoreFactory([] { return std::make_unique<embedded::EmbeddedFixture>(); })));
}  // namespace dunlin
