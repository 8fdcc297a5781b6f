#include "cli/chat.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/escape.h"
#include "cli/chat_room.h"
#include "config/load.h"
#include "server/auth_keys.h"
#include "session/auth/token_minter.h"

namespace dunlin {
namespace {

struct Arguments {
  std::string me;
  std::string to;
  std::string url;
  std::string send;
  std::string token;
  std::string config_file;
  std::string device;
  std::string ca_file;
  bool insecure = false;
  bool json = false;
};

// Where a server with this configuration is reached from its own machine.
std::string url_of(const Config& config) {
  const bool tls = config.tls.enabled() && config.websocket.tls;
  std::string host = config.websocket.listen;
  if (host.empty() || host == "0.0.0.0" || host == "::") host = "127.0.0.1";
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  return fmt::format("{}://{}:{}{}", tls ? "wss" : "ws", host, config.websocket.port, config.websocket.path);
}

using TokenSource = std::function<Result<std::string>()>;

// A new token for each connect, signed with the server's own key: for development on the machine of the server.
Result<TokenSource> minting(const Config& config, const std::string& user) {
  TRY_ASSIGN(const AuthKeys keys, read_auth_keys(config));
  TRY_ASSIGN(auto key_set, make_key_set(config, keys));
  auth::MintRequest request;
  request.user = UserId(user);
  request.issuer = config.auth.issuer;
  request.audience = config.auth.audience;
  return TokenSource([key_set, request] { return auth::mint_token(*key_set, request, SystemClock().wall()); });
}

Result<ChatOptions> chat_options(const Arguments& arguments) {
  if (!is_valid_id(arguments.me)) return Error(ErrorCode::Config, "--as is a user id: 1 to 64 bytes without control characters");
  if (!arguments.to.empty() && !is_valid_id(arguments.to)) return Error(ErrorCode::Config, "--to is a user id: 1 to 64 bytes");
  if (!arguments.send.empty() && arguments.to.empty()) return Error(ErrorCode::Config, "--send needs --to USER");
  ChatOptions options;
  options.me = arguments.me;
  options.to = arguments.to;
  options.send = arguments.send;
  options.json = arguments.json;
  std::string url = arguments.url.empty() ? "ws://127.0.0.1:8080/im" : arguments.url;
  if (!arguments.token.empty()) {
    options.client.token = [token = arguments.token]() -> Result<std::string> { return token; };
  }
  if (arguments.token.empty() || (arguments.url.empty() && !arguments.config_file.empty())) {
    const auto file = arguments.config_file.empty() ? std::nullopt : std::optional(arguments.config_file);
    TRY_ASSIGN(const LoadedConfig loaded, load_config(file, process_environment()));
    if (arguments.url.empty()) url = url_of(loaded.config);
    if (arguments.token.empty()) {
      TRY_ASSIGN(options.client.token, minting(loaded.config, arguments.me));
    }
  }
  TRY_ASSIGN(options.client.url, client::Url::parse(url));
  options.client.tls = {.ca_file = arguments.ca_file, .insecure = arguments.insecure};
  // A script must not take the place of the same user's open chat, nor ack what that one should show.
  options.client.device = !arguments.device.empty() ? arguments.device : (arguments.send.empty() ? "chat" : "chat-send");
  options.client.ack = arguments.send.empty();
  return options;
}

int run_chat(const Arguments& arguments) {
  auto options = chat_options(arguments);
  if (!options.ok()) {
    std::fprintf(stderr, "dunlin chat: %s\n", options.error().context().c_str());
    return options.error().code() == ErrorCode::Config ? 2 : 1;
  }
  return ChatRoom(std::move(options).value()).run();
}

}  // namespace

void register_chat(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("chat", "Chat in the terminal");
  command->add_option("--as", arguments->me, "Who you are: a user id")->required();
  command->add_option("--to", arguments->to, "Whom you talk to: a user id");
  command->add_option("--url", arguments->url, "ws://, wss://, tcp:// or tls:// of the server (default: from the configuration)");
  command->add_option("--send", arguments->send, "Send this text, wait until it is stored, and end");
  command->add_flag("--json", arguments->json, "Print every packet as a line of JSON");
  command->add_option("--token", arguments->token, "A token for this user (default: made with the server's key)");
  command->add_option("--config", arguments->config_file, "The server's configuration file, for its key and address");
  command->add_option("--device", arguments->device, "Name of this device (default: chat; with --send: chat-send)");
  command->add_option("--ca", arguments->ca_file, "wss, tls: file with the authority that signed the server's certificate");
  command->add_flag("--insecure", arguments->insecure, "wss, tls: accept any certificate");
  command->callback([arguments, &exit_code] { exit_code = run_chat(*arguments); });
}

}  // namespace dunlin
