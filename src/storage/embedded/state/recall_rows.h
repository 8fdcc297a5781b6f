#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace dunlin::embedded {

// A recalled message whose content has not left all files yet.
struct RecallRow {
  std::uint64_t conversation_number = 0;
  MessageSeq seq;
  LogPosition position;
  std::uint64_t time_ms = 0;  // when it was recalled
};

// What remembers recalls across restarts: rows of the state store, or a double of a test. Blocks; any thread.
class RecallRows {
 public:
  virtual ~RecallRows() = default;
  virtual Result<std::vector<RecallRow>> recalls() = 0;
  // Durable when it returns.
  virtual Status add_recall(const RecallRow& row) = 0;
  // `durable`: when it returns; else with the next sync, and until then a crash may bring them back.
  virtual Status remove_recalls(std::span<const RecallRow> rows, bool durable) = 0;
};

}  // namespace dunlin::embedded
