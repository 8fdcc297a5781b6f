#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "base/log.h"
#include "storage/embedded/log/testing/log_harness.h"

namespace dunlin::embedded {
namespace {

// What clients were told, and what the store must therefore show after any number of crashes.
class Model {
 public:
  struct Sent {
    std::string from, to, id, body;
    std::uint64_t seq = 0;  // 0: never acked
    bool fsynced = false;
    Epoch epoch;  // in which it was acked, or found by a start
  };

  std::vector<Sent> sent;

  // An ack for sent[index]. A message has one seq for ever once it is acked at fsync, and a seq one message.
  void acked(std::size_t index, const AppendOutcome& outcome, Epoch epoch) {
    Sent& s = sent[index];
    if (s.fsynced) {
      EXPECT_EQ(s.seq, outcome.seq.value()) << "a repeat of " << s.id << " got another seq";
    }
    s.seq = outcome.seq.value();
    s.fsynced = s.fsynced || outcome.durability == Durability::Fsync;
    s.epoch = epoch;
  }

  // After a start: everything acked is there, once, in a dense timeline. Only a new epoch may lack acks, and only those below fsync.
  void check(LogHarness& store) {
    std::map<ConversationId, std::map<std::string, MessagePtr>> stored;
    for (const Sent& s : sent) {
      const ConversationId conversation = private_conversation(s.from, s.to);
      if (stored.contains(conversation)) continue;
      const RangePage page = store.all_of(conversation);
      EXPECT_TRUE(page.gaps.empty()) << "a gap in " << conversation.str();
      std::uint64_t expected = 1;
      auto& ids = stored[conversation];
      for (const MessagePtr& message : page.messages) {
        EXPECT_EQ(message->seq().value(), expected++);
        EXPECT_TRUE(ids.emplace(std::string(message->sender()) + "/" + std::string(message->client_msg_id()), message).second)
            << "stored twice: " << message->client_msg_id();
      }
      EXPECT_EQ(page.head.last_seq.value(), expected - 1);
    }
    for (Sent& s : sent) {
      if (s.seq == 0) continue;
      const auto& ids = stored[private_conversation(s.from, s.to)];
      const auto found = ids.find(s.from + "/" + s.id);
      if (found == ids.end()) {
        EXPECT_TRUE(!s.fsynced && s.epoch != store.meta.epoch) << "acked and lost: " << s.id << " seq " << s.seq;
        s.seq = 0;
        continue;
      }
      EXPECT_EQ(found->second->seq().value(), s.seq) << s.id;
      EXPECT_EQ(found->second->body(), s.body);
      s.epoch = store.meta.epoch;
    }
  }
};

const LogHarness::Options kWithMeta = [] {
  LogHarness::Options options;
  options.keep_meta = true;
  return options;
}();

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed) : random_(seed), files_(seed * 7919 + 1) {}

  // Several lives of one store, each ended by a power cut or a kill.
  void run(int lives) {
    for (int life = 0; life < lives; ++life) {
      // Most cuts fall into the work, some into recovery.
      files_.cut_power_after(chance(8) ? below(6) : 5 + below(120));
      proven_ = false;
      live();
      if (chance(4)) {
        files_.kill();
      } else {
        files_.restart();
        proven_ = false;
      }
      if (testing::Test::HasFailure()) return;
    }
    LogHarness last(files_, history_, kWithMeta);
    ASSERT_TRUE(last.alive) << last.failure;
    judge_epoch(last);
    model_.check(last);
    EXPECT_EQ(last.recovered.scan.lost, 0U);
    EXPECT_EQ(last.recovered.scan.unknown, 0U) << "a torn tail was taken for corruption";
    last.index();
    model_.check(last);
  }
  std::uint64_t acks() const { return acks_; }
  std::uint64_t kept() const { return kept_; }
  std::uint64_t renewed() const { return renewed_; }
  // What has happened, in short.
  std::string trace() const {
    std::string out = std::to_string(acks_);
    for (const auto call : {FaultyFileSystem::Call::Open, FaultyFileSystem::Call::Write, FaultyFileSystem::Call::Sync}) {
      out += " " + std::to_string(files_.calls(call));
    }
    for (const Model::Sent& s : model_.sent) out += " " + s.id + ":" + std::to_string(s.seq);
    return out;
  }

 private:
  void live() {
    const bool expect_kept = proven_;
    proven_ = false;
    LogHarness store(files_, history_, kWithMeta);
    if (!store.alive) {
      EXPECT_TRUE(files_.power_is_cut()) << store.failure;
      return;
    }
    proven_ = expect_kept;
    judge_epoch(store);
    proven_ = false;
    EXPECT_EQ(store.recovered.scan.lost + store.recovered.scan.unknown, 0U) << "a torn tail was taken for corruption";
    if (files_.power_is_cut()) return;
    model_.check(store);
    bool os = false;
    bool memory = false;
    const bool memory_too = chance(2);
    const SessionKey session{random_(), random_()};  // of the seed, so that a failure comes again
    store.intake.begin_session(session);
    std::uint64_t number = 0;
    for (int step = 0; step < 60 && !files_.power_is_cut(); ++step) {
      if (chance(6)) store.index();
      from_memory_ = memory_too && chance(5);
      std::vector<std::size_t> which;
      std::vector<AppendRequest> requests;
      for (std::uint64_t i = below(8) + 1; i > 0; --i) {
        const std::size_t index = pick(session, number);
        which.push_back(index);
        const Model::Sent& s = model_.sent[index];
        requests.push_back(store.request(session, s.from, s.to, s.id, s.body, level()));
        requests.back().abandon = true;
      }
      const auto outcomes = store.commit(std::move(requests));
      for (std::size_t i = 0; i < outcomes.size(); ++i) {
        if (outcomes[i].refused) {
          EXPECT_TRUE(files_.power_is_cut()) << static_cast<int>(*outcomes[i].refused);
          continue;
        }
        model_.acked(which[i], outcomes[i], store.meta.epoch);
        os = os || outcomes[i].durability == Durability::Os;
        memory = memory || outcomes[i].durability == Durability::Memory;
        ++acks_;
      }
    }
    proven_ = os && !memory;
  }

  // A kill after acks at level os takes nothing, and a start that comes to its end at once knows it.
  void judge_epoch(const LogHarness& store) {
    EXPECT_FALSE(store.renewed && proven_ && !store.recovered.scan.broken_off) << "nothing can be missing";
    kept_ += proven_ && !store.renewed ? 1 : 0;
    renewed_ += store.renewed ? 1 : 0;
  }

  // A new message, or one sent before: whether it was acked or not.
  std::size_t pick(SessionKey session, std::uint64_t& number) {
    if (!model_.sent.empty() && chance(5)) return below(model_.sent.size());
    const char* users[] = {"ann", "ben", "cid"};
    Model::Sent s;
    s.from = users[below(3)];
    s.to = users[below(3)];
    s.id = chance(3) ? "free-" + std::to_string(model_.sent.size()) : session.text() + "-" + std::to_string(++number);
    s.body =
        "\"" + std::string(below(chance(5) ? 4000 : 200), static_cast<char>('a' + below(26))) + std::to_string(model_.sent.size()) + "\"";
    model_.sent.push_back(std::move(s));
    return model_.sent.size() - 1;
  }
  // In some steps everything asks for memory alone, else no batch would be told before its write.
  Durability level() {
    if (from_memory_) return Durability::Memory;
    return chance(6) ? Durability::Os : Durability::Fsync;
  }
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  bool chance(std::uint64_t n) { return below(n) == 0; }

  std::mt19937_64 random_;
  FaultyFileSystem files_;
  FakeHistory history_;
  Model model_;
  std::uint64_t acks_ = 0;
  std::uint64_t kept_ = 0;
  std::uint64_t renewed_ = 0;
  bool from_memory_ = false;
  bool proven_ = false;  // the last life was killed, and has acked below fsync at level os alone
};

TEST(LogPowerCut, LosesNothingThatWasAckedAtFsyncOverAThousandSeeds) {
  set_log_level(LogLevel::Off);
  std::uint64_t acks = 0;
  std::uint64_t kept = 0;
  std::uint64_t renewed = 0;
  for (std::uint64_t seed = 1; seed <= 1000 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation simulation(seed);
    simulation.run(4);
    acks += simulation.acks();
    kept += simulation.kept();
    renewed += simulation.renewed();
  }
  EXPECT_GT(acks, 20000U) << "the simulation must do real work between the cuts";
  EXPECT_GT(kept, 20U) << "kills that leave the epoch";
  EXPECT_GT(renewed, 200U) << "power cuts that do not";
  set_log_level(LogLevel::Info);
}

// What was acked at level os and not synced goes into a spare when a sync fails. A kill in the middle of that leaves a torn batch that
// voids the end of the older segment, where all of it stands.
TEST(LogPowerCut, AFailedSyncAndAKillInWhatFollowsLoseNothingWithinAnEpoch) {
  set_log_level(LogLevel::Off);
  int kept = 0;
  int renewed = 0;
  int missing = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    for (std::uint64_t calls = 0; calls < 12 && !testing::Test::HasFailure(); ++calls) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", cut after " + std::to_string(calls));
      FaultyFileSystem files(seed);
      FakeHistory history;
      Model model;
      const auto send = [&](LogHarness& store, SessionKey session, const std::string& id, Durability level) {
        model.sent.push_back({"ann", "ben", id, "\"" + std::string(2000, 'x') + "\"", 0, false, {}});
        const Model::Sent s = model.sent.back();
        const auto outcome = store.send(session, s.from, s.to, s.id, s.body, level);
        if (!outcome.refused) model.acked(model.sent.size() - 1, outcome, store.meta.epoch);
      };
      {
        LogHarness store(files, history, kWithMeta);
        ASSERT_TRUE(store.alive) << store.failure;
        const SessionKey session = store.open_session();
        send(store, session, "first", Durability::Fsync);
        for (int i = 0; i < 3; ++i) send(store, session, "os" + std::to_string(i), Durability::Os);
        files.fail(FaultyFileSystem::Call::Sync, 0, ErrorCode::Io);
        files.cut_power_after(calls);
        send(store, session, "last", Durability::Fsync);
      }
      files.kill();
      LogHarness after(files, history, kWithMeta);
      ASSERT_TRUE(after.alive) << after.failure;
      model.check(after);
      ++(after.renewed ? renewed : kept);
      missing += after.all_of(private_conversation("ann", "ben")).messages.size() < 4 ? 1 : 0;
    }
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(renewed, 0);
  EXPECT_GT(missing, 0) << "the case that the epoch is renewed for";
  set_log_level(LogLevel::Info);
}

TEST(LogPowerCut, ASeedIsTheSameRunEachTime) {
  set_log_level(LogLevel::Off);
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Simulation first(seed);
    first.run(4);
    Simulation second(seed);
    second.run(4);
    EXPECT_EQ(first.trace(), second.trace()) << "seed " << seed;
  }
  set_log_level(LogLevel::Info);
}

// Every call of each kind fails once (and for a while), then the power goes.
class LogFaults : public testing::TestWithParam<std::tuple<FaultyFileSystem::Call, ErrorCode>> {};

TEST_P(LogFaults, NoSeqTwiceAndNothingAckedMissingAfterAFailedCall) {
  set_log_level(LogLevel::Off);
  const auto [call, code] = GetParam();
  for (std::uint64_t skip = 0; skip < 24 && !HasFailure(); ++skip) {
    for (const std::uint64_t times : {1U, 2U, 7U}) {
      SCOPED_TRACE("skip " + std::to_string(skip) + " times " + std::to_string(times));
      FaultyFileSystem files(skip * 31 + times);
      FakeHistory history;
      Model model;
      std::uint64_t stored = 0;
      {
        LogHarness store(files, history, kWithMeta);
        ASSERT_TRUE(store.alive);
        const SessionKey session = store.open_session();
        files.fail(call, skip, code, times);
        for (int i = 0; i < 40; ++i) {
          if (i % 7 == 6) store.index();
          model.sent.push_back(
              {"ann", i % 2 != 0 ? "ben" : "cid", "m" + std::to_string(i), "\"" + std::string(3000, 'x') + "\"", 0, false, {}});
          const Model::Sent& s = model.sent.back();
          // Like a client: a refused one is sent again, some time later.
          for (int attempt = 0; attempt < 12; ++attempt) {
            const Durability level = i % 5 == 0 ? Durability::Os : i % 7 == 4 ? Durability::Memory : Durability::Fsync;
            const auto outcome = store.send(session, s.from, s.to, s.id, s.body, level);
            if (outcome.refused) {
              EXPECT_EQ(*outcome.refused, ErrorCode::StoreUnavailable);
              continue;
            }
            model.acked(model.sent.size() - 1, outcome, store.meta.epoch);
            ++stored;
            break;
          }
        }
        EXPECT_EQ(stored, 40U) << "it heals by itself";
        model.check(store);
      }
      if (times == 2) {
        files.kill();
      } else {
        files.restart();
      }
      LogHarness after(files, history, kWithMeta);
      ASSERT_TRUE(after.alive) << after.failure;
      model.check(after);
      EXPECT_EQ(after.recovered.scan.lost + after.recovered.scan.unknown, 0U);
    }
  }
  set_log_level(LogLevel::Info);
}

INSTANTIATE_TEST_SUITE_P(EachCall, LogFaults,
                         testing::Combine(testing::Values(FaultyFileSystem::Call::Open, FaultyFileSystem::Call::Write,
                                                          FaultyFileSystem::Call::Sync, FaultyFileSystem::Call::Truncate,
                                                          FaultyFileSystem::Call::Remove, FaultyFileSystem::Call::SyncFolder),
                                          testing::Values(ErrorCode::Io, ErrorCode::NoSpace)));

}  // namespace
}  // namespace dunlin::embedded
