#pragma once

#include <atomic>
#include <memory>
#include <string_view>

#include "storage/embedded/history/reading.h"

namespace dunlin::embedded {

// Walks one conversation's rows in one volume, both ways. Counts every row it lands on. When valid() is false, damaged() tells whether a
// file could not be read (the walk cannot go on) or there is nothing more. Within the life of its Reading, whose iterator it borrows.
class TimelineCursor {
 public:
  // Of rows at or below `newer_than` it finds only some.
  TimelineCursor(Reading& reading, const ColumnPtr& column, std::uint64_t number, LogPosition newer_than = LogPosition(0));
  ~TimelineCursor();
  TimelineCursor(TimelineCursor&&) noexcept;
  TimelineCursor& operator=(TimelineCursor&&) = delete;

  void seek(MessageSeq seq);       // the first row at or above
  void seek_back(MessageSeq seq);  // the last row at or below
  void next();
  void previous();

  bool valid() const;
  MessageSeq seq() const;
  std::string_view key() const;
  std::string_view value() const;

  bool damaged() const;
  const rocksdb::Status& status() const;  // why
  Column& column() const;

 private:
  struct State;
  void landed();
  std::unique_ptr<State> state_;
};

}  // namespace dunlin::embedded
