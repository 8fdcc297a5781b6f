#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "client/backoff.h"
#include "client/channel.h"
#include "client/outbox.h"
#include "wire/decoder.h"
#include "wire/encoder.h"

namespace dunlin::client {

struct ClientOptions {
  Url url;
  TlsOptions tls;
  std::string device = "cli";
  std::string platform = "cli";
  // A token that is good now; called before each connect.
  std::function<Result<std::string>()> token;
  Milliseconds connect_limit{10'000};
  bool ack = true;                 // false: take messages without acking them, so that they stay undelivered for this device
  std::uint64_t backoff_seed = 0;  // 0: random
};

// What a Client tells its owner, from within run_once(). Views are valid during the call.
class ClientEvents {
 public:
  virtual ~ClientEvents() = default;
  virtual void on_connected(const wire::ConnectReply&) {}
  virtual void on_disconnected(const Error&, Milliseconds /* pause before the next attempt */) {}
  virtual void on_message(const wire::MessageView&) {}  // each once, in seq order for each conversation
  virtual void on_gap(const wire::GapView&) {}
  virtual void on_receipt(const wire::ReceiptPush&) {}
  virtual void on_typing(const wire::TypingPush&) {}
  virtual void on_notice(const wire::NoticePush&) {}
  virtual void on_stored(const OutgoingMessage&, const wire::SendReply&) {}
  virtual void on_refused(const OutgoingMessage&, const wire::ErrorReply&) {}
  virtual void on_history(const wire::HistoryReply&) {}
  virtual void on_packet(std::string_view /* JSON, as it came */) {}  // every packet, before it is understood
};

// A user's device on one connection at a time: connects, resumes, acks what it receives, repeats what is not settled, keeps the heartbeat,
// and connects again with growing pauses when the connection ends. It gives up only when the server says that it would never work (close or
// error codes from 4500 on); then fatal() tells why. One owner, one thread, which calls run_once() again and again; connecting blocks
// inside it for at most `connect_limit`.
class Client {
 public:
  Client(ClientOptions options, ClientEvents& events);
  ~Client();

  // Does what is due, and waits up to `limit` for the server or for `extra_fd` (-1: none) to have something to read. True when `extra_fd`
  // has.
  bool run_once(Milliseconds limit, int extra_fd = -1);

  void send(std::string to, std::string body);
  bool everything_settled() const { return outbox_.empty(); }
  bool acks_settled() const { return acks_.empty() && acks_under_way_ == 0; }

  // These need a connection; without one they do nothing.
  void request_history(std::string_view with, std::uint32_t limit);
  void typing(std::string_view to, bool active);
  void read(std::string_view conversation, std::uint64_t seq);

  bool connected() const { return session_open_; }
  const std::optional<Error>& fatal() const { return fatal_; }
  void close();

 private:
  void try_connect();
  void receive();
  void take_payload(std::string& payload);
  void take(const wire::Reply& reply);
  void take(const wire::Push& push);
  void take_connect_reply(const wire::ConnectReply& reply);
  void take_error(std::optional<wire::RequestId> id, const wire::ErrorReply& error);
  void take_message(const wire::MessageView& message);
  void take_gap(const wire::GapView& gap);
  void flush_outbox();
  void flush_acks();
  void keep_alive();
  wire::RequestId request(wire::Command command);
  void transmit(const wire::Request& request);
  void disconnected(const Error& error);
  Milliseconds until_next_duty(Milliseconds limit) const;

  // constant after construction
  const ClientOptions options_;
  ClientEvents& events_;
  const SystemClock clock_;
  const std::unique_ptr<wire::ServerPacketDecoder> decoder_;

  // the connection
  std::unique_ptr<Channel> channel_;
  bool session_open_ = false;  // connect was answered
  wire::RequestId last_request_ = 0;
  wire::RequestId connect_request_ = 0;
  MonotonicTime last_heard_{};
  MonotonicTime last_ping_{};
  Milliseconds heartbeat_{30'000};
  std::optional<std::uint32_t> kick_code_;
  std::size_t acks_under_way_ = 0;
  std::optional<wire::RequestId> history_request_;

  // outlives it
  Outbox outbox_;
  Backoff backoff_;
  MonotonicTime next_attempt_{};
  std::string sync_token_;
  std::map<std::string, std::uint64_t, std::less<>> received_;  // conversation → highest seq given to the owner
  std::map<std::string, std::uint64_t, std::less<>> acks_;      // to be sent
  std::optional<Error> fatal_;
};

}  // namespace dunlin::client
