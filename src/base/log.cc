#include "base/log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <exception>

#include "base/escape.h"
#include "base/line_writer.h"
#include "base/log_output.h"

namespace dunlin {
namespace {

constexpr std::chrono::milliseconds kLastWords{500};  // for which an ending process waits for its descriptors

std::atomic<LogLevel> minimum{LogLevel::Info};

std::string_view level_name(LogLevel level) {
  switch (level) {
    case LogLevel::Debug: return "DEBUG";
    case LogLevel::Info: return "INFO";
    case LogLevel::Warn: return "WARN";
    default: return "ERROR";
  }
}

std::string made_line(LogLevel level, std::string_view area, std::string_view text, std::initializer_list<LogField> fields) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const std::time_t seconds = ms / 1000;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  std::string line = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z {} {}: {}", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                                 utc.tm_hour, utc.tm_min, utc.tm_sec, ms % 1000, level_name(level), area, text);
  for (const LogField& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    append_log_value(line, field.value);
  }
  line += '\n';
  return line;
}

// Never destroyed: see LineWriter.
LineWriter& log_output() {
  static LineWriter& writer = *new LineWriter(STDERR_FILENO, [](std::uint64_t lines) {
    return made_line(LogLevel::Warn, "log", "lines are missing here: stderr did not take them", {{"lines", lines}});
  });
  return writer;
}
LineWriter& printed_output() {
  static LineWriter& writer = *new LineWriter(STDOUT_FILENO, nullptr);
  return writer;
}

// What was logged before a crash is written before its end, and never hinders it.
void on_crash(int signal) {
  const int reason = errno;
  log_output().flush(kLastWords);
  std::signal(signal, SIG_DFL);
  std::raise(signal);  // comes when this handler is left
  errno = reason;
}

void handle_crashes() {
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
    struct sigaction action{};
    if (::sigaction(signal, nullptr, &action) != 0 || action.sa_handler != SIG_DFL) continue;  // a sanitizer's
    action.sa_handler = on_crash;
    ::sigaction(signal, &action, nullptr);
  }
}

// What is printed by others (CHECK, assert, the C++ runtime, libraries) takes its place among the log's lines, and waits for nobody either.
// glibc lets a program set its standard streams.
void take_over_stderr() {
  const cookie_io_functions_t to_log{.read = nullptr,
                                     .write = [](void*, const char* text, std::size_t size) -> ssize_t {
                                       log_output().put({text, size});
                                       return static_cast<ssize_t>(size);
                                     },
                                     .seek = nullptr,
                                     .close = nullptr};
  FILE* const stream = ::fopencookie(nullptr, "w", to_log);
  if (stream == nullptr) return;
  std::setvbuf(stream, nullptr, _IOLBF, 0);
  stderr = stream;
}

}  // namespace

bool log_enabled(LogLevel level) {
  return level >= minimum.load(std::memory_order_relaxed);
}
void set_log_level(LogLevel level) {
  minimum.store(level, std::memory_order_relaxed);
}

void log_line(LogLevel level, std::string_view area, std::string_view text, std::initializer_list<LogField> fields) {
  if (log_enabled(level)) log_output().put(made_line(level, area, text, fields));
}

void write_in_background() {
  log_output().start();
  printed_output().start();
  take_over_stderr();
  handle_crashes();
}

void print_line(std::string_view line) {
  printed_output().put(std::string(line) + '\n');
}

void flush_output() {
  printed_output().flush(kLastWords);
  log_output().flush(kLastWords);
}

std::uint64_t log_lines_dropped() {
  return log_output().dropped();
}

}  // namespace dunlin
