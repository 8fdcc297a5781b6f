#include "bench/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace dunlin::bench {
namespace {

std::string json_number(double value) {
  if (!std::isfinite(value)) return "null";
  if (value == std::floor(value) && std::abs(value) < 1e15) return fmt::format("{}", static_cast<long long>(value));
  return fmt::format("{:.6g}", value);
}

std::string with_thousands(long long value) {
  std::string digits = fmt::format("{}", std::llabs(value));
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return value < 0 ? "-" + digits : digits;
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + "\"";
}

}  // namespace

void Report::add(std::string_view name, double value, std::string_view label) {
  rows_.push_back({std::string(name), value, std::string(label), std::nullopt, 0});
}

void Report::add(std::string_view name, double value, std::string_view label, Budget kind, double budget) {
  rows_.push_back({std::string(name), value, std::string(label), kind, budget});
}

void Report::check(bool holds, std::string_view what) {
  if (!holds) failures_.emplace_back(what);
}

std::optional<double> Report::value(std::string_view name) const {
  for (const Row& row : rows_) {
    if (row.name == name) return row.value;
  }
  return std::nullopt;
}

std::string Report::json() const {
  std::string out = fmt::format("{{\"scenario\":{},\"passed\":{}", json_string(scenario_), passed());
  for (const Row& row : rows_) out += fmt::format(",{}:{}", json_string(row.name), json_number(row.value));
  out += ",\"failures\":[";
  for (std::size_t i = 0; i < failures_.size(); ++i) {
    if (i != 0) out += ',';
    out += json_string(failures_[i]);
  }
  return out + "]}";
}

std::string Report::table() const {
  std::string out = fmt::format("bench {}\n", scenario_);
  for (const Row& row : rows_) {
    if (row.label.empty()) continue;
    out += fmt::format("  {:<52} {:>14}", row.label, readable(row.value));
    if (row.kind) {
      const bool met = *row.kind == Budget::AtMost ? row.value <= row.budget : row.value >= row.budget;
      out += fmt::format("   budget {} {:<8} {}", *row.kind == Budget::AtMost ? "<=" : ">=", readable(row.budget), met ? "met" : "MISSED");
    }
    out += '\n';
  }
  for (const std::string& line : notes_) out += fmt::format("  {}\n", line);
  for (const std::string& failure : failures_) out += fmt::format("  SELF-CHECK FAILED: {}\n", failure);
  return out;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::string readable(double value) {
  if (!std::isfinite(value)) return "-";
  if (std::abs(value) >= 1000) return with_thousands(std::llround(value));
  if (value == std::floor(value)) return fmt::format("{}", static_cast<long long>(value));
  return fmt::format("{:.3g}", value);
}

void progress(std::string_view scenario, std::string_view text) {
  const std::string line = fmt::format("bench {}: {}\n", scenario, text);
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

}  // namespace dunlin::bench
