#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include "base/thread_annotations.h"

namespace dunlin {

// Lines to a descriptor that may not take them: a pipe that nobody empties, a terminal that is halted, a full disk.
//
// Until start() each line is written by its caller, who waits. From then on a thread of this object writes them, in the order of put(), and
// no caller ever waits: what comes while kMaxBytes wait is dropped, newest first. What cannot be written (an error) is dropped too. Both
// are counted; once the descriptor takes lines again a line that tells how many are missing is written in their place. stderr's and
// stdout's live as long as the process and are never destroyed: their thread may hang in a write for ever.
class LineWriter {
 public:
  static constexpr std::size_t kMaxBytes = 1 << 20;  // that wait; as much may be on its way beside it

  // `missing` makes the line, with its end, that tells how many lines are missing; null: nothing is told.
  LineWriter(int fd, std::function<std::string(std::uint64_t lines)> missing) : fd_(fd), missing_(std::move(missing)) {}
  ~LineWriter();  // waits for the thread, which writes what waits
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  void start() EXCLUDES(mutex_);  // once
  // `line` with its end. Any thread.
  void put(std::string_view line) EXCLUDES(mutex_);
  // Waits until all is written or dropped, for at most `patience`. Takes no lock, so that a signal handler may call it. Any thread.
  bool flush(std::chrono::milliseconds patience) const;

  std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  void run() EXCLUDES(mutex_);
  // Writes `lines`, after a line about those that are missing before them.
  void write_lines(std::string_view lines);
  bool tell_missing();
  // How many bytes were written; all unless there was an error.
  std::size_t write_all(std::string_view bytes);
  void count_missing(std::uint64_t lines);

  const int fd_;
  const std::function<std::string(std::uint64_t)> missing_;
  std::atomic<std::uint64_t> dropped_{0};
  std::atomic<std::size_t> unwritten_{0};  // bytes that wait or are on their way

  // Of the thread; before start() guarded by mutex_.
  std::uint64_t untold_ = 0;  // lines that are missing at this place
  bool torn_ = false;         // the descriptor's last line has no end

  Mutex mutex_;
  CondVar changed_;
  bool started_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::string waiting_ GUARDED_BY(mutex_);
  std::uint64_t refused_ GUARDED_BY(mutex_) = 0;  // lines that are missing behind waiting_
  std::thread thread_;
};

}  // namespace dunlin
