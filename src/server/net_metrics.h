#pragma once

#include "metrics/server_metrics.h"
#include "net/counters.h"

namespace dunlin {

// Carries the transport's own counters over to the metrics, by what they have grown since the last time. One thread.
class NetMetrics {
 public:
  explicit NetMetrics(ServerMetrics& metrics) : metrics_(metrics) {}
  void update(const NetTotals& totals);

 private:
  ServerMetrics& metrics_;
  NetTotals last_;
};

}  // namespace dunlin
