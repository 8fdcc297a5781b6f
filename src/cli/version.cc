#include "cli/version.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/version.h"
#include "cli/exit_codes.h"

namespace dunlin {
namespace {

#ifdef NDEBUG
constexpr const char* kBuild = "release";
#else
constexpr const char* kBuild = "debug";
#endif

}  // namespace

void register_version(CLI::App& app, int& exit_code) {
  app.add_subcommand("version", "Print the version")->callback([&exit_code] {
    fmt::print("dunlin {} ({} build, {})\n", kVersion, kBuild, __VERSION__);
    exit_code = kExitOk;
  });
}

}  // namespace dunlin
