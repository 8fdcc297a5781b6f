#include "storage/memory/testing/shared_rows.h"

#include <gtest/gtest.h>

#include <string>

#include "messaging/model/conversation.h"
#include "runtime/spawn.h"
#include "storage/memory/memory_state_store.h"
#include "storage/memory/testing/shared_engine.h"

namespace dunlin {
namespace {

using Kind = shared::Appended::Kind;

shared::Append batch_of(std::uint64_t number, std::initializer_list<const char*> ids) {
  shared::Append out;
  out.node_epoch = 1;
  out.number = number;
  for (const char* id : ids) {
    out.sends.push_back({Message::create({private_conversation("ann", "bob").view(), "ann", id, {}, "{}"}), Durability::Fsync});
  }
  return out;
}

std::vector<Kind> kinds(const std::vector<shared::Appended>& appended) {
  std::vector<Kind> out;
  for (const shared::Appended& one : appended) out.push_back(one.kind);
  return out;
}

TEST(SharedRowsTest, TheSameBatchAgainIsStoredNowWithoutAnythingThatItsFirstTryHasLeftInTheMessages) {
  SharedRows rows;
  const auto first = rows.append(batch_of(1, {"a", "b", "a"}), 10);
  EXPECT_EQ(kinds(first), (std::vector<Kind>{Kind::Stored, Kind::Stored, Kind::Duplicate}));
  const shared::Append again = batch_of(1, {"a", "b", "a"});
  const auto second = rows.append(again, 20);
  EXPECT_EQ(kinds(second), (std::vector<Kind>{Kind::Stored, Kind::Stored, Kind::Duplicate}));
  EXPECT_EQ(second[1].place.seq, MessageSeq(2));
  EXPECT_EQ(second[1].place.time_ms, 10U);
  EXPECT_EQ(again.sends[0].message->seq(), MessageSeq(0)) << "the sender's message is his";
  EXPECT_EQ(kinds(rows.append(batch_of(2, {"a"}), 30)), std::vector<Kind>{Kind::Duplicate});
}

TEST(SharedRowsTest, AConversationThatIsAlwaysBusyIsNotOverdue) {
  SharedRows rows;
  const ConversationId conversation = private_conversation("ann", "bob");
  const auto overdue = [&](std::uint64_t before_ms) { return rows.due(0, before_ms, ConversationId(), 10).size(); };
  for (std::uint64_t i = 1; i <= 20; ++i) {  // each is cleared when the next is there already
    ASSERT_EQ(rows.append(batch_of(i, {std::to_string(i).c_str()}), i * 1'000)[0].kind, Kind::Stored);
    if (i > 1) rows.clear_due(0, {{conversation, MessageSeq(i - 1), 0}});
  }
  EXPECT_EQ(overdue(19'999), 0U);
  EXPECT_EQ(overdue(20'000), 1U);
  rows.append(batch_of(21, {"x"}), 21'000);
  EXPECT_EQ(overdue(20'000), 1U) << "since the first that is not cleared";
  rows.clear_due(0, {{conversation, MessageSeq(21), shared::kAnyGeneration}});
  EXPECT_FALSE(rows.any_due());
}

TEST(SharedRowsTest, DueIsReadInPages) {
  SharedRows rows;
  for (int i = 0; i < 5; ++i) {
    shared::Append batch = batch_of(static_cast<std::uint64_t>(i) + 1, {});
    batch.sends.push_back({Message::create({private_conversation("ann", "p" + std::to_string(i)).view(), "ann", "m", {}, "{}"}), {}});
    rows.append(batch, 1);
  }
  std::size_t seen = 0;
  ConversationId after;
  for (auto page = rows.due(0, 1, after, 2); !page.empty(); page = rows.due(0, 1, after, 2)) {
    EXPECT_GT(page.front().conversation, after);
    after = page.back().conversation;
    seen += page.size();
  }
  EXPECT_EQ(seen, 5U);
}

// A list that was begun before the loss claims to know more than the inbox holds after it.
TEST(SharedRowsTest, AReadPositionThatRisesAfterInboxesHaveLostTheirEndsIsFoundFromAnOlderList) {
  SystemClock clock;
  SharedEngine engine(SharedEngineOptions{.clock = &clock});
  const auto connection = engine.connect();
  MemoryStateStore state([&](const UserId& user) { return engine.highest_given(user); });
  const ConversationId conversation = private_conversation("ann", "bob");
  for (std::uint64_t i = 1; i <= 9; ++i) {
    ASSERT_TRUE(block_on(connection->append(batch_of(i, {std::to_string(i).c_str()}))).ok());
    for (const auto& noted : block_on(connection->note({{UserId("bob"), conversation, MessageSeq(i)}}))) ASSERT_TRUE(noted.ok());
  }
  const InboxPosition listed = engine.newest(UserId("bob"));
  while (engine.newest(UserId("bob")) == listed) engine.lose_tails(5);
  ASSERT_TRUE(block_on(state.raise_read({UserId("bob"), conversation, MessageSeq(2), {}})).ok());
  const auto changes = block_on(state.read_changes_since(UserId("bob"), listed, 10));
  ASSERT_TRUE(changes.ok());
  EXPECT_EQ(changes->changes.size(), 1U);
}

}  // namespace
}  // namespace dunlin
