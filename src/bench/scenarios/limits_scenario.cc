#include <functional>

#include "bench/limits/limits.h"
#include "bench/scenarios/scenarios.h"

namespace dunlin::bench {
namespace {

using std::chrono::milliseconds;

Result<double> median_of(int runs, const std::function<Result<double>()>& measure) {
  std::vector<double> values;
  for (int i = 0; i < runs; ++i) {
    TRY_ASSIGN(const double value, measure());
    values.push_back(value);
  }
  return median(std::move(values));
}

}  // namespace

Status run_limits(const BenchOptions&, Report& report) {
  progress("limits", "raw epoll echo, 500 connections x 16 in flight");
  TRY_ASSIGN(const double echo, median_of(3, [] { return raw_echo_per_s(milliseconds(1000)); }));
  progress("limits", "system calls of a login, 128 at a time");
  TRY_ASSIGN(const double logins, median_of(3, []() -> Result<double> {
               TRY_ASSIGN(const RawLogins raw, raw_logins(milliseconds(1000)));
               return raw.per_cpu_s;
             }));
  progress("limits", "raw write loop over 5,000 sockets");
  TRY_ASSIGN(const double write, median_of(3, [] { return raw_write_per_s(milliseconds(1000)); }));
  progress("limits", "raw append log, 512 records a write and fdatasync");
  TRY_ASSIGN(const double log, median_of(3, [] { return log_appends_per_s(milliseconds(1000)); }));
  progress("limits", "fsync");
  TRY_ASSIGN(const double fsync, median_of(3, [] { return fsync_ms(milliseconds(400)); }));
  report.add("raw_echo_per_s", echo, "raw epoll echo, messages/s");
  report.add("raw_logins_per_cpu_s", logins, "system calls of a login, logins a CPU second");
  report.add("raw_write_per_s", write, "raw write loop, frames/s");
  report.add("log_appends_per_s", log, "raw append log, records/s");
  report.add("fsync_ms", fsync, "write + fdatasync of one record, ms");
  return {};
}

}  // namespace dunlin::bench
