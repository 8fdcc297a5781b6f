#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dunlin::bench {

// What one run found: named numbers in the order added, each with the budget it is held against, and the self-checks that failed.
// A number without a label is for scripts only. One thread.
class Report {
 public:
  enum class Budget { AtMost, AtLeast };

  explicit Report(std::string scenario) : scenario_(std::move(scenario)) {}

  void add(std::string_view name, double value, std::string_view label = {});
  void add(std::string_view name, double value, std::string_view label, Budget kind, double budget);
  // A property that must hold for the numbers to mean anything (nothing lost, order kept, the work really done).
  void check(bool holds, std::string_view what);
  void note(std::string line) { notes_.push_back(std::move(line)); }

  bool passed() const { return failures_.empty(); }
  std::optional<double> value(std::string_view name) const;
  std::string json() const;   // one line without its end
  std::string table() const;  // several lines

 private:
  struct Row {
    std::string name;
    double value;
    std::string label;
    std::optional<Budget> kind;
    double budget = 0;
  };

  std::string scenario_;
  std::vector<Row> rows_;
  std::vector<std::string> notes_;
  std::vector<std::string> failures_;
};

double median(std::vector<double> values);

// "1,234,567", "12.3", "0.0042": as many digits as say something.
std::string readable(double value);

// One line on stderr, "bench echo: text", at once.
void progress(std::string_view scenario, std::string_view text);

}  // namespace dunlin::bench
