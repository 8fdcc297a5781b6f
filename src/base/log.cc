#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>

#include "base/escape.h"

namespace dunlin {
namespace {

std::atomic<LogLevel> minimum{LogLevel::Info};

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = std::make_shared<spdlog::logger>("dunlin", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %v", spdlog::pattern_time_type::utc);
    made->set_level(spdlog::level::trace);
    return made;
  }();
  return *instance;
}

std::string_view level_name(LogLevel level) {
  switch (level) {
    case LogLevel::Debug: return "DEBUG";
    case LogLevel::Info: return "INFO";
    case LogLevel::Warn: return "WARN";
    default: return "ERROR";
  }
}

}  // namespace

bool log_enabled(LogLevel level) {
  return level >= minimum.load(std::memory_order_relaxed);
}
void set_log_level(LogLevel level) {
  minimum.store(level, std::memory_order_relaxed);
}

void log_line(LogLevel level, std::string_view area, std::string_view text, std::initializer_list<LogField> fields) {
  if (!log_enabled(level)) return;
  std::string line = fmt::format("{} {}: {}", level_name(level), area, text);
  for (const LogField& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    append_log_value(line, field.value);
  }
  logger().log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
  if (level >= LogLevel::Warn) logger().flush();
}

}  // namespace dunlin
