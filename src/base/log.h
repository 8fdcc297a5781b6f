#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace dunlin {

enum class LogLevel { Debug, Info, Warn, Error, Off };

// Structured log lines on stderr: `2026-01-31T12:00:00.123Z WARN net: text key=value key="quoted"`.
// Text and field names are constants of ours; everything else goes into fields, which are escaped (control characters, quotes,
// invalid UTF-8), so that no user input can forge a line. Tokens and message bodies are never passed here. Any thread.
struct LogField {
  std::string_view key;
  std::string value;

  template <class T>
  LogField(std::string_view k, const T& v) : key(k), value(fmt::format("{}", v)) {}
};

void log_line(LogLevel level, std::string_view area, std::string_view text, std::initializer_list<LogField> fields);
bool log_enabled(LogLevel level);
void set_log_level(LogLevel level);

inline void log_debug(std::string_view area, std::string_view text, std::initializer_list<LogField> fields = {}) {
  if (log_enabled(LogLevel::Debug)) log_line(LogLevel::Debug, area, text, fields);
}
inline void log_info(std::string_view area, std::string_view text, std::initializer_list<LogField> fields = {}) {
  if (log_enabled(LogLevel::Info)) log_line(LogLevel::Info, area, text, fields);
}
inline void log_warn(std::string_view area, std::string_view text, std::initializer_list<LogField> fields = {}) {
  if (log_enabled(LogLevel::Warn)) log_line(LogLevel::Warn, area, text, fields);
}
inline void log_error(std::string_view area, std::string_view text, std::initializer_list<LogField> fields = {}) {
  if (log_enabled(LogLevel::Error)) log_line(LogLevel::Error, area, text, fields);
}

}  // namespace dunlin
