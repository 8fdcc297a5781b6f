#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/clock.h"
#include "metrics/server_metrics.h"
#include "net/counters.h"

namespace dunlin {

// Tells the log of what is refused for now (requests that may be repeated, connections beyond a limit): a line for each kind at its first
// refusal, then one a minute at most, with the count since the last one, and none when there is nothing. It reads what is counted anyway,
// so a refusal costs nothing for it. Owned by the node; one thread; bounded by the kinds.
class RefusalLog {
 public:
  static constexpr std::chrono::minutes kEvery{1};

  explicit RefusalLog(const ServerMetrics& metrics) : metrics_(metrics) {}

  // Called every second or so. `last`: what has not been told is told now, since the node ends.
  void look(const NetTotals& totals, MonotonicTime now, bool last = false);

 private:
  struct Told {
    std::uint64_t count = 0;
    std::optional<MonotonicTime> at;
  };
  static void tell(std::string_view text, std::string_view kind, std::uint64_t count, MonotonicTime now, bool last, Told& told);

  const ServerMetrics& metrics_;
  std::array<Told, 64> errors_;  // in the order of the error table
  std::array<Told, kRefusals> connections_;
};

}  // namespace dunlin
