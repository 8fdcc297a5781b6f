#include "server/refusal_log.h"

#include "base/check.h"
#include "base/error.h"
#include "base/log.h"

namespace dunlin {

void RefusalLog::look(const NetTotals& totals, MonotonicTime now, bool last) {
  std::size_t row = 0;
  for (const ErrorInfo& error : error_table()) {
    CHECK(row < errors_.size());
    Told& told = errors_[row++];
    if (error.temporary) tell("requests were refused", error.name, metrics_.errors_total.value(error.code), now, last, told);
  }
  for (const Refusal refusal :
       {Refusal::IpConnections, Refusal::IpHandshakes, Refusal::IpAuthFailures, Refusal::ServerFull, Refusal::NoDescriptors}) {
    const auto i = static_cast<std::size_t>(refusal);
    tell("connections were refused", refusal_name(refusal), totals.refused[i], now, last, connections_[i]);
  }
}

void RefusalLog::tell(std::string_view text, std::string_view kind, std::uint64_t count, MonotonicTime now, bool last, Told& told) {
  if (count == told.count || (!last && told.at && now - *told.at < kEvery)) return;
  log_warn("server", text, {{"kind", kind}, {"count", count - told.count}});
  told = {count, now};
}

}  // namespace dunlin
