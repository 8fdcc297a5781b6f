#include <gtest/gtest.h>

#include "base/log.h"
#include "storage/embedded/log/testing/log_harness.h"

namespace dunlin::embedded {
namespace {

// Two power cuts in a row, each in the middle of a batch: the disk may keep the end of a batch and not its beginning, so whole records of
// batches that nobody was told of lie behind the end of one segment and make up all of the next.
class TornSegmentTest : public testing::TestWithParam<std::uint32_t> {
 protected:
  static constexpr std::uint32_t kBatch = 3;

  void SetUp() override { set_log_level(LogLevel::Off); }
  void TearDown() override { set_log_level(LogLevel::Info); }

  // Sends a batch and takes it back from the disk but for the records from `kept` on.
  void send_torn(LogHarness& store, const std::string& name, std::uint32_t kept) {
    send(store, name);
    const std::uint64_t generation = newest();
    const auto names = files_.list("data/log");
    ASSERT_TRUE(names.ok());
    for (const auto& file : *names) {
      const std::string path = "data/log/" + file;
      std::string bytes = files_.content(path);
      const SegmentIndex index = index_segment(bytes, LogHarness::kSecret);
      if (index.generation != generation) continue;
      const BatchHead& batch = index.batches.back();
      std::uint32_t end = batch.place.offset + batch_records_offset(batch.count);
      for (std::uint32_t i = 0; i < kept; ++i) end += decode_table_row(bytes, batch, i).bytes;
      bytes.replace(batch.place.offset, end - batch.place.offset, end - batch.place.offset, '\0');
      files_.set_content(path, bytes);
    }
  }
  void send(LogHarness& store, const std::string& name) {
    const SessionKey session = store.open_session();
    std::vector<AppendRequest> requests;
    for (std::uint32_t i = 0; i < kBatch; ++i) {
      requests.push_back(store.request(session, "ann", "ben", name + std::to_string(i), "\"" + name + "\""));
    }
    for (const auto& outcome : store.commit(std::move(requests))) ASSERT_FALSE(outcome.refused);
  }
  std::uint64_t newest() {
    std::uint64_t generation = 0;
    const auto names = files_.list("data/log");
    for (const auto& name : *names) {
      generation = std::max(generation, index_segment(files_.content("data/log/" + name), LogHarness::kSecret).generation);
    }
    return generation;
  }
  // What a start finds is what was acked, and no damage.
  void expect_found(LogHarness& store, std::vector<std::string> ids) {
    ASSERT_TRUE(store.alive) << store.failure;
    EXPECT_EQ(store.recovered.scan.lost + store.recovered.scan.unknown, 0U) << "a torn batch was taken for damage";
    const RangePage page = store.all_of(private_conversation("ann", "ben"));
    EXPECT_TRUE(page.gaps.empty());
    std::vector<std::string> found;
    for (const auto& message : page.messages) found.emplace_back(message->client_msg_id());
    EXPECT_EQ(found, ids);
  }

  FaultyFileSystem files_{4};
  FakeHistory history_;
  const std::vector<std::string> first_{"a0", "a1", "a2", "b0", "b1", "b2"};
};

// The parameter: which records of the second torn batch are left. One: that all of it begins above what the log has.
TEST_P(TornSegmentTest, ATornFirstBatchBehindATornLastOneEndsTheLogWhereItWas) {
  {
    LogHarness store(files_, history_);
    send(store, "a");
    send(store, "b");
    send_torn(store, "x", 1);  // x1 and x2 are whole, behind a hole
  }
  {
    LogHarness store(files_, history_);
    expect_found(store, first_);
    send_torn(store, "y", GetParam());  // all that says that there is another segment
  }
  {
    LogHarness store(files_, history_);
    expect_found(store, first_);
    send(store, "c");
  }
  LogHarness store(files_, history_);
  expect_found(store, {"a0", "a1", "a2", "b0", "b1", "b2", "c0", "c1", "c2"});
}

INSTANTIATE_TEST_SUITE_P(Kept, TornSegmentTest, testing::Values(1, 2));

}  // namespace
}  // namespace dunlin::embedded
