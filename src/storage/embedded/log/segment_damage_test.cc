#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/log.h"
#include "storage/embedded/log/testing/log_harness.h"

namespace dunlin::embedded {
namespace {

// One flipped byte anywhere in the first batch of a segment may cost the record whose bytes it hit, and nothing else: neither an older
// segment, to which the chain leads through this one, nor a newer one.
class SegmentDamageTest : public testing::Test {
 protected:
  struct Shape {
    int ingested = 0;      // segments that history holds already; their files are used again
    int segments = 1;      // that it does not hold
    int batches = 1;       // in each of them
    int last_batches = 2;  // in the newest one
    int records = 1;       // in each batch
  };
  using Files = std::map<std::string, std::string>;

  void SetUp() override { set_log_level(LogLevel::Off); }
  void TearDown() override { set_log_level(LogLevel::Info); }

  void write(const Shape& shape) {
    LogHarness store(files_, history_);
    ASSERT_TRUE(store.alive);
    const SessionKey session = store.open_session();
    for (int i = 0; i < shape.ingested; ++i) {
      write_segment(store, session, 3, 2);
      ASSERT_TRUE(store.writer->seal().ok());
      store.index();
    }
    for (int i = 0; i < shape.segments; ++i) {
      const bool newest = i + 1 == shape.segments;
      write_segment(store, session, newest ? shape.last_batches : shape.batches, shape.records);
      if (newest) break;
      ASSERT_TRUE(store.writer->seal().ok());
    }
    remember();
  }

  void write_segment(LogHarness& store, SessionKey session, int batches, int records) {
    for (int b = 0; b < batches; ++b) {
      std::vector<AppendRequest> requests;
      for (int r = 0; r < records; ++r) {
        const std::string id = "m" + std::to_string(sent_.size());
        const std::string body = "\"body of " + id + "\"";
        requests.push_back(store.request(session, "ann", "peer" + std::to_string(r % 2), id, body));
        sent_.push_back(id);
      }
      for (const auto& outcome : store.commit(std::move(requests))) ASSERT_FALSE(outcome.refused);
    }
  }

  void remember() {
    before_.clear();
    const auto names = files_.list("data/log");
    ASSERT_TRUE(names.ok());
    for (const auto& name : *names) before_["data/log/" + name] = files_.content("data/log/" + name);
  }
  void put_back() {
    const auto names = files_.list("data/log");
    ASSERT_TRUE(names.ok());
    for (const auto& name : *names) {
      if (before_.contains("data/log/" + name)) continue;
      ASSERT_TRUE(files_.remove("data/log/" + name).ok());
    }
    for (const auto& [path, bytes] : before_) files_.set_content(path, bytes);
  }

  // Segments that history does not hold, oldest first.
  struct Segment {
    std::string path;
    SegmentIndex index;
  };
  std::vector<Segment> segments() {
    std::map<std::uint64_t, Segment> sorted;
    for (const auto& [path, bytes] : before_) {
      SegmentIndex index = index_segment(bytes, LogHarness::kSecret);
      if (index.generation == 0 || index.batches.back().last() <= history_.position()) continue;
      sorted.emplace(index.generation, Segment{path, index});
    }
    std::vector<Segment> out;
    out.reserve(sorted.size());
    for (auto& [generation, segment] : sorted) out.push_back(std::move(segment));
    return out;
  }

  std::set<std::string> served(LogHarness& store) {
    std::set<std::string> ids;
    for (const int peer : {0, 1}) {
      for (const auto& m : store.all_of(private_conversation("ann", "peer" + std::to_string(peer))).messages) {
        EXPECT_EQ(m->body(), "\"body of " + std::string(m->client_msg_id()) + "\"");
        EXPECT_TRUE(ids.emplace(m->client_msg_id()).second) << "twice";
      }
    }
    return ids;
  }

  // Starts on what is there now. `hit`: the message whose bytes are damaged, if any.
  void expect_all_but(const std::string& hit, bool must_report) {
    std::set<std::string> expected(sent_.begin(), sent_.end());
    std::uint64_t highest = 0;
    {
      LogHarness store(files_, history_);
      ASSERT_TRUE(store.alive) << store.failure;
      std::set<std::string> got = served(store);
      for (const auto& id : expected) {
        EXPECT_TRUE(id == hit || got.contains(id)) << "lost: " << id;
      }
      const LogScan& scan = store.recovered.scan;
      const std::uint64_t told = scan.lost + scan.unknown + scan.damaged + (scan.tail ? 1 : 0);
      EXPECT_TRUE(!must_report || told != 0) << "damage without a word";
      if (got.contains(hit))
        expected.insert(hit);
      else
        expected.erase(hit);
      const auto next = store.send(store.open_session(), "ann", "peer0", "the next one", "\"body of the next one\"");
      ASSERT_FALSE(next.refused);
      highest = next.seq.value();
      for (const auto& m : store.all_of(private_conversation("ann", "peer0")).messages) {
        EXPECT_TRUE(m->client_msg_id() == "the next one" || m->seq().value() < highest);
      }
    }
    // Also for the start after that, which finds one more segment.
    files_.kill();
    LogHarness again(files_, history_);
    ASSERT_TRUE(again.alive) << again.failure;
    expected.insert("the next one");
    EXPECT_EQ(served(again), expected);
  }

  void flip_every_byte_of_first_batches(const Shape& shape) {
    ASSERT_NO_FATAL_FAILURE(write(shape));
    const auto all = segments();
    ASSERT_EQ(all.size(), static_cast<std::size_t>(shape.segments));
    for (const Segment& segment : all) {
      const BatchHead& batch = segment.index.batches.front();
      ASSERT_EQ(batch.place.offset, 0U);
      const std::string& bytes = before_[segment.path];
      const bool last_of_log = &segment == &all.back() && segment.index.batches.size() == 1;
      std::uint32_t first_record = batch_records_offset(batch.count);
      for (std::uint32_t at = 0; at < batch.bytes && !HasFailure(); ++at) {
        std::uint32_t record = first_record;
        std::string hit;
        for (std::uint32_t i = 0; i < batch.count; ++i) {
          const std::uint32_t size = decode_table_row(bytes, batch, i).bytes;
          if (at >= record && at < record + size) {
            hit = decode_record(bytes, {batch.place.generation, record}, record + size, LogHarness::kSecret).message->client_msg_id();
          }
          record += size;
        }
        const bool padding = (at >= kBatchHeadBytes + batch.count * kTableRowBytes && at < first_record) || bytes[at] == '\0';
        // A damaged record in the very last batch cannot be told from a torn write: the batch is cut, and copied aside.
        if (last_of_log && !hit.empty()) continue;
        SCOPED_TRACE(segment.path + " byte " + std::to_string(at) + (hit.empty() ? " of the head" : " of " + hit));
        ASSERT_NO_FATAL_FAILURE(put_back());
        std::string changed = bytes;
        changed[at] = static_cast<char>(changed[at] ^ 0x20);
        files_.set_content(segment.path, changed);
        ASSERT_NO_FATAL_FAILURE(expect_all_but(hit, !padding));
      }
    }
  }

  FaultyFileSystem files_{1};
  FakeHistory history_;
  std::vector<std::string> sent_;
  Files before_;
};

TEST_F(SegmentDamageTest, AFlippedByteInTheOnlySegmentCostsItsRecordAlone) {
  flip_every_byte_of_first_batches({.segments = 1});
}

TEST_F(SegmentDamageTest, AFlippedByteInTheOnlyBatchOfOneOfTwoSegmentsCostsItsRecordAlone) {
  flip_every_byte_of_first_batches({.segments = 2});
}

TEST_F(SegmentDamageTest, AFlippedByteInTheOnlyBatchOfOneOfFourSegmentsCostsItsRecordAlone) {
  flip_every_byte_of_first_batches({.segments = 4});
}

TEST_F(SegmentDamageTest, AFlippedByteInTheOnlyBatchOfTheNewestSegmentKeepsAllOlderOnes) {
  flip_every_byte_of_first_batches({.segments = 3, .last_batches = 1, .records = 2});
}

TEST_F(SegmentDamageTest, AFlippedByteInARecycledFileShowsNothingOfItsEarlierLife) {
  flip_every_byte_of_first_batches({.ingested = 5, .segments = 3, .records = 3});
}

TEST_F(SegmentDamageTest, AFlippedByteInALongerSegmentCostsItsRecordAlone) {
  flip_every_byte_of_first_batches({.ingested = 1, .segments = 3, .batches = 3, .last_batches = 3, .records = 2});
}

TEST_F(SegmentDamageTest, ASegmentFileThatIsGoneCostsItsOwnRecordsAlone) {
  ASSERT_NO_FATAL_FAILURE(write({.ingested = 2, .segments = 4, .batches = 2, .records = 2}));
  const auto all = segments();
  ASSERT_EQ(all.size(), 4U);
  for (const std::size_t gone : {0U, 1U, 2U}) {
    for (const bool wiped : {false, true}) {
      SCOPED_TRACE(std::to_string(gone) + (wiped ? " wiped" : " removed"));
      ASSERT_NO_FATAL_FAILURE(put_back());
      if (wiped) {
        files_.set_content(all[gone].path, std::string(before_[all[gone].path].size(), '\0'));
      } else {
        ASSERT_TRUE(files_.remove(all[gone].path).ok());
      }
      LogHarness store(files_, history_);
      ASSERT_TRUE(store.alive) << store.failure;
      EXPECT_EQ(store.recovered.scan.unknown, 4U);
      EXPECT_EQ(served(store).size(), sent_.size() - 4);
      EXPECT_GT(store.send(store.open_session(), "ann", "peer0", "next").seq, MessageSeq(sent_.size() / 2));
    }
  }
}

TEST_F(SegmentDamageTest, ALostFirstSectorCostsWhatStoodInItAlone) {
  ASSERT_NO_FATAL_FAILURE(write({.ingested = 3, .segments = 3, .batches = 1, .last_batches = 2, .records = 6}));
  for (const Segment& segment : segments()) {
    SCOPED_TRACE(segment.path);
    ASSERT_NO_FATAL_FAILURE(put_back());
    std::string changed = before_[segment.path];
    const BatchHead& batch = segment.index.batches.front();
    std::set<std::string> hit;
    std::uint32_t record = batch_records_offset(batch.count);
    for (std::uint32_t i = 0; i < batch.count && record < 512; ++i) {
      const std::uint32_t size = decode_table_row(changed, batch, i).bytes;
      hit.emplace(decode_record(changed, {batch.place.generation, record}, record + size, LogHarness::kSecret).message->client_msg_id());
      record += size;
    }
    ASSERT_LT(hit.size(), 6U);
    changed.replace(0, 512, 512, '\0');
    files_.set_content(segment.path, changed);
    LogHarness store(files_, history_);
    ASSERT_TRUE(store.alive) << store.failure;
    const auto got = served(store);
    for (const auto& id : sent_) EXPECT_EQ(got.contains(id), !hit.contains(id)) << id;
    EXPECT_EQ(store.recovered.scan.unknown + store.recovered.scan.lost, hit.size());
  }
}

}  // namespace
}  // namespace dunlin::embedded
