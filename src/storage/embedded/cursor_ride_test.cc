#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

#include "base/log.h"
#include "storage/embedded/history/bytes.h"
#include "storage/embedded/log/testing/log_harness.h"
#include "storage/embedded/state/cursor_riders.h"
#include "storage/embedded/state/state_rows.h"

// Cursors in the log, with everything around them that can fail. The rows of the state are a map here, as durable as they were synced.
namespace dunlin::embedded {
namespace {

std::string device_key_of(std::string_view user, std::string_view device) {
  std::string key;
  append_sized(key, user);
  append_sized(key, device);
  return key;
}

// Rows as RocksState keeps them: one that rode replaces an older one, and makes none.
class Rows {
 public:
  Status renew(std::span<const RidingCursor> cursors, Epoch epoch) {
    if (fail) return Error(ErrorCode::NoSpace, "injected");
    for (const RidingCursor& one : cursors) {
      const auto found = rows.find(one.device);
      if (found == rows.end() || *cursor_order(found->second) >= one.order) continue;
      if (decode_cursor(one.row)->epoch == epoch) found->second = one.row;
    }
    return {};
  }
  InboxPosition position(const std::string& device) const { return decode_cursor(rows.at(device))->position; }

  std::map<std::string, std::string> rows;
  bool fail = false;
};

// Several lives of one log with devices that ack: what the state says after each start is never more than a device has acked, nor than the
// log holds, and never less than what has ridden in a synced batch.
class Ride {
 public:
  explicit Ride(std::uint64_t seed) : random_(seed), files_(seed * 104'729 + 3) {}

  void run(int lives, bool faults) {
    faults_ = faults;
    for (int life = 0; life < lives && !testing::Test::HasFailure(); ++life) {
      files_.cut_power_after(chance(8) ? below(6) : 5 + below(150));
      if (faults && chance(2)) {
        const auto call = chance(2) ? FaultyFileSystem::Call::Write : FaultyFileSystem::Call::Sync;
        files_.fail(call, below(20), ErrorCode::Io, 1 + below(3));
      }
      live();
      if (chance(4)) {
        files_.kill();
        if (unwritten_) ++epoch_.value;
      } else {
        files_.restart();
        // A start would renew the epoch: the seqs of weak acks may be given again.
        if (weak_) ++epoch_.value;
      }
    }
    files_.cut_power_after(UINT64_MAX);
    live();
  }
  std::uint64_t found() const { return found_; }
  std::uint64_t rode() const { return rode_; }
  std::uint64_t kept() const { return kept_; }

 private:
  void live() {
    // Orders are only told from those of saves before the start while the clock is not set back in between.
    clock_.set_wall(highest_ = std::max(highest_, clock_.wall() + std::chrono::seconds(100)));
    CursorRiders riders(clock_);
    LogHarness::Options options;
    options.read_cursors = [&](std::string_view bytes) { riders.read_back(bytes); };
    options.take_cursors = [&](LogPosition last, std::size_t budget, std::string& out) {
      riders.take(last, budget, out);
      taken_ = out;
    };
    options.keep_cursors = [&](LogPosition through) -> Status {
      const auto kept = riders.keep_through(through, [&](std::span<const RidingCursor> some) { return rows_.renew(some, epoch_); });
      if (!kept.ok()) return kept.error();
      kept_ += *kept;
      return {};
    };
    LogHarness store(files_, history_, options);
    if (!store.alive) return;
    const auto back = riders.keep_read_back([&](std::span<const RidingCursor> some) { return rows_.renew(some, epoch_); });
    ASSERT_TRUE(back.ok());
    found_ += *back;
    weak_ = unwritten_ = false;
    check(store);
    const SessionKey session{random_(), random_()};
    store.intake.begin_session(session);
    std::uint64_t number = 0;
    for (int step = 0; step < 60 && !files_.power_is_cut(); ++step) {
      rows_.fail = chance(10);
      if (chance(5)) store.index();
      rows_.fail = false;
      change_devices(store, riders);
      send(store, session, number);
    }
  }

  void check(const LogHarness& store) {
    for (const auto& [device, row] : rows_.rows) {
      const auto cursor = decode_cursor(row);
      if (cursor->epoch != epoch_) continue;
      EXPECT_LE(cursor->position, acked_[device]) << "claims what its device has not acked";
      EXPECT_LE(cursor->position, to_inbox(store.recovered.scan.last)) << "claims what the log does not hold";
      EXPECT_GE(cursor->position, synced_[device]) << "rode in a synced batch and is older now";
    }
  }

  // Devices ack, come, are forgotten, go back by a token, and are saved.
  void change_devices(LogHarness& store, CursorRiders& riders) {
    for (int i = 0; i < 4; ++i) {
      const std::string name = "d" + std::to_string(below(5));
      const std::string device = device_key_of("ann", name);
      DeviceStates::CursorWrite write{UserId("ann"), DeviceId(name), {}};
      write.cursor.epoch = epoch_;
      write.cursor.last_seen = clock_.wall();
      clock_.advance(std::chrono::milliseconds(below(3)));
      if (chance(50)) clock_.set_wall(clock_.wall() - std::chrono::seconds(below(100)));
      if (!rows_.rows.contains(device)) {
        acked_[device] = synced_[device] = InboxPosition(0);
        if (chance(2)) rows_.rows[device] = encode_cursor(write.cursor, riders.next_order(1));
        continue;
      }
      if (chance(30)) {
        rows_.rows.erase(device);
        continue;
      }
      if (acked_epoch_[device] != epoch_) acked_[device] = synced_[device] = InboxPosition(0);
      acked_epoch_[device] = epoch_;
      InboxPosition& acked = acked_[device];
      if (chance(30)) {
        acked = synced_[device] = InboxPosition(acked.value() / 2);  // from here on nothing above is claimed
        write.cursor.position = acked;
        rows_.rows[device] = encode_cursor(write.cursor, riders.next_order(1));
        riders.saved({&write, 1}, *cursor_order(rows_.rows[device]));
        continue;
      }
      acked = std::max(acked, InboxPosition(store.committer->settled().value() - below(2) * (store.committer->settled().value() / 4)));
      write.cursor.position = acked;
      if (chance(8)) {
        const std::uint64_t order = riders.next_order(1);
        rows_.rows[device] = encode_cursor(write.cursor, order);
        riders.saved({&write, 1}, order);
        synced_[device] = std::max(synced_[device], acked);
      } else {
        riders.note({&write, 1});
      }
    }
  }

  void send(LogHarness& store, SessionKey session, std::uint64_t& number) {
    const Durability level = chance(6) ? Durability::Os : chance(8) ? Durability::Memory : Durability::Fsync;
    std::vector<AppendRequest> requests;
    for (std::uint64_t i = below(6) + 1; i > 0; --i) {
      const std::string id = session.text() + "-" + std::to_string(++number);
      requests.push_back(store.request(session, "ann", "ben", id, "\"" + std::string(below(1500), 'x') + "\"", level));
      requests.back().abandon = true;
    }
    taken_.clear();
    const std::uint64_t failovers = store.writer->failovers();
    const auto outcomes = store.commit(std::move(requests));
    bool synced = !outcomes.empty() && store.writer->failovers() == failovers && !store.writer->broken();
    for (const AppendOutcome& outcome : outcomes) {
      synced = synced && !outcome.refused && outcome.durability == Durability::Fsync;
      weak_ = weak_ || (!outcome.refused && outcome.durability != Durability::Fsync);
      unwritten_ = unwritten_ || (!outcome.refused && outcome.durability == Durability::Memory);
    }
    if (!synced || taken_.empty() || files_.power_is_cut()) return;
    CursorRiders reader(clock_);
    reader.read_back(taken_);
    ignore(reader.keep_read_back([&](std::span<const RidingCursor> some) {
      for (const RidingCursor& one : some) {
        ++rode_;
        InboxPosition& synced_to = synced_[one.device];
        if (rows_.rows.contains(one.device))
          synced_to = std::max(synced_to, std::min(acked_[one.device], decode_cursor(one.row)->position));
      }
      return Status();
    }));
  }

  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  bool chance(std::uint64_t n) { return below(n) == 0; }

  std::mt19937_64 random_;
  FaultyFileSystem files_;
  FakeHistory history_;
  ManualClock clock_;
  WallTime highest_{};
  Rows rows_;
  Epoch epoch_{1};
  std::map<std::string, InboxPosition> acked_, synced_;
  std::map<std::string, Epoch> acked_epoch_;
  std::string taken_;
  bool weak_ = false;       // something was acked below fsync
  bool unwritten_ = false;  // or from memory
  bool faults_ = false;
  std::uint64_t found_ = 0, rode_ = 0, kept_ = 0;
};

TEST(CursorRide, NoCursorClaimsWhatIsNotAckedAndStoredAndNoneThatRodeIsLostOverManyPowerCuts) {
  set_log_level(LogLevel::Off);
  std::uint64_t found = 0, rode = 0, kept = 0;
  for (std::uint64_t seed = 1; seed <= 400 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Ride ride(seed);
    ride.run(4, false);
    found += ride.found();
    rode += ride.rode();
    kept += ride.kept();
  }
  EXPECT_GT(found, 1000U) << "starts must find cursors";
  EXPECT_GT(rode, 5000U);
  EXPECT_GT(kept, 500U) << "segments must take theirs along";
  set_log_level(LogLevel::Info);
}

TEST(CursorRide, TheSameWithFailedWritesAndSyncs) {
  set_log_level(LogLevel::Off);
  std::uint64_t found = 0;
  for (std::uint64_t seed = 1; seed <= 400 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Ride ride(seed + 10'000);
    ride.run(4, true);
    found += ride.found();
  }
  EXPECT_GT(found, 500U);
  set_log_level(LogLevel::Info);
}

}  // namespace
}  // namespace dunlin::embedded
