#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/config.h"

namespace dunlin {

// Where a setting's value lives in a Config; its type is the type of the field.
using FieldRef = std::variant<bool*, std::int64_t*, std::string*, std::vector<std::string>*, std::vector<AuthKeyConfig>*>;

struct SettingTraits {
  std::int64_t min = 0;  // numbers only
  std::int64_t max = std::numeric_limits<std::int64_t>::max();
  std::string_view unit{};         // "ms", "bytes", … ; bytes also take the suffixes KiB, MiB, GiB
  std::string_view choices{};      // "a|b|c": the only texts allowed
  bool path = false;               // a relative one counts from the configuration's folder
  bool reload = false;             // SIGHUP applies a change
  bool secret = false;             // never printed, in errors neither
  bool hidden = false;             // not in the reference
  bool not_in_this_build = false;  // accepted and checked, but what it configures is not built in
};

// One row of the table that drives parsing, environment, validation, printing and the reference page.
struct Setting {
  std::string_view key;  // "store.log.segment-bytes"
  FieldRef (*field)(Config&);
  SettingTraits traits;
  std::string_view doc;  // one or two plain sentences
};

std::span<const Setting> settings();

// The row of `key`, nullptr if there is none. `spring.redis.x` finds `redis.x`.
const Setting* find_setting(std::string_view key);

// True if a setting lies below `section` ("store", "store.log", "spring").
bool is_section(std::string_view section);

// "store.log.segment-bytes" → "DUNLIN_STORE_LOG_SEGMENT_BYTES".
std::string environment_name(std::string_view key);

}  // namespace dunlin
