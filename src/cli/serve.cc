#include "cli/serve.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>

#include "cli/exit_codes.h"
#include "config/load.h"
#include "server/server.h"

namespace dunlin {

void register_serve(CLI::App& app, int& exit_code) {
  auto file = std::make_shared<std::optional<std::string>>();
  CLI::App* command = app.add_subcommand("serve", "Run the server until SIGTERM or SIGINT; SIGHUP reloads");
  command->add_option("--config", *file, "File to read (default: ./dunlin.yaml, else /etc/dunlin/dunlin.yaml, else defaults)");
  command->callback([file, &exit_code] {
    // A reload reads the same file again, even if the working folder has changed or another default file has appeared.
    Result<LoadedConfig> loaded = load_config(*file, process_environment());
    if (!loaded.ok()) {
      exit_code = fail("serve", loaded.error());
      return;
    }
    const auto reload = [path = loaded->file, folder = loaded->folder]() -> Result<LoadedConfig> {
      if (path.empty()) return parse_config("", "", folder, process_environment());
      return load_config(path, process_environment());
    };
    exit_code = run_server(*loaded, reload);
  });
}

}  // namespace dunlin
