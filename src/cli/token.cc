#include "cli/token.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "cli/exit_codes.h"
#include "config/load.h"
#include "server/auth_keys.h"
#include "session/auth/token_minter.h"

namespace dunlin {
namespace {

struct Arguments {
  std::string user;
  std::string ttl = "1h";
  std::string key_id;
  std::optional<std::string> config;
};

constexpr std::int64_t kMaxSeconds = 10LL * 365 * 86400;

// "90", "90s", "15m", "1h", "7d".
Result<std::chrono::seconds> parse_ttl(const std::string& text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  const std::int64_t factor = unit.empty() || unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : unit == "d" ? 86400 : 0;
  if (error != std::errc{} || factor == 0 || number <= 0 || number > kMaxSeconds / factor) {
    return Error(ErrorCode::BadRequest, "--ttl must be like 90s, 15m, 1h or 7d, at most ten years");
  }
  return std::chrono::seconds(number * factor);
}

Result<std::string> mint(const Arguments& arguments) {
  TRY_ASSIGN(const std::chrono::seconds ttl, parse_ttl(arguments.ttl));
  TRY_ASSIGN(const LoadedConfig loaded, load_config(arguments.config, process_environment()));
  TRY_ASSIGN(const AuthKeys keys, read_auth_keys(loaded.config));
  TRY_ASSIGN(const auto key_set, make_key_set(loaded.config, keys));
  const auth::MintRequest request{UserId(std::string_view(arguments.user)), ttl, arguments.key_id, loaded.config.auth.issuer,
                                  loaded.config.auth.audience};
  return auth::mint_token(*key_set, request, SystemClock().wall());
}

}  // namespace

void register_token(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("token", "Print a token for a user, signed with the server's own key (for development)");
  command->add_option("user", arguments->user, "User id")->required();
  command->add_option("--ttl", arguments->ttl, "How long it is good: 90s, 15m, 1h, 7d")->capture_default_str();
  command->add_option("--key", arguments->key_id, "Id of the key to sign with (default: the first that can)");
  command->add_option("--config", arguments->config, "Configuration of the server");
  command->callback([arguments, &exit_code] {
    const Result<std::string> token = mint(*arguments);
    if (!token.ok()) {
      exit_code = fail("token", token.error());
      return;
    }
    fmt::print("{}\n", *token);
    exit_code = kExitOk;
  });
}

}  // namespace dunlin
