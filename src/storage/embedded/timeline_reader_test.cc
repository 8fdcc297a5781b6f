#include "storage/embedded/timeline_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "storage/embedded/log/testing/log_harness.h"

namespace dunlin::embedded {
namespace {

class TimelineReaderTest : public testing::Test {
 protected:
  // Ten messages from ann to ben, the first eight in history alone, of which some have been recalled.
  void store_and_recall(std::initializer_list<std::uint64_t> seqs) {
    const SessionKey session = store_.open_session();
    std::vector<RecalledRecord> recalled;
    for (std::uint64_t i = 1; i <= 10; ++i) {
      const auto outcome = store_.send(session, "ann", "ben", "m" + std::to_string(i));
      ASSERT_FALSE(outcome.refused);
      if (std::ranges::find(seqs, i) != seqs.end()) recalled.push_back({1, outcome.seq, outcome.message->place().position});
      if (i != 8) continue;
      ASSERT_TRUE(store_.writer->seal().ok());
      store_.index();
      ASSERT_EQ(store_.window.record_bytes(), 0U);
    }
    ASSERT_TRUE(history_.begin_erase(recalled).ok());
  }
  // Page by page: what is read at each seq, M for the message, H for one that is hidden, C for another gap.
  std::string read(std::size_t page_messages, bool newest_first) {
    std::map<std::uint64_t, char> found;
    RangeQuery query{private_conversation("ann", "ben"), MessageSeq(1), MessageSeq(10), page_messages, 1 << 20, newest_first};
    for (int pages = 0; pages < 20; ++pages) {
      const auto page = store_.reader.range(query);
      if (!page.ok()) return page.error().to_string();
      std::uint64_t low = 11;
      std::uint64_t high = 0;
      const auto cover = [&](std::uint64_t seq, char what) {
        EXPECT_TRUE(found.emplace(seq, what).second) << seq << " comes twice";
        low = std::min(low, seq);
        high = std::max(high, seq);
      };
      for (const auto& message : page->messages) cover(message->seq().value(), 'M');
      for (const auto& gap : page->gaps) {
        for (auto seq = gap.from; seq <= gap.to; seq = seq.next()) cover(seq.value(), gap.reason == GapReason::NotVisible ? 'H' : 'C');
      }
      if (!page->more) break;
      if (newest_first) query.to = MessageSeq(low - 1);
      if (!newest_first) query.from = MessageSeq(high + 1);
    }
    std::string out;
    for (std::uint64_t seq = 1; seq <= 10; ++seq) out += found.contains(seq) ? found[seq] : '-';
    return out;
  }

  FaultyFileSystem files_{1};
  FakeHistory history_;
  LogHarness store_{files_, history_};
};

TEST_F(TimelineReaderTest, WhatHistoryHidesIsHiddenInPagesOfAnySizeBothWays) {
  store_and_recall({1, 3, 4, 8});
  for (const bool newest_first : {false, true}) {
    for (std::size_t size = 1; size <= 11; ++size) EXPECT_EQ(read(size, newest_first), "HMHHMMMHMM") << size << newest_first;
  }
}

TEST_F(TimelineReaderTest, APartOfHistoryThatIsHiddenAsAWholeIsOneGap) {
  store_and_recall({1, 2, 3, 4, 5, 6, 7, 8});
  for (const bool newest_first : {false, true}) {
    for (std::size_t size = 1; size <= 11; ++size) EXPECT_EQ(read(size, newest_first), "HHHHHHHHMM") << size << newest_first;
  }
}

}  // namespace
}  // namespace dunlin::embedded
