#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "base/log.h"
#include "storage/embedded/log/testing/log_harness.h"

namespace dunlin::embedded {
namespace {

using Call = FaultyFileSystem::Call;

// What was acked and must not be lost any more, and what was only tried.
class Ledger {
 public:
  // The process dies in the middle of a write: what of it is there is not known.
  void send_and_die(LogHarness& store, FaultyFileSystem& files) {
    const SessionKey session = store.open_session();
    tried_.insert("t" + std::to_string(tried_.size()));
    std::vector<AppendRequest> one;
    one.push_back(store.request(session, "ann", "ben", "t" + std::to_string(tried_.size() - 1), "\"" + std::string(900, 'y') + "\""));
    one.back().abandon = true;
    files.cut_power_after(0);
    EXPECT_TRUE(store.commit(std::move(one)).front().refused);
  }
  void send(LogHarness& store, SessionKey session, int count, Durability level = Durability::Fsync) {
    for (int i = 0; i < count; ++i) {
      const std::string id = "m" + std::to_string(acked_.size());
      const std::string to = acked_.size() % 3 != 0 ? "ben" : "cid";
      const auto outcome = store.send(session, "ann", to, id, "\"" + std::string(3000, 'x') + "\"", level);
      ASSERT_FALSE(outcome.refused);
      ASSERT_FALSE(outcome.duplicate);
      acked_[id] = {to, outcome.seq};
    }
  }
  // Everything acked is there once, in dense timelines.
  void check(LogHarness& store) const {
    std::size_t stored = 0;
    std::set<std::string_view> seen;
    for (const char* to : {"ben", "cid"}) {
      const RangePage page = store.all_of(private_conversation("ann", to));
      EXPECT_TRUE(page.gaps.empty()) << to;
      MessageSeq expected;
      for (const MessagePtr& message : page.messages) {
        expected = expected.next();
        EXPECT_EQ(message->seq(), expected);
        EXPECT_TRUE(seen.insert(message->client_msg_id()).second) << "twice: " << message->client_msg_id();
        if (tried_.contains(message->client_msg_id())) continue;
        ++stored;
        const auto found = acked_.find(std::string(message->client_msg_id()));
        ASSERT_NE(found, acked_.end());
        EXPECT_EQ(found->second, std::pair(std::string(to), message->seq()));
      }
      EXPECT_EQ(page.head.last_seq, expected);
    }
    EXPECT_EQ(stored, acked_.size()) << "acked and missing";
    EXPECT_EQ(store.recovered.scan.lost + store.recovered.scan.unknown, 0U);
  }

 private:
  std::map<std::string, std::pair<std::string, MessageSeq>> acked_;
  std::set<std::string, std::less<>> tried_;
};

class LogOpening : public testing::TestWithParam<std::tuple<Call, ErrorCode>> {
 protected:
  LogOpening() {
    set_log_level(LogLevel::Off);
    begin_anew();
  }
  ~LogOpening() override { set_log_level(LogLevel::Info); }

  void begin_anew() {
    files_ = std::make_unique<FaultyFileSystem>(7);
    history_ = std::make_unique<FakeHistory>();
    ledger_ = {};
    weak_ = false;
  }
  // Opens with the fault and goes on, if that works; false when the fault was not reached.
  bool open_with_fault(std::uint64_t skip, std::uint64_t times) {
    const auto [call, code] = GetParam();
    if (call == Call::Rename) files_->set_content("data/followers", "damaged");  // it is moved aside
    const std::uint64_t before = files_->calls(call);
    files_->fail(call, skip, code, times);
    LogHarness store(*files_, *history_);
    const bool reached = files_->calls(call) - before > skip;
    files_->heal();
    if (store.alive) {
      weak_ = false;
      ledger_.check(store);
      ledger_.send(store, store.open_session(), 2);
      ledger_.check(store);
    } else {
      EXPECT_TRUE(reached) << store.failure;
      EXPECT_EQ(store.failed_with, code) << store.failure;
    }
    return reached;
  }
  // What the kernel alone has, a power cut would take, unless a start has served it.
  void end_life(bool power_cut) {
    if (power_cut && !weak_) {
      files_->restart();
    } else {
      files_->kill();
    }
  }
  void open_healed(int messages, bool index, bool torn = false) {
    LogHarness store(*files_, *history_);
    ASSERT_TRUE(store.alive) << store.failure;
    weak_ = false;
    ledger_.check(store);
    ledger_.send(store, store.open_session(), messages);
    if (index) {
      ignore(store.followers->advance("search", store.committer->settled(), store.committer->settled()));
      store.index();
    }
    ledger_.check(store);
    if (torn) return ledger_.send_and_die(store, *files_);
    ledger_.send(store, store.open_session(), 1, Durability::Os);
    weak_ = true;
  }

  std::unique_ptr<FaultyFileSystem> files_;
  std::unique_ptr<FakeHistory> history_;
  Ledger ledger_;
  bool weak_ = false;
};

// Whatever call of the start fails, and however often: the start is refused with its error or does all, and the next one finds everything.
TEST_P(LogOpening, AFailedCallRefusesTheStartOrCostsNothing) {
  constexpr std::uint64_t kForEver = UINT64_MAX;
  {
    LogHarness store(*files_, *history_);
    ASSERT_TRUE(store.alive);
    ASSERT_TRUE(store.followers->add("search", LogPosition(0)).ok());  // keeps segments that history has
    ledger_.send(store, store.open_session(), 50);
    store.index();
    ledger_.send(store, store.open_session(), 50);
  }
  end_life(false);
  bool reached = true;
  for (std::uint64_t skip = 0; reached; ++skip) {
    reached = false;
    for (const std::uint64_t times : {std::uint64_t{1}, std::uint64_t{3}, kForEver}) {
      SCOPED_TRACE("skip " + std::to_string(skip) + " times " + std::to_string(times));
      reached = open_with_fault(skip, times) || reached;
      end_life((skip + times) % 2 == 0);
      open_healed(4, skip % 4 == 3, times == 1);
      end_life((skip + times) % 3 == 0);
      if (HasFailure()) return;
    }
    ASSERT_TRUE(reached || skip > 0) << "the start makes no such call";
    ASSERT_LT(skip, 200U);
  }
}

TEST_P(LogOpening, ANewLogIsMadeOrMadeTheNextTime) {
  bool reached = true;
  for (std::uint64_t skip = 0; reached && !HasFailure(); ++skip) {
    SCOPED_TRACE("skip " + std::to_string(skip));
    begin_anew();
    reached = open_with_fault(skip, 1);
    end_life(skip % 2 == 0);
    open_healed(4, false);
    end_life(skip % 2 != 0);
    open_healed(4, true);
  }
}

// A file of which a part cannot be read may be free, or history's.
TEST(LogOpeningTest, ABadSectorRefusesTheStartOnlyWhereTheLogNeedsIt) {
  set_log_level(LogLevel::Off);
  FaultyFileSystem files(7);
  FakeHistory history;
  Ledger ledger;
  const auto live = [&](int messages, bool index) {
    LogHarness store(files, history);
    ASSERT_TRUE(store.alive) << store.failure;
    ledger.check(store);
    ledger.send(store, store.open_session(), messages);
    if (index) store.index();
  };
  {
    LogHarness store(files, history);
    ASSERT_TRUE(store.followers->add("search", LogPosition(0)).ok());
  }
  live(130, true);
  live(45, false);
  std::map<std::string, int> refused;
  constexpr std::uint64_t kStep = 4096;
  const auto names = files.list("data/log");
  ASSERT_TRUE(names.ok());
  for (const std::string& name : *names) {
    const std::string path = "data/log/" + name;
    for (std::uint64_t at = 0; at < files.content(path).size(); at += kStep) {
      SCOPED_TRACE(path + " " + std::to_string(at));
      files.spoil(path, at + 17);
      {
        LogHarness store(files, history);
        refused[name] += store.alive ? 0 : 1;
        if (store.alive) {
          ledger.check(store);
        } else {
          EXPECT_EQ(store.failed_with, ErrorCode::Io);
        }
      }
      files.heal();
      files.kill();
      live(0, false);
      if (testing::Test::HasFailure()) return;
    }
  }
  const auto only_beginning = std::ranges::count_if(refused, [](const auto& file) { return file.second == 1; });
  const auto all_of_it = std::ranges::count_if(refused, [](const auto& file) { return file.second == 16; });
  EXPECT_GE(only_beginning, 4) << "spares, and segments that history has";
  EXPECT_GE(all_of_it, 3);
  EXPECT_EQ(static_cast<std::size_t>(only_beginning + all_of_it), refused.size());
  set_log_level(LogLevel::Info);
}

INSTANTIATE_TEST_SUITE_P(EachCall, LogOpening,
                         testing::Combine(testing::Values(Call::Open, Call::Read, Call::Write, Call::Sync, Call::Truncate, Call::Rename,
                                                          Call::SyncFolder, Call::List),
                                          testing::Values(ErrorCode::Io, ErrorCode::NoSpace)));

}  // namespace
}  // namespace dunlin::embedded
