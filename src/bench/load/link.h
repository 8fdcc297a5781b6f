#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "bench/load/sockets.h"
#include "client/json_scan.h"
#include "codec/ws_decoder.h"
#include "net/tls.h"

namespace dunlin::bench {

using client::as_number;
using client::as_raw_string;
using client::member;
using client::ObjectScanner;
using client::ScannedPacket;

class Link;
class LoadLoop;

// What a scenario does with its connections; called by the loop only, on the loop's thread. A link may be sent to or closed in any call.
class LinkEvents {
 public:
  virtual ~LinkEvents() = default;
  virtual void on_open(Link& link) = 0;  // the WebSocket upgrade succeeded
  virtual void on_packet(Link& link, const ScannedPacket& packet) = 0;
  virtual void on_read_end(Link&) {}                                // all packets of one read were given
  virtual void on_closed(Link& link, std::string_view reason) = 0;  // by the server or by an error, not by close()
};

// One client connection: WebSocket with JSON packets, non-blocking, owned by its LoadLoop. Packets sent in one turn of the loop leave in
// one write, each in a frame of its own. Its buffers grow with what the server leaves unread: scenarios bound what is in flight.
class Link {
 public:
  std::uint32_t tag() const { return tag_; }  // the scenario's own number for it
  bool is_open() const { return state_ == State::Open; }
  bool is_closed() const { return state_ == State::Closed; }

  void send(std::string_view packet);
  void close();         // at once; on_closed is not called
  void stop_reading();  // for good: what arrives stays in the kernel

 private:
  friend class LoadLoop;
  enum class State : std::uint8_t { Connecting, Handshaking, Upgrading, Open, Closed };

  LoadLoop* loop_ = nullptr;
  LinkEvents* events_ = nullptr;
  Fd fd_;
  std::unique_ptr<TlsStream> tls_;  // null without TLS
  std::uint32_t tag_ = 0;
  State state_ = State::Connecting;
  bool dirty_ = false;
  bool wants_write_ = false;
  bool reading_ = true;
  std::string out_;
  std::string head_;  // of the answer to the upgrade, while it is not whole
  WsDecoder decoder_;
};

struct LinkOptions {
  std::uint32_t tag = 0;
  int receive_buffer = 0;  // SO_RCVBUF before connecting; 0 = the system's
};

// An epoll loop with thousands of links to one server from many loopback addresses. One thread. Links live as long as the loop.
class LoadLoop {
 public:
  LoadLoop(const sockaddr_in& target, std::string path);

  // Every link opened from now on speaks TLS and believes any certificate.
  Status use_tls();

  // Begins to connect; the outcome comes by the events, which must outlive the link.
  Result<Link*> open(LinkEvents& events, LinkOptions options = {});

  // Waits for at most `timeout_ms` for something to happen, handles it, and writes what was sent meanwhile.
  void turn(int timeout_ms);

  // Turns until `done()`, which may send, or the limit; true if done.
  template <class Done>
  bool run_for(std::chrono::milliseconds limit, Done done) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!done()) {
      if (std::chrono::steady_clock::now() >= deadline) return false;
      turn(20);
    }
    return true;
  }

  // Forgets all closed links and closes all others.
  void clear();

 private:
  friend class Link;

  void mark_dirty(Link& link);
  void flush(Link& link);
  void flush_dirty();
  void readable(Link& link);
  void handle_upgrade(Link& link, MutableBytes bytes);
  void handle_frames(Link& link, MutableBytes bytes);
  void handle_message(Link& link, std::string_view message);
  void writable(Link& link);
  void begin_upgrade(Link& link);
  void shake_hands(Link& link);
  // What the connection's layer took or gave; the error says why it is over.
  Result<std::size_t> write_some(Link& link);
  Result<std::size_t> read_some(Link& link);
  void want_write(Link& link, bool wants);
  void fail(Link& link, std::string_view reason);
  void watch(Link& link, bool adding);
  std::uint32_t next_mask();

  sockaddr_in target_;
  std::string path_;
  SourceAddresses sources_;
  Fd poll_;
  std::shared_ptr<TlsContext> tls_;
  std::vector<std::unique_ptr<Link>> links_;
  std::vector<Link*> dirty_;
  std::vector<char> buffer_;
  std::uint32_t mask_ = 0x9e3779b9;
};

}  // namespace dunlin::bench
