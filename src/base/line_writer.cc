#include "base/line_writer.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <utility>

namespace dunlin {

LineWriter::~LineWriter() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void LineWriter::start() {
  MutexLock lock(mutex_);
  started_ = true;
  thread_ = std::thread([this] { run(); });
}

void LineWriter::put(std::string_view line) {
  MutexLock lock(mutex_);
  if (!started_) return write_lines(line);
  if (refused_ != 0 || waiting_.size() + line.size() > kMaxBytes) {
    // Until the thread has taken what waits all that comes is missing, so that it is missing at one place.
    ++refused_;
    dropped_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  waiting_ += line;
  unwritten_.fetch_add(line.size(), std::memory_order_relaxed);
  changed_.notify_one();
}

void LineWriter::run() {
  // Signals are for others: the thread would die of a closed pipe.
  sigset_t all;
  sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
  ::pthread_setname_np(::pthread_self(), "lines");
  while (true) {
    std::string lines;
    std::uint64_t refused = 0;
    {
      MutexLock lock(mutex_);
      while (waiting_.empty() && !stopping_) changed_.wait(mutex_);
      if (waiting_.empty()) return;
      lines.swap(waiting_);
      refused = std::exchange(refused_, 0);
    }
    write_lines(lines);
    untold_ += refused;
    if (refused != 0) tell_missing();
    unwritten_.fetch_sub(lines.size(), std::memory_order_release);
  }
}

void LineWriter::write_lines(std::string_view lines) {
  std::string_view rest = lines;
  if (tell_missing()) {
    rest.remove_prefix(write_all(rest));
    torn_ = !rest.empty() && rest.size() != lines.size() && lines[lines.size() - rest.size() - 1] != '\n';
  }
  count_missing(static_cast<std::uint64_t>(std::count(rest.begin(), rest.end(), '\n')));
}

bool LineWriter::tell_missing() {
  if (untold_ == 0) return true;
  if (missing_) {
    const std::string line = (torn_ ? "\n" : "") + missing_(untold_);
    const std::size_t written = write_all(line);
    torn_ = written == 0 ? torn_ : written != line.size();
    if (written != line.size()) return false;
  }
  untold_ = 0;
  return true;
}

std::size_t LineWriter::write_all(std::string_view bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t written = ::write(fd_, bytes.data() + done, bytes.size() - done);
    if (written > 0) {
      done += static_cast<std::size_t>(written);
      continue;
    }
    if (written < 0 && errno == EINTR) continue;
    if (written == 0 || errno != EAGAIN) break;
    // Someone who shares the descriptor has made it non-blocking.
    pollfd wait{fd_, POLLOUT, 0};
    ::poll(&wait, 1, -1);
  }
  return done;
}

void LineWriter::count_missing(std::uint64_t lines) {
  untold_ += lines;
  dropped_.fetch_add(lines, std::memory_order_relaxed);
}

bool LineWriter::flush(std::chrono::milliseconds patience) const {
  constexpr timespec kLook{.tv_sec = 0, .tv_nsec = 1'000'000};
  for (auto left = patience; unwritten_.load(std::memory_order_acquire) != 0; left -= std::chrono::milliseconds(1)) {
    if (left.count() <= 0) return false;
    ::nanosleep(&kLook, nullptr);
  }
  return true;
}

}  // namespace dunlin
