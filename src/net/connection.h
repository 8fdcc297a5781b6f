#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/error.h"
#include "base/shared_bytes.h"
#include "codec/framing.h"
#include "codec/tcp_decoder.h"
#include "codec/ws_decoder.h"
#include "net/address.h"
#include "net/connection_handle.h"
#include "net/connection_handler.h"
#include "net/counters.h"
#include "net/write_queue.h"
#include "runtime/timer_wheel.h"
#include "runtime/worker.h"

namespace dunlin {

class ConnectionSet;
class Opening;
class TlsStream;
struct Listening;
struct NetOptions;

enum class SendResult : std::uint8_t {
  Queued,   // leaves at the end of this turn
  AtBound,  // not taken: the write queue is at its bound; on_drained will come
  Closed,   // not taken: the connection is closing
};

// What the session layer hangs on a connection; destroyed right after on_close.
class ConnectionUser {
 public:
  virtual ~ConnectionUser() = default;
};

// One client socket: TLS, HTTP upgrade, PROXY header, framing, write queue, close handshake.
//
// Owner: its worker's ConnectionSet, which reuses the memory; others keep a ConnectionHandle and resolve it again in each turn.
// Thread: its worker's only. Memory: about 200 bytes while idle; everything else (handshake state, a partial message, queued output)
// exists only while it is needed. Bounds: message bytes and fragments (codec), data output (net.write-queue-bytes), replies beyond it
// (kReplySlackBytes: then input is not read), incomplete input over the whole process (NetOptions::incomplete_bytes).
//
// Life: Opening → Open → Closing (our close frame is out, theirs is awaited) → Lingering (our FIN is out, input is dropped until theirs) →
// gone; every state but Open has a deadline of its own. on_close is told when Open ends. One too many (ConnectionSet::adopt) lives the same
// life, but as soon as it is Open it is told so and closed.
class Connection final : public Pollable, private TimerNode {
 public:
  static constexpr std::size_t kReplySlackBytes = 64 * 1024;

  ConnectionHandle handle() const;
  Transport transport() const;
  Framing framing() const { return framing_; }
  bool tls() const { return tls_ != nullptr; }
  bool open() const { return state_ == State::Open; }
  // Index into the listener's list of subprotocols; -1 when the client offered none.
  int subprotocol() const { return subprotocol_; }
  // The client: behind a trusted proxy what X-Forwarded-For or PROXY names.
  const Endpoint& peer() const { return peer_; }
  MonotonicTime now() const;

  ConnectionUser* user() const { return user_.get(); }
  void set_user(std::unique_ptr<ConnectionUser> user) { user_ = std::move(user); }

  // -- output: gathered, and written with one system call at the end of the turn
  // Data, bounded by the listener's write_queue_bytes (one larger message is taken when nothing is queued).
  SendResult send(const SharedBytes& framed);  // from encode_frame(framing(), ...)
  SendResult send(MessageKind kind, std::string_view payload);
  // A small reply to something the peer sent, or a last packet: bypasses the bound for data.
  SendResult reply(MessageKind kind, std::string_view payload);
  std::size_t queued_bytes() const { return output_ ? output_->bytes() : 0; }

  // -- input
  // No more on_message until resume_reading(); at most one read buffer of input is kept meanwhile. Does not nest.
  void pause_reading();
  void resume_reading();

  // -- the one timer of an open connection; arming replaces the earlier deadline
  void arm_timer(MonotonicTime deadline);

  // -- end
  // Sends what is queued, then a close frame (WebSocket) or FIN (TCP), and waits a little for the peer's.
  void close(ErrorCode code);
  void close(std::uint16_t ws_code, std::string_view reason);
  // After on_half_closed() was answered with true: everything is answered. Sends what is queued, then our FIN.
  void finish();
  // Ends it without a farewell.
  void abort();

  // The peer failed to authenticate: counted against its address. Not 0: it has failed too often, and this is how long it is to wait.
  Milliseconds report_auth_failure();
  // Not 0: it has failed too often already, for this long; what its next token costs should be little.
  Milliseconds auth_failing() const;

  void on_ready(std::uint32_t events) override;

 private:
  friend class ConnectionSet;
  friend class Opening;
  enum class State : std::uint8_t { Free, Opening, Open, Closing, Lingering, Dead };
  enum class StreamEnd : std::uint8_t { None, Orderly, Broken };

  Connection(std::uint8_t timer_kind, std::uint32_t slot, std::uint32_t generation);
  ~Connection();
  Connection(const Connection&) = delete;

  // -- life (connection.cc)
  void begin(ConnectionSet& set, int fd, const Listening& listening, const Endpoint& peer, bool counted);
  void refuse(Refusal refusal, std::string_view farewell);
  void turn_away(std::string_view first);
  void opened(MutableBytes rest);
  void probed();
  void end_open(CloseInfo info);
  void fail(CloseCause cause, std::uint16_t code, std::string_view reason);
  void start_closing(std::uint16_t ws_code, std::string_view reason);
  void start_lingering();
  void die();
  void tell_close();
  void fire_timer();
  void note_dirty();
  void end_turn();
  std::uint32_t interest() const;
  void update_interest();
  void watch_for(std::uint32_t events);
  bool wants_input() const;
  Worker& worker() const;
  const NetOptions& net_options() const;
  ConnectionHandler& handler() const;

  // -- input (connection_input.cc)
  void read_ready();
  void process(MutableBytes input);
  bool process_ws(MutableBytes& input);
  bool process_tcp(MutableBytes& input);
  void handle_ws_close(const WsDecoder::Event& event);
  bool may_process() const {
    return state_ == State::Open ? !paused_ && !overrun_ : state_ == State::Closing && !peer_closed_ && framing_ == Framing::WebSocket;
  }
  void process_held();
  void account_pinned();
  void peer_ended(StreamEnd end);

  // What is there; `end` says whether more may come.
  std::size_t read_into(char* data, std::size_t size, StreamEnd& end);

  // -- output (connection_output.cc)
  void enqueue(std::string_view bytes);
  void enqueue(const SharedBytes& framed);
  void enqueue_message(MessageKind kind, std::string_view payload);
  WriteQueue& output();
  void queued(std::size_t before);
  void bound_replies();
  bool takes_data(std::size_t size);
  void flush();
  long write_plain();
  long write_tls();
  void output_empty();

  ConnectionSet* set_ = nullptr;
  const Listening* listening_ = nullptr;
  std::unique_ptr<ConnectionUser> user_;
  std::unique_ptr<Opening> opening_;
  std::unique_ptr<WriteQueue> output_;
  std::unique_ptr<TlsStream> tls_;
  std::unique_ptr<std::string> held_;  // input that waits because reading is paused
  WsDecoder ws_;
  TcpDecoder tcp_;
  Endpoint peer_;
  int fd_ = -1;
  std::uint32_t slot_ = 0;
  std::uint32_t generation_ = 0;
  std::uint32_t pinned_ = 0;   // bytes of incomplete input, as last accounted
  std::uint32_t watched_ = 0;  // epoll events
  CloseInfo close_info_{CloseCause::Local, 0};
  State state_ = State::Free;
  Framing framing_ = Framing::WebSocket;
  std::int8_t subprotocol_ = -1;
  bool counted_ : 1 = false;       // admission counts it
  bool probe_ : 1 = false;         // of our own (ProbeSources): ends when it is open
  bool surplus_ : 1 = false;       // one too many: here only until it has been told
  bool dirty_ : 1 = false;         // is in the set's list of connections to flush
  bool told_open_ : 1 = false;     // on_open was called, on_close is owed
  bool ending_ : 1 = false;        // is in the set's list of connections to end
  bool paused_ : 1 = false;        // by the user
  bool overrun_ : 1 = false;       // replies are over their bound: not reading
  bool at_bound_ : 1 = false;      // on_drained is owed
  bool want_write_ : 1 = false;    // the socket took less than we have
  bool close_queued_ : 1 = false;  // our close frame or FIN is the last of the output
  bool peer_closed_ : 1 = false;   // their close frame or FIN has come
  bool input_ended_ : 1 = false;   // their FIN has come while we had something to say: not read again before our own
  bool read_waits_ : 1 = false;    // TLS must write before it can read on
};

}  // namespace dunlin
