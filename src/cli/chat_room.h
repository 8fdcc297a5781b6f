#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cli/line_editor.h"
#include "client/client.h"

namespace dunlin {

struct ChatOptions {
  std::string me;
  std::string to;    // may be empty: then lines name their recipient
  std::string send;  // not empty: send this, wait for the ack, end
  bool json = false;
  client::ClientOptions client;
  Milliseconds send_limit{30'000};
};

// The terminal chat of one user: shows history and what arrives, sends what is typed, and says how far it came (✓ stored, ✓✓ delivered,
// then read). With `json` every packet from the server is printed as it came, and what the client itself decides as {"event":…}. One
// thread.
class ChatRoom final : public client::ClientEvents {
 public:
  explicit ChatRoom(ChatOptions options);

  // Until the input ends, a signal comes, or the server refuses for good. Gives the exit code.
  int run();

 private:
  void on_connected(const wire::ConnectReply& reply) override;
  void on_disconnected(const Error& error, Milliseconds pause) override;
  void on_message(const wire::MessageView& message) override;
  void on_gap(const wire::GapView& gap) override;
  void on_receipt(const wire::ReceiptPush& receipt) override;
  void on_typing(const wire::TypingPush& typing) override;
  void on_notice(const wire::NoticePush& notice) override;
  void on_stored(const client::OutgoingMessage& message, const wire::SendReply& reply) override;
  void on_refused(const client::OutgoingMessage& message, const wire::ErrorReply& error) override;
  void on_history(const wire::HistoryReply& history) override;
  void on_packet(std::string_view packet) override;

  struct Shown {
    std::string conversation;
    std::uint64_t seq = 0;
    std::uint64_t time_ms = 0;
    std::string from;
    std::string text;
  };

  int run_interactive();
  int run_once();
  void take_line(const std::string& line);
  void send(std::string to, std::string_view text);
  void show(const Shown& message);
  void show_held();
  void say(std::string_view text);
  void signal_typing();
  std::string prompt() const;

  ChatOptions options_;
  LineEditor screen_;
  client::Client client_;
  std::map<std::string, std::uint64_t> shown_;  // conversation → highest seq on the screen
  bool awaiting_history_ = false;
  std::vector<Shown> held_;        // arrived before the history that belongs above them
  std::set<std::string> own_ids_;  // client_msg_ids of messages written here: the server may send them back after a reconnect
  std::string own_conversation_;   // of the last message written here
  std::uint64_t own_seq_ = 0;      // its seq
  std::uint64_t told_delivered_ = 0;
  std::uint64_t told_read_ = 0;
  MonotonicTime typing_sent_{};
  bool failed_ = false;
};

}  // namespace dunlin
