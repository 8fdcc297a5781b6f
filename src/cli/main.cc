#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "base/process_start.h"
#include "base/version.h"
#include "cli/bench.h"
#include "cli/chat.h"
#include "cli/config.h"
#include "cli/exit_codes.h"
#include "cli/serve.h"
#include "cli/storage.h"
#include "cli/token.h"
#include "cli/version.h"

namespace {

constexpr const char* kFooter = R"(
Try it, in three terminals:
  dunlin serve
  dunlin chat --as alice --to bob
  dunlin chat --as bob --to alice

`dunlin COMMAND --help` explains a command. Exit codes: 0 ok, 1 failure, 2 usage or configuration.)";

// Parsing runs the chosen command, which sets the exit code.
int run(int argc, char** argv) {
  int exit_code = dunlin::kExitUsage;
  CLI::App app("Dunlin, an instant-messaging server", "dunlin");
  app.set_version_flag("--version", fmt::format("dunlin {}", dunlin::kVersion));
  app.require_subcommand(1);
  app.footer(kFooter);
  dunlin::register_serve(app, exit_code);
  dunlin::register_chat(app, exit_code);
  dunlin::register_token(app, exit_code);
  dunlin::register_config(app, exit_code);
  dunlin::register_storage(app, exit_code);
  dunlin::register_bench(app, exit_code);
  dunlin::register_version(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? dunlin::kExitOk : dunlin::kExitUsage;
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  dunlin::prepare_process();
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dunlin: %s\n", error.what());
    return dunlin::kExitFailure;
  }
}
