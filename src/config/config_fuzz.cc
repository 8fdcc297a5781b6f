#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "config/load.h"

// Any bytes are either refused with a Config error or give a configuration whose printed form parses again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dunlin;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Result<LoadedConfig> loaded = parse_config(text, "fuzz", "/base", {});
  if (!loaded.ok()) {
    CHECK(loaded.error().code() == ErrorCode::Config);
    return 0;
  }
  CHECK(parse_config(print_config(loaded->config), "printed", "/base", {}).ok());
  return 0;
}
