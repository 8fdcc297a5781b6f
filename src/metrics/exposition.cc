#include "metrics/exposition.h"

#include <fmt/format.h>

namespace dunlin::metrics {
namespace {

std::string_view type_name(Exposition::Type type) {
  switch (type) {
    case Exposition::Type::Counter: return "counter";
    case Exposition::Type::Gauge: return "gauge";
    case Exposition::Type::Histogram: return "histogram";
  }
  return "untyped";
}

void append_escaped(std::string& out, std::string_view value) {
  for (const char c : value) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
}

}  // namespace

void Exposition::family(std::string_view name, Type type, std::string_view help) {
  name_ = name;
  out_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type_name(type));
}

void Exposition::line(std::string_view suffix, std::initializer_list<Label> labels, std::string_view value) {
  (out_ += name_) += suffix;
  char before = '{';
  for (const auto& [key, text] : labels) {
    ((out_ += before) += key) += "=\"";
    append_escaped(out_, text);
    out_ += '"';
    before = ',';
  }
  if (before == ',') out_ += '}';
  ((out_ += ' ') += value) += '\n';
}

void Exposition::sample(std::initializer_list<Label> labels, double value) {
  line("", labels, fmt::format("{:.10g}", value));
}
void Exposition::sample(std::initializer_list<Label> labels, std::uint64_t value) {
  line("", labels, std::to_string(value));
}
void Exposition::sample(std::initializer_list<Label> labels, std::int64_t value) {
  line("", labels, std::to_string(value));
}

void Exposition::histogram(const Histogram& histogram, double scale) {
  const HistogramSnapshot snapshot = histogram.snapshot();
  std::uint64_t cumulative = 0;
  for (std::size_t i = 0; i < snapshot.buckets.size(); ++i) {
    cumulative += snapshot.buckets[i];
    const bool last = i == histogram.bounds().size();
    const std::string bound = last ? "+Inf" : fmt::format("{:.10g}", static_cast<double>(histogram.bounds()[i]) * scale);
    line("_bucket", {{"le", bound}}, std::to_string(cumulative));
  }
  line("_sum", {}, fmt::format("{:.10g}", static_cast<double>(snapshot.sum) * scale));
  line("_count", {}, std::to_string(cumulative));
}

}  // namespace dunlin::metrics
