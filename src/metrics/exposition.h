#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "metrics/instruments.h"

namespace dunlin::metrics {

using Label = std::pair<std::string_view, std::string_view>;

// Writes Prometheus text format 0.0.4: for each family a call of family(), then its samples. Label values are escaped.
class Exposition {
 public:
  enum class Type { Counter, Gauge, Histogram };

  // `name` must outlive the samples of the family.
  void family(std::string_view name, Type type, std::string_view help);
  void sample(std::initializer_list<Label> labels, double value);
  void sample(std::initializer_list<Label> labels, std::uint64_t value);
  void sample(std::initializer_list<Label> labels, std::int64_t value);
  // Cumulative buckets, sum and count; stored values times `scale` are what is shown (1e-9: nanoseconds as seconds).
  void histogram(const Histogram& histogram, double scale);

  std::string take() { return std::move(out_); }

 private:
  void line(std::string_view suffix, std::initializer_list<Label> labels, std::string_view value);

  std::string out_;
  std::string_view name_;
};

}  // namespace dunlin::metrics
