#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/thread_annotations.h"
#include "messaging/ports/device_states.h"

namespace dunlin::embedded {

// A cursor as it rides in the log: the key of its device's row behind the kind, and the row's value (state_rows.h).
struct RidingCursor {
  std::string device;  // user and device, each behind its size
  std::string row;
  std::uint64_t order = 0;
};

// Cursors between two saves: the newest of each device waits here for the log's next batch, rides behind its records, and is kept in the
// state before the segment enters history (docs/storage.md). At a start it gathers what rode and may be newer than the rows.
//
// Every cursor has an *order*, given when it is noted or saved: the higher is the newer one, also over restarts. It is the wall clock in
// microseconds, but always above the last; a clock that was set back between two lives makes newer riders count as older ones, which costs
// a repeat, never the other way round: orders begin above all that is found in the log.
//
// Owner: the state store. Any thread, one mutex, a leaf, held for some hundred devices at a time; the committer does not wait for it. A
// device is waiting (its newest cursor is not in the log), or has ridden, or both. Bounds: kMax devices and kMaxBytes for each; what is
// beyond is left to the saves. A save of a device ends the riding of what is older.
class CursorRiders {
 public:
  static constexpr std::size_t kMax = 100'000;
  static constexpr std::size_t kMaxBytes = 4 << 10;  // of one rider: some hundred conversations in flight
  static constexpr std::size_t kSlice = 256;

  explicit CursorRiders(const Clock& clock) : clock_(clock) {}

  // The order of `count` cursors that are noted or saved now: the first of them.
  std::uint64_t next_order(std::size_t count);

  void note(std::span<const DeviceStates::CursorWrite> writes) EXCLUDES(mutex_);
  // For the committer: what rides behind a batch that ends at `last`. Gives nothing rather than wait.
  void take(LogPosition last, std::size_t budget, std::string& out) EXCLUDES(mutex_);
  // Rows of that order stand in the state: what is older need not ride, nor be kept.
  void saved(std::span<const DeviceStates::CursorWrite> writes, std::uint64_t order) EXCLUDES(mutex_);

  // Gives all that rode in batches up to `through`, and in none behind it, to `keep`, slice by slice; its error ends it, and the next call
  // goes on. One thread at a time. The number of them.
  using Keep = std::function<Status(std::span<const RidingCursor>)>;
  Result<std::size_t> keep_through(LogPosition through, const Keep& keep) EXCLUDES(mutex_);

  // At a start: what stands in the log, in any order; then all of it, the newest of each device, goes to `keep`.
  void read_back(std::string_view bytes) EXCLUDES(mutex_);
  Result<std::size_t> keep_read_back(const Keep& keep) EXCLUDES(mutex_);

  std::size_t size() const EXCLUDES(mutex_);

 private:
  struct Entry {
    std::uint64_t order = 0;
    std::string row;       // empty: saved, it stays for its place among those that wait
    LogPosition rode;      // behind which record its last copy in the log stands; 0: in none that matters
    bool waiting = false;  // in waiting_
  };

  static std::string device_of(const DeviceStates::CursorWrite& write);
  void done(const std::string& device, std::uint64_t order, LogPosition rode) REQUIRES(mutex_);

  const Clock& clock_;
  std::atomic<std::uint64_t> last_order_{0};
  mutable Mutex mutex_;
  std::unordered_map<std::string, Entry> entries_ GUARDED_BY(mutex_);
  std::deque<std::string> waiting_ GUARDED_BY(mutex_);                         // devices, each once
  std::deque<std::pair<LogPosition, std::string>> ridden_ GUARDED_BY(mutex_);  // by position; a device may have ridden on since
};

}  // namespace dunlin::embedded
