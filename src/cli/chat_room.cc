#include "cli/chat_room.h"

#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <ctime>

#include "client/text_body.h"

namespace dunlin {

using client::printable;
using client::text_body;

namespace {

constexpr std::uint32_t kHistory = 20;
constexpr auto kTypingPause = std::chrono::seconds(3);

volatile std::sig_atomic_t g_signalled = 0;

void catch_signals() {
  struct sigaction action{};
  action.sa_handler = [](int) { g_signalled = 1; };
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

std::string clock_time(std::uint64_t time_ms) {
  const auto seconds = static_cast<std::time_t>(time_ms / 1000);
  std::tm local{};
  ::localtime_r(&seconds, &local);
  return fmt::format("{:02}:{:02}", local.tm_hour, local.tm_min);
}

std::string text_of(const wire::MessageView& message) {
  if (const auto text = client::text_of_body(message.body)) return printable(*text);
  return printable(message.body);
}

}  // namespace

ChatRoom::ChatRoom(ChatOptions options)
    : options_(std::move(options)), screen_(options_.send.empty() ? STDIN_FILENO : -1, STDOUT_FILENO), client_(options_.client, *this) {}

int ChatRoom::run() {
  catch_signals();
  const int code = options_.send.empty() ? run_interactive() : run_once();
  client_.close();
  return code;
}

int ChatRoom::run_once() {
  const MonotonicTime end = std::chrono::steady_clock::now() + options_.send_limit;
  send(options_.to, options_.send);
  while (!client_.everything_settled() && !client_.fatal() && g_signalled == 0) {
    if (std::chrono::steady_clock::now() > end) {
      std::fputs("dunlin chat: no ack came in time\n", stderr);
      return 1;
    }
    client_.run_once(Milliseconds(200));
  }
  if (client_.fatal()) std::fprintf(stderr, "dunlin chat: %s\n", client_.fatal()->context().c_str());
  return client_.everything_settled() && !failed_ ? 0 : 1;
}

int ChatRoom::run_interactive() {
  screen_.set_prompt(prompt());
  while (g_signalled == 0 && !screen_.ended() && !client_.fatal()) {
    if (!client_.run_once(Milliseconds(500), STDIN_FILENO)) continue;
    screen_.read([this](const std::string& line) { take_line(line); });
    if (!screen_.is_empty()) signal_typing();
  }
  // What was typed is sent, and what was shown is acked, before we leave.
  const MonotonicTime end = std::chrono::steady_clock::now() + (screen_.is_terminal() ? Milliseconds(2000) : options_.send_limit);
  while (g_signalled == 0 && !client_.fatal() && std::chrono::steady_clock::now() < end) {
    const bool settled = client_.everything_settled() && client_.acks_settled();
    if (settled && (client_.connected() || screen_.is_terminal())) break;
    client_.run_once(Milliseconds(100));
  }
  if (client_.fatal()) {
    std::fprintf(stderr, "dunlin chat: %s\n", client_.fatal()->context().c_str());
    return 1;
  }
  if (client_.everything_settled() && !failed_) return 0;
  std::fputs("dunlin chat: not everything was sent\n", stderr);
  return 1;
}

std::string ChatRoom::prompt() const {
  return options_.to.empty() ? "> " : fmt::format("{} > ", printable(options_.to));
}

void ChatRoom::take_line(const std::string& line) {
  if (line.empty()) return;
  if (line == "/quit") {
    ::raise(SIGTERM);
  } else if (line.starts_with("/to ")) {
    options_.to = line.substr(4);
    screen_.set_prompt(prompt());
    awaiting_history_ = client_.connected();
    client_.request_history(options_.to, kHistory);
  } else if (line.starts_with('/')) {
    say("/to USER talks to another user, @USER TEXT sends one line to a user, /quit leaves");
  } else if (line.starts_with('@') && line.find(' ') != std::string::npos) {
    const std::size_t space = line.find(' ');
    send(line.substr(1, space - 1), std::string_view(line).substr(space + 1));
  } else if (options_.to.empty()) {
    say("whom to? /to USER, or @USER TEXT");
  } else {
    send(options_.to, line);
  }
}

void ChatRoom::send(std::string to, std::string_view text) {
  client_.send(std::move(to), text_body(text));
  if (!client_.connected() && options_.send.empty()) say("not connected: it will be sent later");
}

// At most one signal in a few seconds; the server and the other side forget it after that.
void ChatRoom::signal_typing() {
  const MonotonicTime now = std::chrono::steady_clock::now();
  if (options_.to.empty() || !screen_.is_terminal() || now - typing_sent_ < kTypingPause) return;
  typing_sent_ = now;
  client_.typing(options_.to, true);
}

void ChatRoom::say(std::string_view text) {
  if (options_.json) {
    screen_.print(fmt::format(R"({{"event":"info","info":{}}})", text_body(text)));
  } else if (options_.send.empty()) {
    screen_.print(fmt::format("-- {}", text));
  }
}

void ChatRoom::on_packet(std::string_view packet) {
  if (options_.json) screen_.print(packet);
}

void ChatRoom::on_connected(const wire::ConnectReply& reply) {
  if (options_.json) {
    screen_.print(R"({"event":"connected"})");
  } else {
    say(fmt::format("connected as {}", printable(reply.user)));
    if (reply.resume == Resume::Truncated || reply.resume == Resume::Reset) {
      say("some older messages are no longer on the server");
    }
  }
  if (reply.resume == Resume::Reset) shown_.clear();
  if (options_.to.empty() || !options_.send.empty()) return;
  awaiting_history_ = true;
  client_.request_history(options_.to, kHistory);
}

void ChatRoom::on_disconnected(const Error& error, Milliseconds pause) {
  awaiting_history_ = false;
  show_held();
  if (options_.json) {
    screen_.print(fmt::format(R"({{"event":"disconnected","reason":{},"retry_ms":{}}})", text_body(error.context()), pause.count()));
  } else if (options_.send.empty()) {
    say(fmt::format("{}; next attempt in {:.1f} s", printable(error.context()), static_cast<double>(pause.count()) / 1000));
  }
}

void ChatRoom::on_message(const wire::MessageView& message) {
  if (!options_.send.empty() || own_ids_.contains(std::string(message.client_msg_id))) return;
  Shown shown{std::string(message.conversation), message.seq, message.time_ms, std::string(message.from), text_of(message)};
  if (awaiting_history_) {
    held_.push_back(std::move(shown));
  } else {
    show(shown);
  }
}

void ChatRoom::on_history(const wire::HistoryReply& history) {
  awaiting_history_ = false;
  for (const wire::MessageView& message : history.messages) {
    show({std::string(message.conversation), message.seq, message.time_ms, std::string(message.from), text_of(message)});
  }
  show_held();
}

void ChatRoom::show_held() {
  const std::vector<Shown> held = std::move(held_);
  held_.clear();
  for (const Shown& message : held) show(message);
}

void ChatRoom::show(const Shown& message) {
  std::uint64_t& highest = shown_[message.conversation];
  if (message.seq != 0 && message.seq <= highest) return;
  highest = std::max(highest, message.seq);
  const bool is_mine = message.from == options_.me;
  if (!options_.json) {
    screen_.print(fmt::format("[{}] {}: {}{}", clock_time(message.time_ms), is_mine ? "you" : printable(message.from), message.text,
                              is_mine ? " ✓" : ""));
  }
  if (!is_mine && message.seq != 0) client_.read(message.conversation, message.seq);
}

void ChatRoom::on_gap(const wire::GapView& gap) {
  if (!options_.json) {
    say(fmt::format("messages {} to {} can no longer be read ({})", gap.from_seq, gap.to_seq, gap_reason_name(gap.reason)));
  }
}

void ChatRoom::on_stored(const client::OutgoingMessage& message, const wire::SendReply& reply) {
  own_ids_.insert(message.client_msg_id);
  own_conversation_ = reply.conversation;
  own_seq_ = reply.seq;
  auto& highest = shown_[own_conversation_];
  const bool was_shown = reply.seq <= highest;
  highest = std::max(highest, reply.seq);
  if (options_.json || was_shown) return;
  const std::string text = printable(client::text_of_body(message.body).value_or(message.body));
  if (options_.send.empty()) {
    screen_.print(fmt::format("[{}] you: {} ✓", clock_time(reply.time_ms), text));
  } else {
    screen_.print(fmt::format("sent to {}: seq {} ({})", printable(message.to), reply.seq, durability_name(reply.durability)));
  }
}

void ChatRoom::on_refused(const client::OutgoingMessage& message, const wire::ErrorReply& error) {
  failed_ = true;
  const std::string text = fmt::format("not sent to {}: {} ({})", printable(message.to), error.message, error.name);
  std::fprintf(stderr, "%sdunlin chat: %s\n", screen_.is_terminal() ? "\r\x1b[K" : "", printable(text).c_str());
}

void ChatRoom::on_receipt(const wire::ReceiptPush& receipt) {
  if (options_.json || receipt.user == options_.me || receipt.conversation != own_conversation_ || own_seq_ == 0) return;
  if (receipt.read_seq >= own_seq_ && told_read_ < own_seq_) {
    told_read_ = told_delivered_ = own_seq_;
    screen_.print("        ✓✓ read");
  } else if (receipt.delivered_seq >= own_seq_ && told_delivered_ < own_seq_) {
    told_delivered_ = own_seq_;
    screen_.print("        ✓✓ delivered");
  }
}

void ChatRoom::on_typing(const wire::TypingPush& typing) {
  if (!options_.json && typing.active) say(fmt::format("{} is typing", printable(typing.from)));
}

void ChatRoom::on_notice(const wire::NoticePush& notice) {
  if (!options_.json) say(fmt::format("{}: {}", printable(notice.name), printable(notice.text)));
}

}  // namespace dunlin
