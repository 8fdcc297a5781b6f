#include "cli/bench.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "bench/bench.h"

namespace dunlin {

void register_bench(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<bench::BenchOptions>();
  CLI::App* command = app.add_subcommand("bench", "Measure this machine and this server; every scenario checks its own result");
  command->add_option("scenario", options->scenario, "limits | store | idle | echo | direct | login | slow-readers | soak")->required();
  command->add_flag("--json", options->json, "One line of JSON, the last of stdout");
  command->add_option("--url", options->url, "A server that runs already: ws://HOST:PORT/im (default: starts one in a temporary folder)");
  command->add_option("--token-key", options->token_key_file, "With --url: file with that server's HS256 secret (key id: main)");
  command->add_option("--server-pid", options->server_pid,
                      "With --url: that server's process on this machine, to measure its CPU and memory");
  command->add_option("--ids", options->ids, "direct: session = <session>-<n>, random = ids that the store has to look up")
      ->capture_default_str();
  command->add_option("--rate", options->rate, "direct: messages/s of the open schedule (default: half of what the closed run reaches)");
  command->add_option("--connections", options->connections, "idle: how many")->capture_default_str();
  command->add_flag("--tls", options->tls, "idle: over TLS, with a certificate made for this run");
  command->add_option("--messages", options->messages, "soak: deliver as many, however long it takes (or until --seconds)");
  command->add_option("--seconds", options->seconds, "soak: how long (default: 120, or with --messages without a bound)");
  command->add_option("--scale", options->scale, "Do only this part of the work, to try a scenario; never a result")->capture_default_str();
  command->add_flag("--allow-debug", options->allow_debug, "Run although this is a debug build");
  command->callback([options, &exit_code] { exit_code = bench::run_bench(*options); });
}

}  // namespace dunlin
