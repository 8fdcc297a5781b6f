// ConversationList and TimelineAccess over the memory stores.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>

#include "messaging/conversation/conversation_list.h"
#include "messaging/conversation/timeline_access.h"
#include "messaging/model/conversation.h"
#include "runtime/completion.h"
#include "runtime/spawn.h"
#include "storage/memory/memory_message_store.h"
#include "storage/memory/memory_state_store.h"

namespace dunlin {
namespace {

class ConversationTest : public testing::Test {
 protected:
  static MemoryStoreOptions options(const Clock& clock) {
    MemoryStoreOptions out;
    out.clock = &clock;
    return out;
  }
  void send(std::string_view from, std::string_view to, int count = 1) {
    for (int i = 0; i < count; ++i) {
      AppendRequest request;
      request.message = Message::create({private_conversation(from, to).view(), from, "m" + std::to_string(++sends_), {}, "{}"});
      store_.append({&request, 1});
    }
  }
  static ConversationAccess access(std::string_view user, ConversationId conversation) { return *authorise(user, std::move(conversation)); }
  std::uint64_t read(std::string_view user, std::string_view peer, std::uint64_t seq) {
    const auto effect = block_on(access_.read(access(user, private_conversation(user, peer)), MessageSeq(seq)));
    EXPECT_TRUE(effect.ok());
    return effect.ok() ? effect->read_seq.value() : UINT64_MAX;
  }
  // There is no such seq, and the read position stays where it is.
  bool reads_beyond(std::string_view user, std::string_view peer, std::uint64_t seq) {
    const ConversationId conversation = private_conversation(user, peer);
    const std::vector<ReadKey> key{{UserId(user), conversation}};
    const auto before = *block_on(state_.read_positions(key));
    const auto effect = block_on(access_.read(access(user, conversation), MessageSeq(seq)));
    EXPECT_TRUE(effect.ok());
    EXPECT_EQ(*block_on(state_.read_positions(key)), before);
    return effect.ok() && effect->beyond_head;
  }
  ConversationListPage list(ConversationListQuery query) {
    auto page = block_on(lists_.list(std::move(query)));
    EXPECT_TRUE(page.ok()) << (page.ok() ? "" : page.error().to_string());
    return page.ok() ? *std::move(page) : ConversationListPage();
  }
  ConversationListPage newest(std::string_view user, std::size_t limit, std::string page = {}) {
    return list({UserId(user), limit, std::move(page), std::nullopt, {}});
  }
  ConversationListPage since(std::string_view user, InboxPosition position, std::size_t limit = 20, std::string page = {}) {
    return list({UserId(user), limit, std::move(page), position, {}});
  }
  static std::vector<std::string> peers(const ConversationListPage& page) {
    std::vector<std::string> out;
    for (const ConversationSummary& line : page.conversations) out.push_back(line.peer.str());
    return out;
  }
  using Peers = std::vector<std::string>;

  ManualClock clock_;
  MemoryMessageStore store_{options(clock_)};
  MemoryStateStore state_{store_};
  ConversationList lists_{store_, store_, state_};
  TimelineAccess access_{store_, state_};
  int sends_ = 0;
};

using ConversationListTest = ConversationTest;
using TimelineAccessTest = ConversationTest;

TEST_F(ConversationListTest, GivesTheNewestFirstWithLastMessageUnreadAndReadPositions) {
  send("bob", "alice", 3);
  send("carol", "alice", 2);
  send("alice", "bob");
  read("alice", "bob", 1);
  read("bob", "alice", 2);
  const ConversationListPage page = newest("alice", 10);
  EXPECT_EQ(peers(page), (Peers{"bob", "carol"}));
  EXPECT_FALSE(page.more);
  const ConversationSummary& bob = page.conversations[0];
  EXPECT_EQ(bob.last_seq, MessageSeq(4));
  EXPECT_EQ(bob.last_message->seq(), MessageSeq(4));
  EXPECT_EQ(bob.unread, 2U) << "own messages do not count";
  EXPECT_EQ(bob.read_seq, MessageSeq(1));
  EXPECT_EQ(bob.peer_read_seq, MessageSeq(2));
  EXPECT_EQ(page.conversations[1].unread, 2U);
}

TEST_F(ConversationListTest, ARecalledLastMessageIsAbsentAndItsLineIsNot) {
  send("bob", "alice", 3);
  ASSERT_TRUE(block_on(store_.recall(private_conversation("alice", "bob"), MessageSeq(3))).ok());
  const ConversationListPage page = newest("alice", 10);
  ASSERT_EQ(page.conversations.size(), 1U);
  EXPECT_FALSE(page.conversations[0].last_message);
  EXPECT_EQ(page.conversations[0].last_seq, MessageSeq(3));
  EXPECT_EQ(page.conversations[0].unread, 3U) << "its place still counts";
  const auto history = block_on(
      access_.history({.access = access("alice", private_conversation("alice", "bob")), .before = std::nullopt, .after = std::nullopt}));
  ASSERT_TRUE(history.ok());
  EXPECT_EQ(history->messages.size(), 2U);
  ASSERT_EQ(history->gaps.size(), 1U);
  EXPECT_EQ(history->gaps[0].reason, GapReason::NotVisible);
  EXPECT_FALSE(history->more);
}

TEST_F(ConversationListTest, UnreadIsCountedFromTheFirstMessageBehindRecalledOnes) {
  send("bob", "alice", 150);
  send("alice", "bob", 1);
  send("bob", "alice", 5);
  const ConversationId conversation = private_conversation("alice", "bob");
  read("alice", "bob", 2);
  // Where he has read to, and more than a page behind it: what cannot be given there counts for nothing, as with trimmed ones.
  for (std::uint64_t seq = 2; seq <= 149; ++seq) ASSERT_TRUE(block_on(store_.recall(conversation, MessageSeq(seq))).ok());
  EXPECT_EQ(newest("alice", 1).conversations[0].unread, 6U);
  // Recalled ones further on count as they did.
  ASSERT_TRUE(block_on(store_.recall(conversation, MessageSeq(153))).ok());
  EXPECT_EQ(newest("alice", 1).conversations[0].unread, 6U);
}

TEST_F(ConversationListTest, TellsHowFarThePeersFarthestDeviceHasGot) {
  send("alice", "bob", 5);
  const ConversationId conversation = private_conversation("alice", "bob");
  const auto delivered = [&] { return newest("alice", 1).conversations[0].peer_delivered_seq.value(); };
  const auto save = [&](std::string_view device, Epoch epoch, std::uint64_t position,
                        std::map<ConversationId, MessageSeq> exceptions = {}) {
    std::vector<DeviceStates::CursorWrite> writes;
    writes.push_back({UserId("bob"), DeviceId(device), {epoch, InboxPosition(position), std::move(exceptions), clock_.wall()}});
    EXPECT_TRUE(block_on(state_.save_cursors(std::move(writes))).ok());
  };
  EXPECT_EQ(delivered(), 0U);
  save("other epoch", Epoch{1}, 5);
  EXPECT_EQ(delivered(), 0U);
  save("phone", store_.epoch(), 2);
  EXPECT_EQ(delivered(), 2U);
  save("laptop", store_.epoch(), 5, {{conversation, MessageSeq(4)}});
  EXPECT_EQ(delivered(), 4U);
  save("tablet", store_.epoch(), 5);
  EXPECT_EQ(delivered(), 5U);
}

// A million random sends, reads and lists of five users who also write to themselves, against a model that knows nothing but who wrote
// which seq and how far each has read.
TEST_F(ConversationListTest, UnreadIsAFunctionOfSeqsSendersAndReadPositionsOverAMillionOperations) {
  constexpr int kUsers = 5;
  constexpr int kOperations = 1'000'000;
  struct Conversation {
    std::vector<std::uint32_t> by_first{0};  // [seq]: how many of the messages up to seq the user with the lower number wrote
    std::array<std::uint64_t, 2> read{0, 0};
    std::uint64_t unread(int side) const {
      const std::uint64_t last = by_first.size() - 1;
      const std::uint64_t by_first_after = by_first[last] - by_first[read[side]];
      return side == 0 ? last - read[0] - by_first_after : by_first_after;
    }
  };
  std::map<std::pair<int, int>, Conversation> model;
  const auto name = [](int user) { return "user" + std::to_string(user); };
  std::mt19937_64 random(20);
  std::uint64_t checked = 0;
  for (int operation = 0; operation < kOperations; ++operation) {
    const int user = static_cast<int>(random() % kUsers);
    const int peer = static_cast<int>(random() % kUsers);
    const int side = user < peer ? 0 : 1;
    const std::pair<int, int> key = std::minmax(user, peer);
    Conversation& conversation = model[key];
    const std::uint64_t last = conversation.by_first.size() - 1;
    const std::uint64_t choice = random() % 100;
    if (choice < 30 || last == 0) {
      send(name(user), name(peer));
      conversation.by_first.push_back(conversation.by_first.back() + (user == key.first ? 1 : 0));
    } else if (choice < 95) {
      const std::uint64_t seq = last - std::min<std::uint64_t>(random() % 20, last - 1);
      std::uint64_t& mark = conversation.read[user == peer ? 0 : side];
      mark = std::max(mark, seq);
      ASSERT_EQ(read(name(user), name(peer), seq), mark);
    } else {
      const ConversationListPage page = newest(name(user), kUsers);
      for (const ConversationSummary& line : page.conversations) {
        const int other = line.peer.str().back() - '0';
        const Conversation& expected = model[std::minmax(user, other)];
        ASSERT_EQ(line.last_seq.value(), expected.by_first.size() - 1);
        ASSERT_EQ(line.unread, user == other ? 0 : expected.unread(user < other ? 0 : 1)) << "operation " << operation;
        ++checked;
      }
    }
  }
  EXPECT_GT(checked, kOperations / 10U);
}

TEST_F(ConversationListTest, AUserOfFewConversationsPaysNotForTheirPast) {
  for (int i = 0; i < 30'000; ++i) send("peer" + std::to_string(i % 3), "alice");
  const std::uint64_t before = store_.rows_read();
  const ConversationListPage page = newest("alice", 20);
  EXPECT_EQ(page.conversations.size(), 3U);
  EXPECT_FALSE(page.more);
  EXPECT_LE(store_.rows_read() - before, 1'000U);
}

TEST_F(ConversationListTest, PagesListEveryConversationOnceNewestFirst) {
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 17; ++i) send("peer" + std::to_string((i * 5 + round * 7) % 17), "alice");
  }
  Peers all;
  std::string next;
  LogPosition last(UINT64_MAX);
  for (bool more = true; more;) {
    const ConversationListPage page = newest("alice", 4, next);
    ASSERT_LE(page.conversations.size(), 4U);
    for (const ConversationSummary& line : page.conversations) {
      all.push_back(line.peer.str());
      EXPECT_LT(line.last_message->place().position, last);
      last = line.last_message->place().position;
    }
    more = page.more;
    next = page.next;
  }
  EXPECT_EQ(all.size(), 17U);
  EXPECT_EQ(std::set<std::string>(all.begin(), all.end()).size(), 17U);
}

TEST_F(ConversationListTest, AReplyThatWasCutGoesOnWithTheLineThatItLacks) {
  for (int i = 0; i < 9; ++i) send("peer" + std::to_string(i), "alice");
  const ConversationListPage page = newest("alice", 6);
  const ConversationListPage rest = newest("alice", 20, page.conversations[3].cursor);
  EXPECT_EQ(peers(rest), (Peers{"peer5", "peer4", "peer3", "peer2", "peer1", "peer0"}));
}

TEST_F(ConversationListTest, NamedOnesAreGivenAsTheyStandChangedOrNot) {
  for (int i = 0; i < 50; ++i) send("peer" + std::to_string(i), "alice");
  send("alice", "alice");
  ConversationListQuery query;
  query.user = UserId("alice");
  for (const char* peer : {"peer40", "nobody yet", "alice", "peer3"})
    query.named.push_back(access("alice", private_conversation("alice", peer)));
  const ConversationListPage page = list(query);
  EXPECT_EQ(peers(page), (Peers{"peer40", "alice", "peer3"}));
  EXPECT_FALSE(page.more);
  EXPECT_EQ(page.conversations[2].unread, 1U);
  for (int i = 0; i < 50; ++i) query.named.push_back(access("alice", private_conversation("alice", "peer" + std::to_string(i))));
  EXPECT_EQ(list(query).conversations.size(), 53U);
}

TEST_F(ConversationListTest, NamedOnesBeyondThePageAreLeftForTheNextQuestion) {
  ConversationListQuery query;
  query.user = UserId("alice");
  for (int i = 0; i < 40; ++i) {
    const std::string peer = "peer" + std::to_string(i);
    AppendRequest request;
    request.message = Message::create({private_conversation(peer, "alice").view(), peer, "m", {}, std::string(10'000, 'x')});
    store_.append({&request, 1});
    query.named.push_back(access("alice", private_conversation("alice", peer)));
  }
  std::size_t listed = 0;
  for (int pages = 0; pages < 10 && !query.named.empty(); ++pages) {
    const ConversationListPage page = list(query);
    ASSERT_FALSE(page.conversations.empty());
    EXPECT_EQ(page.more, page.conversations.size() < query.named.size());
    for (const ConversationSummary& line : page.conversations) {
      EXPECT_EQ(line.conversation, query.named.front().conversation());
      query.named.erase(query.named.begin());
      ++listed;
    }
  }
  EXPECT_EQ(listed, 40U);
}

TEST_F(ConversationListTest, IncrementalGivesWhatChangedEachOnce) {
  for (int i = 0; i < 50; ++i) send("peer" + std::to_string(i), "alice");
  const InboxPosition before = newest("alice", 1).snapshot;
  EXPECT_TRUE(since("alice", before).conversations.empty());
  send("peer7", "alice", 2);
  send("peer9", "alice");
  send("peer7", "alice");
  read("alice", "peer9", 2);
  read("alice", "peer20", 1);
  read("peer30", "alice", 1);
  const ConversationListPage page = since("alice", before);
  EXPECT_EQ(peers(page), (Peers{"peer7", "peer9", "peer20", "peer30"}));
  EXPECT_FALSE(page.more);
  EXPECT_TRUE(since("alice", page.snapshot.next()).conversations.empty());
}

TEST_F(ConversationListTest, IncrementalPagesJoinAcrossBothParts) {
  for (int i = 0; i < 120; ++i) send("peer" + std::to_string(i), "alice");
  const InboxPosition before = newest("alice", 1).snapshot;
  for (int i = 0; i < 7; ++i) send("peer" + std::to_string(i), "alice");
  // Many read positions rise at one log position, more than any page holds.
  for (int i = 20; i < 100; ++i) read("alice", "peer" + std::to_string(i), 1);
  std::set<std::string> all;
  std::string next;
  std::size_t lines = 0;
  for (bool more = true; more;) {
    const ConversationListPage page = since("alice", before, 5, next);
    ASSERT_LE(page.conversations.size(), 5U);
    for (const std::string& peer : peers(page)) all.insert(peer);
    lines += page.conversations.size();
    more = page.more;
    next = page.next;
    ASSERT_LE(lines, 200U);
  }
  EXPECT_EQ(lines, 87U);
  EXPECT_EQ(all.size(), 87U);
}

// What the pages of one list named, and how often.
struct Listed {
  std::map<std::string, int> times;
  std::size_t pages = 0;
  std::size_t lines = 0;
  InboxPosition snapshot;
};

class PagedListTest : public ConversationTest {
 protected:
  // Reads a list to its end, with `between` before each page but the first.
  template <class Between>
  Listed read_pages(std::size_t limit, std::optional<InboxPosition> since, Between between, std::string page = {}) {
    Listed out;
    for (bool more = true; more;) {
      if (out.pages > 0) between();
      const ConversationListPage got = list({UserId("alice"), limit, page, since, {}});
      EXPECT_LE(got.conversations.size(), limit);
      EXPECT_TRUE(!got.conversations.empty() || (out.pages == 0 && page.empty())) << "an empty page behind `more`";
      EXPECT_TRUE(out.pages == 0 || got.snapshot == out.snapshot) << "one list, one token";
      for (const std::string& peer : peers(got)) ++out.times[peer];
      out.lines += got.conversations.size();
      out.snapshot = got.snapshot;
      more = got.more;
      page = got.next;
      if (++out.pages > 5000) {
        ADD_FAILURE() << "the list does not end";
        break;
      }
    }
    return out;
  }
  Listed read_pages(std::size_t limit, std::optional<InboxPosition> since = std::nullopt) {
    return read_pages(limit, since, [] {});
  }
  std::string some_peer(std::size_t of) { return "peer" + std::to_string(random_() % of); }
  // Everyone who has written or read since the first page, for the next incremental list.
  void send_some(std::size_t of, int most, std::set<std::string>& who) {
    for (std::uint64_t n = random_() % static_cast<std::uint64_t>(most); n > 0; --n) {
      const std::string peer = some_peer(of);
      random_() % 2 == 0 ? send(peer, "alice") : send("alice", peer);
      who.insert(peer);
    }
  }
  void expect_named(const Listed& listed, const std::set<std::string>& who) {
    for (const std::string& peer : who) EXPECT_TRUE(listed.times.contains(peer)) << peer << " was omitted";
  }

  std::mt19937_64 random_{20261128};
};

TEST_F(PagedListTest, AWholeListNamesEachOnceOrTwiceAndEndsWhateverIsWrittenMeanwhile) {
  constexpr std::size_t kPeers = 60;
  constexpr std::size_t kAcross = 16;  // entries of one run at most: what coalescing can bring a second time
  for (std::size_t i = 0; i < kPeers; ++i) send("peer" + std::to_string(i), "alice");
  for (const std::size_t limit : {1U, 3U, 20U}) {
    for (int round = 0; round < 10; ++round) {
      std::set<std::string> who;
      const Listed listed = read_pages(limit, std::nullopt, [&] { send_some(kPeers, 60, who); });
      EXPECT_EQ(listed.times.size(), kPeers);
      for (const auto& [peer, times] : listed.times) EXPECT_LE(times, 2) << peer;
      EXPECT_LE(listed.lines, kPeers + kAcross);
      EXPECT_LE(listed.pages, (kPeers + kAcross) / limit + 1);
      expect_named(read_pages(20, listed.snapshot), who);
    }
  }
}

TEST_F(PagedListTest, ConversationsThatBeginWhileAListIsReadAreForTheNext) {
  for (int i = 0; i < 30; ++i) send("peer" + std::to_string(i), "alice");
  int strangers = 0;
  const Listed listed = read_pages(1, std::nullopt, [&] {
    for (int n = 0; n < 5; ++n) send("stranger" + std::to_string(strangers++), "alice");
  });
  EXPECT_EQ(listed.times.size(), 30U);
  EXPECT_LE(listed.pages, 30U + 16U);
  EXPECT_EQ(read_pages(20, listed.snapshot).times.size(), static_cast<std::size_t>(strangers));
}

TEST_F(PagedListTest, AnIncrementalListNamesEachOnceAndWhatIsWrittenMeanwhileIsForTheNext) {
  constexpr std::size_t kPeers = 60;
  for (std::size_t i = 0; i < kPeers; ++i) send("peer" + std::to_string(i), "alice");
  InboxPosition token = newest("alice", 1).snapshot;
  for (const std::size_t limit : {1U, 3U, 20U}) {
    for (int round = 0; round < 10; ++round) {
      std::set<std::string> before;
      send_some(kPeers, 100, before);
      std::set<std::string> meanwhile;
      const Listed listed = read_pages(limit, token, [&] { send_some(kPeers, 60, meanwhile); });
      EXPECT_EQ(listed.times.size(), before.size());
      expect_named(listed, before);
      EXPECT_EQ(listed.lines, before.size()) << "once each";
      EXPECT_LE(listed.pages, before.size() / limit + 1);
      const Listed next = read_pages(7, listed.snapshot);
      EXPECT_EQ(next.times.size(), meanwhile.size());
      expect_named(next, meanwhile);
      token = next.snapshot;
    }
  }
}

TEST_F(PagedListTest, ReadPositionsThatRiseMeanwhileAreNamedOnceOrTwiceAndByTheNext) {
  constexpr std::size_t kPeers = 60;
  for (int n = 0; n < 300; ++n) {  // to rise to
    for (std::size_t i = 0; i < kPeers; ++i) send("peer" + std::to_string(i), "alice");
  }
  std::vector<std::uint64_t> seqs(kPeers, 0);
  std::set<std::string> who;
  const auto read_some = [&] {
    for (int n = 0; n < 3; ++n) {
      const std::size_t i = random_() % kPeers;
      read("alice", "peer" + std::to_string(i), ++seqs[i]);
      who.insert("peer" + std::to_string(i));
    }
  };
  InboxPosition token = newest("alice", 1).snapshot;
  for (const std::size_t limit : {1U, 3U, 20U}) {
    for (int round = 0; round < 10; ++round) {
      who.clear();
      for (int n = 0; n < 20; ++n) read_some();
      send("stranger", "alice");
      who.insert("stranger");
      const std::set<std::string> before = std::exchange(who, {});
      int left = 40;
      const Listed listed = read_pages(limit, token, [&] {
        if (left-- > 0) read_some();
        if (random_() % 2 == 0) send_some(10, 2, who);
        if (random_() % 2 == 0) return;
        send("stranger", "alice");
        who.insert("stranger");
      });
      EXPECT_LE(listed.lines, 2 * kPeers + 1);
      for (const auto& [peer, times] : listed.times) EXPECT_LE(times, 2) << peer;
      const Listed next = read_pages(20, listed.snapshot);
      expect_named(next, who);
      expect_named(listed, before);
      token = next.snapshot;
    }
  }
}

TEST_F(PagedListTest, NoPageIsEmptyWhereOnlyOlderActivityIsLeft) {
  for (int round = 0; round < 40; ++round) {
    for (int i = 0; i < 5; ++i) send("peer" + std::to_string(i), "alice");
  }
  const InboxPosition begin(60);
  for (const std::size_t limit : {1U, 2U, 5U}) {
    const Listed whole = read_pages(limit);
    EXPECT_EQ(whole.lines, 5U);
    EXPECT_EQ(whole.pages, (5 + limit - 1) / limit);
    const Listed changed = read_pages(limit, begin);
    EXPECT_EQ(changed.lines, 5U);
    EXPECT_EQ(changed.pages, (5 + limit - 1) / limit);
  }
}

// Lists while the store is telling of a record, which can be read and is not settled yet.
class ListsAtOnce final : public StoreListener {
 public:
  explicit ListsAtOnce(std::function<void()> run) : run_(std::move(run)) {}
  void on_answers(std::span<AppendOutcome>) override { run_(); }
  void on_records(std::span<const InboxNews>) override {}

 private:
  std::function<void()> run_;
};

TEST_F(PagedListTest, AListThatIsBegunBeforeItsNewestRecordIsSettledHasItAndRepeatsNothing) {
  std::vector<ConversationListPage> begun;
  ListsAtOnce listener([&] { begun.push_back(newest("alice", 1)); });
  store_.set_listener(&listener);
  std::size_t peers_so_far = 0;
  for (const int peer : {0, 1, 2, 0, 3, 1}) {
    send("peer" + std::to_string(peer), "alice");
    peers_so_far = std::max(peers_so_far, static_cast<std::size_t>(peer) + 1);
    ASSERT_FALSE(begun.empty());
    const ConversationListPage first = std::move(begun.back());
    begun.clear();
    EXPECT_EQ(peers(first), Peers{"peer" + std::to_string(peer)}) << "who was answered finds what he sent";
    EXPECT_EQ(first.more, peers_so_far > 1);
    if (!first.more) continue;
    const Listed rest = read_pages(1, std::nullopt, [] {}, first.next);
    EXPECT_EQ(rest.lines, peers_so_far - 1);
    EXPECT_FALSE(rest.times.contains("peer" + std::to_string(peer)));
  }
}

TEST_F(PagedListTest, WhatIsTrimmedWhileAListIsReadHidesNothingElse) {
  constexpr std::size_t kPeers = 30;
  for (std::size_t i = 0; i < kPeers; ++i) send("peer" + std::to_string(i), "alice");
  const InboxPosition token = newest("alice", 1).snapshot;
  for (int n = 0; n < 3; ++n) {
    for (std::size_t i = 0; i < kPeers; ++i) send("peer" + std::to_string(i), "alice");
  }
  std::uint64_t trim = token.value();
  const Listed listed = read_pages(1, token, [&] { store_.trim_through(LogPosition(trim += 2)); });
  EXPECT_EQ(listed.times.size(), kPeers);
  EXPECT_LE(listed.lines, 2 * kPeers);
}

TEST_F(ConversationListTest, WhatIsReadWhileAListIsMadeIsInItOrInTheNext) {
  send("bob", "alice", 2);
  send("carol", "alice", 2);
  std::vector<Completer<std::monostate>> waiting;
  state_.hold_raises(&waiting);
  const auto read_slowly = [](TimelineAccess& timelines, std::string peer) -> Task<void> {
    const auto effect = co_await timelines.read(access("alice", private_conversation("alice", peer)), MessageSeq(2));
    EXPECT_TRUE(effect.ok());
  };
  spawn(read_slowly(access_, "bob"));
  send("dave", "alice");
  spawn(read_slowly(access_, "carol"));
  send("erin", "alice");
  const InboxPosition first = newest("alice", 10).snapshot;
  waiting[1].complete(std::monostate{});
  const ConversationListPage second = since("alice", first);
  EXPECT_EQ(peers(second), (Peers{"dave", "erin", "carol"})) << "what was sent meanwhile may come twice";
  waiting[0].complete(std::monostate{});
  EXPECT_EQ(peers(since("alice", second.snapshot)), (Peers{"dave", "erin", "bob", "carol"}));
  EXPECT_EQ(newest("alice", 10).snapshot, InboxPosition(store_.feed_end().value()));
}

TEST_F(ConversationListTest, CostsRowsForWhatItReturnsNotForTheAccount) {
  for (int i = 0; i < 5000; ++i) send("peer" + std::to_string(i), "alice");
  const std::uint64_t at_first = store_.rows_read();
  const ConversationListPage page = newest("alice", 20);
  EXPECT_EQ(page.conversations.size(), 20U);
  EXPECT_LE(store_.rows_read() - at_first, 20U * 6);
  send("peer3", "alice");
  send("peer4", "alice");
  const std::uint64_t at_second = store_.rows_read();
  EXPECT_EQ(since("alice", page.snapshot).conversations.size(), 2U);
  EXPECT_LE(store_.rows_read() - at_second, 2U * 6);
}

TEST_F(ConversationListTest, BelowTheTrimEverythingIsListed) {
  send("bob", "alice");
  const InboxPosition before = newest("alice", 1).snapshot;
  send("carol", "alice", 2);
  send("dave", "alice", 2);
  store_.trim_through(LogPosition(3));
  EXPECT_EQ(peers(since("alice", before.prev())), (Peers{"dave"}));
}

TEST_F(ConversationListTest, ForeignPageCursorsAreRefused) {
  send("bob", "alice");
  send("carol", "alice");
  const std::string good = newest("alice", 1).conversations[0].cursor;
  const std::size_t name = good.rfind('.') + 1;
  for (std::size_t cut = 1; cut < good.size(); ++cut) {
    const auto got = block_on(lists_.list({UserId("alice"), 5, good.substr(0, cut), std::nullopt, {}}));
    EXPECT_FALSE(got.ok() && cut <= name + 8) << good.substr(0, cut);
    // A shorter name may be that of another conversation of hers, which has no message.
    EXPECT_TRUE(!got.ok() || peers(*got) == Peers{"bob"}) << good.substr(0, cut);
  }
  std::string other_epoch = good;
  other_epoch[2] = other_epoch[2] == '1' ? '2' : '1';
  EXPECT_FALSE(block_on(lists_.list({UserId("alice"), 5, other_epoch, std::nullopt, {}})).ok());
  EXPECT_FALSE(block_on(lists_.list({UserId("bob"), 5, good.substr(0, good.rfind('.')) + ".p5:alice:carol", std::nullopt, {}})).ok())
      << "a conversation of others";
}

TEST_F(ConversationListTest, APageCursorClaimsNoMoreThanTheStoreHas) {
  send("bob", "alice");
  send("carol", "alice");
  const std::string good = newest("alice", 1).next;
  for (const char* claimed : {"2", "7fffffffffffffff", "ffffffffffffffff"}) {
    std::string forged = good;
    // phase, epoch, begun, covered
    const std::size_t at = forged.find('.', forged.find('.', 2) + 1) + 1;
    forged.replace(at, forged.find('.', at) - at, claimed);
    EXPECT_LE(newest("alice", 1, forged).snapshot, InboxPosition(store_.feed_end().value())) << forged;
  }
}

// R3.2: unread is a function of the timeline and the read position, whatever happens in which order.
TEST_F(ConversationListTest, UnreadEqualsTheRecomputedOne) {
  std::mt19937_64 random(5);
  const std::vector<std::string> users{"alice", "bob", "carol"};
  std::map<std::string, std::map<std::string, std::uint64_t>> read_seq;  // user → peer → seq
  int lines_seen = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string& user = users[random() % 3];
    const std::string& peer = users[random() % 3];
    const int dice = static_cast<int>(random() % 100);
    if (dice < 50) {
      send(user, peer);
    } else if (dice < 70) {
      const std::uint64_t seq = random() % 40;
      auto& held = read_seq[user][peer];
      const std::uint64_t head = block_on(store_.head(private_conversation(user, peer)))->last_seq.value();
      if (seq > head) {
        EXPECT_TRUE(reads_beyond(user, peer, seq));
        continue;
      }
      held = std::max(held, seq);
      EXPECT_EQ(read(user, peer, seq), held);
    } else if (dice < 72) {
      store_.trim_through(LogPosition(store_.trimmed_position().value() + random() % 10));
    } else {
      const ConversationId conversation = private_conversation(user, peer);
      const ConversationHead head = *block_on(store_.head(conversation));
      const std::uint64_t held = read_seq[user][peer];
      std::uint64_t expected = 0;
      RangeQuery all{conversation, MessageSeq(1), head.last_seq, 100000, 1 << 30, false};
      const auto page = block_on(store_.range(std::move(all)));
      for (const MessagePtr& message : page->messages) {
        expected += message->seq().value() > held && message->sender() != user ? 1 : 0;
      }
      const ConversationListPage lines = newest(user, 10);
      const auto line = std::ranges::find(lines.conversations, conversation, &ConversationSummary::conversation);
      if (line == lines.conversations.end()) {
        EXPECT_TRUE(page->messages.empty()) << "it can be read and is not listed";
        continue;
      }
      EXPECT_EQ(line->unread, expected);
      EXPECT_EQ(line->read_seq, MessageSeq(held));
      EXPECT_EQ(line->first_seq, head.first_readable);
      EXPECT_EQ(static_cast<bool>(line->last_message), !page->messages.empty());
      ++lines_seen;
    }
  }
  EXPECT_GT(lines_seen, 300);
}

// A list that is begun, or goes on from what a client says, has to know where the inbox ends; that may be a read.
TEST_F(ConversationListTest, ANamedListDoesNotAskWhereTheInboxEnds) {
  struct Counted final : MemoryMessageStore {
    using MemoryMessageStore::MemoryMessageStore;
    Task<Result<InboxEnd>> newest(UserId user) override {
      ++asked;
      return MemoryMessageStore::newest(std::move(user));
    }
    int asked = 0;
  };
  Counted store{options(clock_)};
  MemoryStateStore state{store};
  ConversationList lists{store, store, state};
  for (const char* peer : {"bob", "carol", "dave"}) {
    AppendRequest request;
    request.message = Message::create({private_conversation(peer, "alice").view(), peer, "m", {}, "{}"});
    store.append({&request, 1});
  }
  ConversationListQuery named{.user = UserId("alice"), .page = {}, .since = std::nullopt, .named = {}};
  for (const char* peer : {"bob", "nobody"}) named.named.push_back(access("alice", private_conversation("alice", peer)));
  EXPECT_EQ(block_on(lists.list(named))->conversations.size(), 1U);
  EXPECT_EQ(store.asked, 0);
  const auto first = block_on(lists.list({.user = UserId("alice"), .limit = 1, .page = {}, .since = std::nullopt, .named = {}}));
  ASSERT_TRUE(first.ok() && first->more);
  EXPECT_EQ(store.asked, 1);
  ASSERT_TRUE(block_on(lists.list({.user = UserId("alice"), .limit = 1, .page = first->next, .since = std::nullopt, .named = {}})).ok());
  EXPECT_EQ(store.asked, 2);
  EXPECT_FALSE(block_on(lists.list({.user = UserId("alice"), .limit = 1, .page = "n.0", .since = std::nullopt, .named = {}})).ok());
  EXPECT_EQ(store.asked, 2) << "what is no cursor of ours costs nothing";
}

TEST_F(TimelineAccessTest, OnlyMembersMayAndOthersLearnNothing) {
  send("alice", "bob");
  const ConversationId real = private_conversation("alice", "bob");
  const ConversationId never_used = private_conversation("alice", "zoe");
  EXPECT_TRUE(authorise("alice", real).ok());
  EXPECT_TRUE(authorise("bob", real).ok());
  EXPECT_EQ(authorise("mallory", real).error().code(), ErrorCode::Forbidden);
  EXPECT_EQ(authorise("mallory", never_used).error().code(), ErrorCode::Forbidden) << "no oracle of existence";
  EXPECT_EQ(authorise("mallory", ConversationId("p5:alice")).error().code(), ErrorCode::NotFound);
  EXPECT_TRUE(block_on(access_.history({access("zoe", never_used), {}, {}, 5, 1000})).ok());
}

// Nothing behind the proof asks who may: so it says for whom it is.
TEST_F(TimelineAccessTest, TheProofNamesItsUserAndThePeerAlsoAfterAMove) {
  for (const char* user : {"alice", "bob"}) {
    ConversationAccess proved = access(user, private_conversation("alice", "bob"));
    const ConversationAccess moved = std::move(proved);
    EXPECT_EQ(moved.user(), user);
    EXPECT_EQ(moved.peer(), std::string_view(user) == "bob" ? "alice" : "bob");
    EXPECT_EQ(moved.conversation(), private_conversation("alice", "bob"));
  }
  EXPECT_EQ(access("al", private_conversation("al", "al")).user(), "al");
  EXPECT_EQ(access("al", private_conversation("al", "al")).peer(), "al");
}

TEST_F(TimelineAccessTest, HistoryGoesBothWaysAndIsAlwaysAscending) {
  send("alice", "bob", 10);
  const auto history = [&](std::optional<std::uint64_t> before, std::optional<std::uint64_t> after, std::size_t limit) {
    HistoryQuery query{access("bob", private_conversation("alice", "bob")), {}, {}, limit, 1 << 20};
    if (before) query.before = MessageSeq(*before);
    if (after) query.after = MessageSeq(*after);
    auto page = block_on(access_.history(std::move(query)));
    std::string out;
    for (const MessagePtr& message : page->messages) out += std::to_string(message->seq().value()) + " ";
    for (const SeqGap& gap : page->gaps) out += "gap" + std::to_string(gap.from.value()) + "-" + std::to_string(gap.to.value()) + " ";
    return out + (page->more ? "more" : "");
  };
  EXPECT_EQ(history({}, {}, 3), "8 9 10 more");
  EXPECT_EQ(history(8, {}, 3), "5 6 7 more");
  EXPECT_EQ(history(3, {}, 3), "1 2 ");
  EXPECT_EQ(history(1, {}, 3), "");
  EXPECT_EQ(history(0, {}, 3), "");
  EXPECT_EQ(history({}, 7, 2), "8 9 more");
  EXPECT_EQ(history({}, 10, 2), "");
  EXPECT_EQ(history({}, UINT64_MAX, 2), "");
  EXPECT_EQ(history(6, 3, 9), "4 5 ");
  EXPECT_EQ(history({}, {}, 0), "10 more") << "at least one";
  store_.trim_through(LogPosition(6));
  EXPECT_EQ(history({}, {}, 9), "7 8 9 10 gap1-6 ");
  EXPECT_EQ(history({}, 2, 2), "7 8 gap3-6 more");
}

TEST_F(TimelineAccessTest, ReadRisesAndNotBeyondTheNewestMessage) {
  send("alice", "bob", 5);
  EXPECT_EQ(read("bob", "alice", 3), 3U);
  EXPECT_EQ(read("bob", "alice", 2), 3U);
  EXPECT_EQ(read("bob", "alice", 5), 5U);
  EXPECT_TRUE(reads_beyond("bob", "alice", 6));
  EXPECT_TRUE(reads_beyond("bob", "alice", UINT64_MAX));
  EXPECT_TRUE(reads_beyond("bob", "nobody", 1));
  send("alice", "bob");
  EXPECT_EQ(newest("bob", 1).conversations[0].unread, 1U) << "what comes later is unread";
}

// R3.1: five devices of a user, any order: all converge to the highest.
TEST_F(TimelineAccessTest, ReadPositionsConvergeToTheMaximumWhateverTheOrder) {
  send("alice", "bob", 100);
  std::mt19937_64 random(11);
  std::uint64_t highest = 0;
  for (int i = 0; i < 500; ++i) {
    const std::uint64_t seq = random() % 100 + 1;
    highest = std::max(highest, seq);
    EXPECT_EQ(read("bob", "alice", seq), highest);
  }
}

}  // namespace
}  // namespace dunlin
