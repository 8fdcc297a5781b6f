#include "server/net_metrics.h"

namespace dunlin {
namespace {

struct LimitRow {
  Refusal refusal;
  metrics::Limit limit;
};
constexpr LimitRow kLimits[] = {{Refusal::IpConnections, metrics::Limit::IpConnections},
                                {Refusal::IpHandshakes, metrics::Limit::IpHandshakes},
                                {Refusal::IpAuthFailures, metrics::Limit::IpAuthFailures}};

}  // namespace

void NetMetrics::update(const NetTotals& totals) {
  metrics_.sockets.set(static_cast<std::int64_t>(totals.live));
  metrics_.accepted_total.add(totals.accepted - last_.accepted);
  metrics_.write_queue_bytes.add(static_cast<std::int64_t>(totals.write_queue_bytes) - static_cast<std::int64_t>(last_.write_queue_bytes));
  for (const LimitRow& row : kLimits) {
    const auto i = static_cast<std::size_t>(row.refusal);
    metrics_.limited(row.limit, metrics::LimitOutcome::Rejected).add(totals.refused[i] - last_.refused[i]);
    metrics_.limited(row.limit, metrics::LimitOutcome::WouldReject).add(totals.would_have_refused[i] - last_.would_have_refused[i]);
  }
  // Those that never became sessions; the others are counted where they end.
  const auto refused = [&](Refusal refusal) {
    const auto i = static_cast<std::size_t>(refusal);
    return totals.refused[i] - last_.refused[i];
  };
  for (const Refusal refusal : {Refusal::HeaderTimeout, Refusal::BadRequest, Refusal::Origin, Refusal::Subprotocol}) {
    metrics_.disconnects_total.add(metrics::ClientEnd::NotUpgraded, refused(refusal));
  }
  metrics_.disconnects_total.add(metrics::ClientEnd::Lost, refused(Refusal::PeerGone));
  metrics_.disconnects_total.add(ErrorCode::Overloaded, refused(Refusal::HeaderMemory));
  for (const Refusal refusal : {Refusal::ServerFull, Refusal::NoDescriptors, Refusal::IpConnections}) {
    metrics_.disconnects_total.add(ErrorCode::TooManyConnections, refused(refusal));
  }
  metrics_.disconnects_total.add(ErrorCode::RateLimited, refused(Refusal::IpHandshakes));
  last_ = totals;
}

}  // namespace dunlin
