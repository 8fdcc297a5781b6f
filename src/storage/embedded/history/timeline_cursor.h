#pragma once

#include <atomic>
#include <memory>
#include <string_view>

#include "storage/embedded/history/catalog.h"

namespace dunlin::embedded {

// Walks one conversation's rows in one volume, both ways. Counts every row it lands on. When valid() is false, damaged() tells whether a
// file could not be read (the walk cannot go on) or there is nothing more. One read of one thread, within the life of `catalog`.
class TimelineCursor {
 public:
  TimelineCursor(const Catalog& catalog, const ColumnPtr& column, std::uint64_t number, std::atomic<std::uint64_t>& rows_read);
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
