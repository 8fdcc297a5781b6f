#include "bench/load/fleet.h"

#include <fmt/format.h>

namespace dunlin::bench {

std::uint32_t Fleet::add(std::string user) {
  LoadClient& added = clients_.emplace_back();
  added.token = server_.token(user);
  added.user = std::move(user);
  return size() - 1;
}

Status Fleet::begin(std::uint32_t index, LinkOptions options) {
  options.tag = index;
  TRY_ASSIGN(clients_[index].link, loop_.open(*this, options));
  return {};
}

Status Fleet::connect(std::uint32_t first, std::uint32_t count, LinkOptions options, std::uint32_t at_once,
                      std::chrono::milliseconds limit) {
  const std::uint32_t before = connected_;
  std::uint32_t begun = 0;
  Status failure;
  const bool done = loop_.run_for(limit, [&] {
    while (failure.ok() && begun < count && begun - (connected_ - before) < at_once) {
      failure = begin(first + begun, options);
      ++begun;
    }
    return !failure.ok() || problems_ > 0 || connected_ - before == count;
  });
  TRY(std::move(failure));
  if (problems_ > 0) return Error(ErrorCode::Io, "connecting: " + problem_);
  if (!done) return Error(ErrorCode::Timeout, fmt::format("{} of {} clients connected in time", connected_ - before, count));
  return {};
}

void Fleet::disconnect(std::uint32_t index) {
  LoadClient& gone = clients_[index];
  if (gone.connected) --connected_;
  gone.connected = false;
  if (gone.link != nullptr) gone.link->close();
  gone.link = nullptr;
}

void Fleet::report_problem(std::uint32_t index, std::string_view what) {
  if (problems_++ == 0) problem_ = fmt::format("{}: {}", clients_[index].user, what);
}

void Fleet::on_open(Link& link) {
  const LoadClient& opened = clients_[link.tag()];
  std::string packet = fmt::format(R"({{"id":{},"connect":{{"token":"{}","device":"{}")", kConnectId, opened.token, kDevice);
  if (!opened.sync_token.empty()) packet += fmt::format(R"(,"sync_token":"{}")", opened.sync_token);
  link.send(packet + "}}");
}

void Fleet::on_packet(Link& link, const ScannedPacket& packet) {
  const std::uint32_t index = link.tag();
  if (!clients_[index].connected && packet.kind == "connect") {
    take_connect_reply(index, packet.content);
  } else if (packet.kind == "error" || packet.kind == "kick") {
    if (!on_client_error(index, packet)) report_problem(index, fmt::format("{} {}", packet.kind, packet.content));
  } else {
    on_client_packet(index, packet);
  }
}

void Fleet::take_connect_reply(std::uint32_t index, std::string_view reply) {
  LoadClient& connecting = clients_[index];
  ObjectScanner members(reply);
  std::string_view user;
  while (members.next()) {
    if (members.name() == "session") connecting.session = as_raw_string(members.value());
    if (members.name() == "user") user = as_raw_string(members.value());
    if (members.name() == "sync_token") connecting.sync_token = as_raw_string(members.value());
    if (members.name() == "heartbeat_interval_ms") connecting.heartbeat_ms = as_number(members.value()).value_or(0);
  }
  if (user != connecting.user || connecting.session.empty()) {
    report_problem(index, fmt::format("connect answered {}", reply));
    return;
  }
  connecting.connected = true;
  ++connected_;
  on_connected(index);
}

void Fleet::on_closed(Link& link, std::string_view reason) {
  LoadClient& gone = clients_[link.tag()];
  if (gone.link != &link) return;
  if (gone.connected) --connected_;
  gone.connected = false;
  gone.link = nullptr;
  report_problem(link.tag(), reason);
}

}  // namespace dunlin::bench
