#include "net/connection.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "codec/ws_decoder.h"
#include "codec/ws_frame.h"
#include "net/admission.h"
#include "net/connection_set.h"
#include "net/tls.h"

namespace dunlin {
namespace {

const std::string kUpgrade =
    "GET /im HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

// Writes down what happens, and does what the test says.
struct Recorder final : ConnectionHandler {
  void on_open(Connection& connection) override {
    last = connection.handle();
    log.push_back("open");
    if (opening) opening(connection);
  }
  void on_message(Connection& connection, const ReceivedMessage& message) override {
    log.push_back("message " + std::string(message.payload.view()));
    if (messages) messages(connection, message);
  }
  void on_control(Connection&) override { log.push_back("control"); }
  void on_drained(Connection& connection) override {
    log.push_back("drained");
    if (drained) drained(connection);
  }
  void on_timer(Connection&) override { log.push_back("timer"); }
  void on_failing(Connection& connection, const CloseInfo&) override { connection.reply(MessageKind::Text, "{\"kick\":1}"); }
  void on_refused(Connection& connection, std::string_view first) override {
    log.push_back("refused " + std::string(first));
    connection.reply(MessageKind::Text, "{\"kick\":2}");
  }
  void on_close(Connection&, const CloseInfo& info) override {
    log.push_back("close " + std::string(close_cause_name(info.cause)) + " " + std::to_string(info.code));
  }
  std::vector<std::string> log;
  ConnectionHandle last;
  std::function<void(Connection&)> opening, drained;
  std::function<void(Connection&, const ReceivedMessage&)> messages;
};

// One worker that the test turns by hand, with a manual clock; the client's end of each connection is a plain socket.
struct ConnectionTest : testing::Test {
  ConnectionTest() {
    listening.options.path = "/im";
    listening.handlers = {&recorder};
    shared.admission = &admission;
    rebuild();
  }
  ~ConnectionTest() override {
    set.reset();
    for (int fd : clients) ::close(fd);
  }
  void rebuild() {
    set.reset();
    set = std::make_unique<ConnectionSet>(worker, shared);
    listening.ws_limits = {WsRole::Server, listening.options.max_message_bytes,
                           static_cast<std::uint32_t>(listening.options.max_fragments)};
  }
  int connect(std::string_view peer = "127.0.0.1") {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    clients.push_back(ends[1]);
    set->adopt(ends[0], listening, {IpAddress::parse(peer).value(), 1234});
    worker.poll();
    return ends[1];
  }
  int upgraded() {
    const int fd = connect();
    say(fd, kUpgrade + "\r\n");
    EXPECT_TRUE(hear(fd).starts_with("HTTP/1.1 101 "));
    return fd;
  }
  void say(int fd, std::string_view bytes) {
    EXPECT_EQ(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
    worker.poll();
  }
  std::string hear(int fd) {
    std::string all;
    char buffer[65536];
    for (ssize_t got = ::recv(fd, buffer, sizeof buffer, 0); got > 0; got = ::recv(fd, buffer, sizeof buffer, 0)) {
      all.append(buffer, static_cast<std::size_t>(got));
      worker.poll();
    }
    return all;
  }
  bool ended(int fd) {
    char byte;
    return ::recv(fd, &byte, 1, 0) == 0;
  }
  // Descriptors of this process whose arriving input an epoll set waits for, as the kernel tells it.
  static int watched_for_input() {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fdinfo")) {
      std::ifstream info(entry.path());
      for (std::string line; std::getline(info, line);) {
        const std::size_t events = line.find("events:");
        if (line.starts_with("tfd:") && events != std::string::npos && (std::stoul(line.substr(events + 7), nullptr, 16) & EPOLLIN))
          ++count;
      }
    }
    return count;
  }
  void pass(Milliseconds time) {
    clock.advance(time);
    worker.poll();
  }
  static std::string frame(WsOpcode opcode, std::string_view payload) {
    std::string out;
    append_ws_frame(out, opcode, payload, {.masked = true, .mask = 0x01020304});
    return out;
  }
  static std::string close_frame(std::uint16_t code, std::string_view reason = "") {
    std::string out;
    append_ws_close(out, code, reason);
    return out;
  }

  ManualClock clock;
  Worker worker{0, clock};
  Admission admission{{}};
  NetShared shared;
  Listening listening;
  Recorder recorder;
  std::vector<int> clients;
  std::unique_ptr<ConnectionSet> set;
  using Log = std::vector<std::string>;
};

TEST_F(ConnectionTest, IsSmall) {
  EXPECT_LE(sizeof(Connection), 200U);
}

TEST_F(ConnectionTest, UpgradesAndDeliversMessages) {
  const int fd = upgraded();
  say(fd, frame(WsOpcode::Text, "one") + frame(WsOpcode::Ping, "") + frame(WsOpcode::Binary, "two"));
  EXPECT_EQ(recorder.log, (Log{"open", "message one", "control", "message two"}));
  EXPECT_EQ(hear(fd), std::string("\x8a\x00", 2));
}

TEST_F(ConnectionTest, WritesOfOneTurnLeaveWithOneSystemCall) {
  recorder.messages = [](Connection& connection, const ReceivedMessage& message) {
    connection.reply(message.kind, message.payload.view());
  };
  const int fd = upgraded();
  const std::uint64_t before = set->counters().writes.get();
  std::string burst;
  for (int i = 0; i < 16; ++i) burst += frame(WsOpcode::Text, "hello");
  say(fd, burst);
  EXPECT_EQ(set->counters().writes.get() - before, 1U);
  EXPECT_EQ(hear(fd).size(), 16U * 7U);
}

TEST_F(ConnectionTest, SharedFramesReachManyConnections) {
  const int a = upgraded(), b = upgraded();
  const SharedBytes bytes = encode_frame(Framing::WebSocket, MessageKind::Text, "to all");
  ASSERT_TRUE(worker.post([&] { set->for_each_open([&](Connection& connection) { connection.send(bytes); }); }));
  worker.poll();
  EXPECT_EQ(hear(a), bytes.view());
  EXPECT_EQ(hear(b), bytes.view());
  EXPECT_EQ(set->counters().write_queue_bytes.get(), 0U);
}

TEST_F(ConnectionTest, AtItsBoundItTakesNoDataAndTellsWhenItHasDrained) {
  const int fd = upgraded();
  Connection* connection = set->find(recorder.last);
  const std::string payload(10'000, 'x');
  int queued = 0;
  while (connection->send(MessageKind::Text, payload) == SendResult::Queued) ASSERT_LT(++queued, 10'000);
  EXPECT_LE(connection->queued_bytes(), listening.options.write_queue_bytes);
  EXPECT_GT(connection->queued_bytes(), listening.options.write_queue_bytes / 2);
  EXPECT_EQ(connection->reply(MessageKind::Text, "small"), SendResult::Queued) << "replies pass the bound";
  worker.poll();
  EXPECT_EQ(recorder.log, (Log{"open"}));
  const std::string heard = hear(fd);
  EXPECT_EQ(heard.size(), static_cast<std::size_t>(queued) * (payload.size() + 4) + 7);
  EXPECT_EQ(recorder.log, (Log{"open", "drained"}));
  EXPECT_EQ(connection->queued_bytes(), 0U);
}

TEST_F(ConnectionTest, APeerThatDoesNotReadItsRepliesIsNotReadFrom) {
  recorder.messages = [](Connection& connection, const ReceivedMessage&) { connection.reply(MessageKind::Text, std::string(5'000, 'r')); };
  const int fd = upgraded();
  Connection* connection = set->find(recorder.last);
  const std::string burst = frame(WsOpcode::Text, "ask");
  std::size_t asked = 0;
  for (; asked < 5'000; ++asked) {
    if (::send(fd, burst.data(), burst.size(), MSG_NOSIGNAL | MSG_DONTWAIT) <= 0) break;
    worker.poll();
    ASSERT_LE(connection->queued_bytes(), listening.options.write_queue_bytes + Connection::kReplySlackBytes + 5'010);
  }
  const std::size_t answered = recorder.log.size() - 1;
  EXPECT_LT(answered, asked);
  EXPECT_EQ(hear(fd).size(), asked * 5'004) << "and gets all of them once it reads";
}

TEST_F(ConnectionTest, APausedConnectionKeepsItsInputUntilItIsResumed) {
  recorder.messages = [](Connection& connection, const ReceivedMessage&) { connection.pause_reading(); };
  const int fd = upgraded();
  say(fd, frame(WsOpcode::Text, "1") + frame(WsOpcode::Text, "2"));
  say(fd, frame(WsOpcode::Text, "3"));
  EXPECT_EQ(recorder.log, (Log{"open", "message 1"}));
  EXPECT_GT(shared.incomplete_bytes.load(), 0U);
  set->find(recorder.last)->resume_reading();
  worker.poll();
  EXPECT_EQ(recorder.log.back(), "message 2");
  set->find(recorder.last)->resume_reading();
  worker.poll();
  EXPECT_EQ(recorder.log.back(), "message 3");
  EXPECT_EQ(shared.incomplete_bytes.load(), 0U);
}

TEST_F(ConnectionTest, APausedConnectionLeavesTheEpollSetAsItIsUntilInputComes) {
  recorder.messages = [](Connection& connection, const ReceivedMessage&) { connection.pause_reading(); };
  const int fd = upgraded();
  const int idle = watched_for_input();
  say(fd, frame(WsOpcode::Text, "1"));
  EXPECT_EQ(watched_for_input(), idle) << "two system calls that most pauses do not need";
  say(fd, frame(WsOpcode::Text, "2"));
  EXPECT_EQ(watched_for_input(), idle - 1) << "a level-triggered event would come again and again";
  set->find(recorder.last)->resume_reading();
  EXPECT_EQ(watched_for_input(), idle);
  worker.poll();
  EXPECT_EQ(recorder.log.back(), "message 2");
  ::close(fd);
  clients.clear();
  set->find(recorder.last)->resume_reading();
  worker.poll();
  EXPECT_EQ(watched_for_input(), idle - 1) << "a closed descriptor has left";
}

TEST_F(ConnectionTest, ClosesWithCodeAndReasonAndWaitsForThePeer) {
  const int fd = upgraded();
  const ConnectionHandle handle = recorder.last;
  set->find(handle)->close(ErrorCode::GoingAway);
  EXPECT_EQ(recorder.log, (Log{"open"})) << "never from inside close()";
  worker.poll();
  EXPECT_EQ(recorder.log, (Log{"open", "close local 4000"}));
  EXPECT_EQ(set->find(handle), nullptr);
  EXPECT_EQ(hear(fd), close_frame(4000, "going_away"));
  EXPECT_FALSE(ended(fd));
  say(fd, frame(WsOpcode::Text, "too late") + frame(WsOpcode::Close, "\x0f\xa0"));
  EXPECT_TRUE(ended(fd));
  ::shutdown(fd, SHUT_WR);
  worker.poll();
  EXPECT_EQ(shared.live.load(), 0U);
  EXPECT_EQ(recorder.log.size(), 2U);
}

TEST_F(ConnectionTest, EndsAPeerThatNeverAnswersTheClose) {
  const int fd = upgraded();
  set->find(recorder.last)->close(ErrorCode::GoingAway);
  worker.poll();
  pass(listening.options.close_deadline + Milliseconds(20));
  EXPECT_EQ(shared.live.load(), 0U);
  hear(fd);
  EXPECT_TRUE(ended(fd));
}

TEST_F(ConnectionTest, AStaleHandleFindsNothingEvenWhenTheSlotIsUsedAgain) {
  upgraded();
  const ConnectionHandle old = recorder.last;
  set->find(old)->abort();
  worker.poll();
  upgraded();
  EXPECT_EQ(recorder.last.slot(), old.slot());
  EXPECT_EQ(set->find(old), nullptr);
  EXPECT_NE(set->find(recorder.last), nullptr);
}

TEST_F(ConnectionTest, MayBeAbortedInsideItsOwnCallback) {
  recorder.messages = [](Connection& connection, const ReceivedMessage& message) {
    connection.abort();
    EXPECT_EQ(message.payload.view(), std::string(300, 'm')) << "the payload outlives the call";
    EXPECT_EQ(connection.send(MessageKind::Text, "x"), SendResult::Closed);
  };
  const int fd = upgraded();
  const std::string bytes = frame(WsOpcode::Text, std::string(300, 'm')) + frame(WsOpcode::Text, "never");
  say(fd, bytes.substr(0, 100));
  say(fd, bytes.substr(100));
  EXPECT_EQ(recorder.log, (Log{"open", "message " + std::string(300, 'm'), "close local 0"}));
  EXPECT_EQ(shared.live.load(), 0U);
}

TEST_F(ConnectionTest, MayBeClosedByTheHandlerOfAnother) {
  const int a = upgraded();
  const ConnectionHandle first = recorder.last;
  const int b = upgraded();
  recorder.messages = [&](Connection&, const ReceivedMessage&) {
    if (Connection* other = set->find(first)) other->abort();
  };
  // Both are ready in the same turn.
  const std::string bytes = frame(WsOpcode::Text, "x");
  ASSERT_GT(::send(b, bytes.data(), bytes.size(), 0), 0);
  ASSERT_GT(::send(a, bytes.data(), bytes.size(), 0), 0);
  worker.poll();
  EXPECT_EQ(shared.live.load(), 1U);
}

TEST_F(ConnectionTest, ReportsHowThePeerLeft) {
  int fd = upgraded();
  say(fd, frame(WsOpcode::Close, "\x03\xe8"));
  EXPECT_EQ(recorder.log.back(), "close peer_close 1000");
  fd = upgraded();
  ::shutdown(fd, SHUT_WR);
  worker.poll();
  EXPECT_EQ(recorder.log.back(), "close peer_gone 0");
  fd = upgraded();
  say(fd, frame(WsOpcode::Text, "\xff"));
  EXPECT_EQ(recorder.log.back(), "close bad_utf8 1007");
  fd = upgraded();
  say(fd, "\xf1\x80");
  EXPECT_EQ(recorder.log.back(), "close bad_frame 1002");
  EXPECT_EQ(static_cast<unsigned char>(hear(fd)[3]), 1002 & 0xff);
}

TEST_F(ConnectionTest, RefusesAHeaderThatDoesNotComeInTime) {
  const int fd = connect();
  say(fd, "GET /im HTTP/1.1\r\n");
  for (int i = 0; i < 9; ++i) {
    pass(Milliseconds(1000));
    say(fd, "A: b\r\n");  // a byte now and then does not help
  }
  pass(Milliseconds(1100));
  EXPECT_TRUE(hear(fd).starts_with("HTTP/1.1 408 "));
  EXPECT_EQ(set->counters().refused[static_cast<std::size_t>(Refusal::HeaderTimeout)].get(), 1U);
  EXPECT_TRUE(recorder.log.empty());
}

TEST_F(ConnectionTest, AnswersOtherRequestsWithTheirStatus) {
  int fd = connect();
  say(fd, "GET /other HTTP/1.1\r\nHost: h\r\n\r\n");
  const std::string answer = hear(fd);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 404 ")) << answer;
  EXPECT_NE(answer.find("\"name\":\"not_found\""), std::string::npos);
  listening.options.subprotocols = {"dunlin.v1.json", "dunlin.v1.protobuf"};
  fd = connect();
  say(fd, kUpgrade + "Sec-WebSocket-Protocol: other\r\n\r\n");
  EXPECT_TRUE(hear(fd).starts_with("HTTP/1.1 400 "));
  fd = connect();
  say(fd, kUpgrade + "Sec-WebSocket-Protocol: dunlin.v1.protobuf\r\n\r\n");
  EXPECT_NE(hear(fd).find("Sec-WebSocket-Protocol: dunlin.v1.protobuf"), std::string::npos);
  EXPECT_EQ(set->find(recorder.last)->subprotocol(), 1);
}

TEST_F(ConnectionTest, CountsTheClientBehindATrustedProxy) {
  AdmissionOptions options;
  options.connections = 1;
  options.trusted_proxies = {Cidr::parse("10.0.0.0/8").value()};
  admission.set_options(options);
  const int first = connect("10.0.0.1");
  say(first, kUpgrade + "X-Forwarded-For: 192.0.2.7\r\n\r\n");
  EXPECT_EQ(set->find(recorder.last)->peer().ip.to_string(), "192.0.2.7");
  const int second = connect("10.0.0.1");
  say(second, kUpgrade + "X-Forwarded-For: 192.0.2.7\r\n\r\n");
  const std::string answer = hear(second);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 503 "));
  EXPECT_NE(answer.find("Retry-After: "), std::string::npos);
  const int third = connect("198.51.100.9");  // no proxy of ours: what it says of itself is nothing
  say(third, kUpgrade + "X-Forwarded-For: 127.0.0.1\r\n\r\n");
  EXPECT_EQ(set->find(recorder.last)->peer().ip.to_string(), "198.51.100.9");
  set->find(recorder.last)->abort();
  worker.poll();
  EXPECT_TRUE(admission.admit(IpAddress::parse("198.51.100.9").value(), clock.monotonic()).admitted) << "released at its end";
}

TEST_F(ConnectionTest, ReadsAProxyHeaderFromATrustedProxyOnly) {
  AdmissionOptions options;
  options.trusted_proxies = {Cidr::parse("10.0.0.0/8").value()};
  admission.set_options(options);
  listening.options.proxy_protocol = true;
  const int fd = connect("10.0.0.1");
  say(fd, "PROXY TCP4 192.0.2.7 10.0.0.1 4660");
  say(fd, " 443\r\n" + kUpgrade + "\r\n");
  EXPECT_EQ(set->find(recorder.last)->peer().to_string(), "192.0.2.7:4660");
  const int stranger = connect("198.51.100.9");
  say(stranger, "PROXY TCP4 192.0.2.7 10.0.0.1 4660 443\r\n" + kUpgrade + "\r\n");
  EXPECT_TRUE(hear(stranger).starts_with("HTTP/1.1 400 "));
}

TEST_F(ConnectionTest, TcpSpeaksLengthsLinesAndNothingElse) {
  listening.options.transport = Transport::Tcp;
  int fd = connect();
  EXPECT_TRUE(recorder.log.empty()) << "the first byte opens it";
  say(fd, std::string("\0\0\0\x05hel", 7));
  say(fd, "lo");
  EXPECT_EQ(recorder.log, (Log{"open", "message hello"}));
  set->find(recorder.last)->reply(MessageKind::Binary, "ok");
  worker.poll();
  EXPECT_EQ(hear(fd), std::string("\0\0\0\x02ok", 6));
  recorder.log.clear();
  fd = connect();
  say(fd, "{\"a\":1}\n{\"b\":2}\n");
  EXPECT_EQ(recorder.log, (Log{"open", "message {\"a\":1}", "message {\"b\":2}"}));
  set->find(recorder.last)->reply(MessageKind::Text, "{}");
  worker.poll();
  EXPECT_EQ(hear(fd), "{}\n");
  recorder.log.clear();
  fd = connect();
  say(fd, "GET / HTTP/1.1\r\n");
  EXPECT_EQ(hear(fd), TcpDecoder::wrong_first_byte_line());
  EXPECT_TRUE(ended(fd));
  EXPECT_TRUE(recorder.log.empty());
}

TEST_F(ConnectionTest, AFailingTcpConnectionGetsALastPacket) {
  listening.options.transport = Transport::Tcp;
  const int fd = connect();
  say(fd, std::string("\0\xff\xff\xff", 4));
  EXPECT_EQ(hear(fd), std::string("\0\0\0\x0a", 4) + "{\"kick\":1}");
  EXPECT_TRUE(ended(fd));
  EXPECT_EQ(recorder.log, (Log{"open", "close too_large 4512"}));
}

TEST_F(ConnectionTest, OneTooManyIsToldSoOverWebSocket) {
  shared.options.max_connections = 1;
  upgraded();
  recorder.log.clear();
  const int fd = connect();
  say(fd, kUpgrade + "\r\n" + frame(WsOpcode::Text, "a connect that waits for nothing"));
  const std::string heard = hear(fd);
  EXPECT_TRUE(heard.starts_with("HTTP/1.1 101 "));
  const std::string kick = std::string("\x81\x0a", 2) + "{\"kick\":2}";
  EXPECT_TRUE(heard.ends_with(kick + close_frame(4009, "too_many_connections"))) << heard;
  EXPECT_EQ(recorder.log, (Log{"refused "})) << "neither opened nor closed for the layer above";
  say(fd, frame(WsOpcode::Close, "\x0f\xa9"));
  EXPECT_TRUE(ended(fd));
  EXPECT_EQ(set->counters().refused[static_cast<std::size_t>(Refusal::ServerFull)].get(), 1U);
  EXPECT_EQ(shared.live.load(), 1U);
  ::shutdown(fd, SHUT_RDWR);
  worker.poll();
  EXPECT_EQ(shared.surplus.load(), 0U);
}

TEST_F(ConnectionTest, OneTooManyIsToldSoOverTcpInTheEncodingOfItsFirstPacket) {
  shared.options.max_connections = 0;
  listening.options.transport = Transport::Tcp;
  int fd = connect();
  say(fd, std::string("\0\0\0\0\0\0\0\x05hel", 11));
  EXPECT_EQ(hear(fd), "");
  say(fd, std::string("lo\0\0\0\x04more", 10));
  EXPECT_EQ(hear(fd), std::string("\0\0\0\x0a", 4) + "{\"kick\":2}");
  EXPECT_TRUE(ended(fd));
  EXPECT_EQ(recorder.log, (Log{"refused hello"}));
  recorder.log.clear();
  fd = connect();
  say(fd, "{\"id\":1}\n{\"id\":2}\n");
  EXPECT_EQ(hear(fd), "{\"kick\":2}\n");
  EXPECT_TRUE(ended(fd));
  recorder.log.clear();
  fd = connect();
  say(fd, std::string("\0\xff\xff\xff", 4));
  EXPECT_EQ(hear(fd), std::string("\0\0\0\x0a", 4) + "{\"kick\":2}") << "too large besides";
  EXPECT_EQ(recorder.log, (Log{"refused "}));
  fd = connect();
  say(fd, std::string("\0", 1));
  ::shutdown(fd, SHUT_WR);
  worker.poll();
  EXPECT_TRUE(ended(fd)) << "left before it said anything";
}

TEST_F(ConnectionTest, ThoseTooManyAreFewAndSoonGone) {
  shared.options.max_connections = 0;
  std::vector<int> told;
  for (std::uint32_t i = 0; i < ConnectionSet::kMostSurplus; ++i) told.push_back(connect());
  EXPECT_TRUE(ended(connect())) << "beyond them nobody is told";
  EXPECT_EQ(shared.surplus.load(), ConnectionSet::kMostSurplus);
  for (const int fd : told) say(fd, kUpgrade);  // and stops in the middle
  pass(Milliseconds(2'100));
  for (const int fd : told) EXPECT_TRUE(hear(fd).starts_with("HTTP/1.1 503 "));
  pass(Milliseconds(2'100));
  pass(Milliseconds(2'100));
  EXPECT_EQ(shared.surplus.load(), 0U);
  const int fd = connect();
  say(fd, kUpgrade + "\r\n");
  EXPECT_TRUE(hear(fd).starts_with("HTTP/1.1 101 "));
  pass(Milliseconds(2'100));  // its close frame is not answered
  pass(Milliseconds(2'100));
  EXPECT_EQ(shared.surplus.load(), 0U);
  listening.options.transport = Transport::Tcp;
  const int silent = connect();
  say(silent, std::string("\0\0", 2));
  pass(Milliseconds(2'100));
  EXPECT_EQ(hear(silent), std::string("\0\0\0\x0a", 4) + "{\"kick\":2}");
  EXPECT_EQ(set->counters().refused[static_cast<std::size_t>(Refusal::ServerFull)].get(), ConnectionSet::kMostSurplus + 3U);
  EXPECT_EQ(shared.live.load(), 0U);
}

TEST_F(ConnectionTest, OneTooManyOfAnAddressIsToldSoToo) {
  AdmissionOptions options;
  options.connections = 1;
  options.handshakes_per_s = 2;
  admission.set_options(options);
  const int first = connect("192.0.2.7");
  say(first, kUpgrade + "\r\n");
  EXPECT_TRUE(hear(first).starts_with("HTTP/1.1 101 "));
  int told = 0;
  for (int i = 0; i < 10; ++i) {
    const int fd = connect("192.0.2.7");
    if (ended(fd)) continue;
    say(fd, kUpgrade + "\r\n");
    EXPECT_TRUE(hear(fd).ends_with(close_frame(4009, "too_many_connections")));
    ++told;
  }
  EXPECT_EQ(told, 3) << "the limit of handshakes bounds what telling costs";
  EXPECT_EQ(set->counters().refused[static_cast<std::size_t>(Refusal::IpConnections)].get(), 3U);
  EXPECT_EQ(set->counters().refused[static_cast<std::size_t>(Refusal::IpHandshakes)].get(), 7U);
}

TEST_F(ConnectionTest, LargeUpgradeRequestInPiecesOpensAndItsMemoryIsGivenBack) {
  const std::string request = kUpgrade + "Cookie: " + std::string(32'000, 'c') + "\r\n\r\n";
  for (const std::size_t piece : {1UL, 700UL, 20'000UL, 40'000UL}) {
    const int fd = connect();
    for (std::size_t at = 0; at < request.size(); at += piece) {
      say(fd, std::string_view(request).substr(at, piece));
      EXPECT_LE(shared.header_bytes.load(), 2 * request.size());
    }
    EXPECT_TRUE(hear(fd).starts_with("HTTP/1.1 101 ")) << piece;
    EXPECT_EQ(shared.header_bytes.load(), 0U);
  }
  const int fd = connect();
  say(fd, request.substr(0, 30'000));
  EXPECT_GE(shared.header_bytes.load(), 30'000U);
  say(fd, std::string(5'000, 'c'));
  EXPECT_TRUE(hear(fd).starts_with("HTTP/1.1 431 "));
  EXPECT_EQ(shared.header_bytes.load(), 0U);
}

TEST_F(ConnectionTest, IncompleteUpgradeRequestsAreBoundedOverTheProcess) {
  shared.options.header_bytes = 100'000;
  const std::string request = kUpgrade + "Cookie: " + std::string(20'000, 'c');
  int refused = 0;
  for (int i = 0; i < 20; ++i) {
    const int fd = connect();
    say(fd, request);
    const std::string heard = hear(fd);
    if (heard.empty()) continue;
    EXPECT_TRUE(heard.starts_with("HTTP/1.1 503 ") && heard.find("Retry-After: ") != std::string::npos) << heard;
    EXPECT_NE(heard.find("\"name\":\"overloaded\""), std::string::npos) << heard;
    ++refused;
  }
  EXPECT_GE(refused, 15);
  EXPECT_LE(shared.header_bytes.load(), 100'000U);
  EXPECT_EQ(set->counters().refused[static_cast<std::size_t>(Refusal::HeaderMemory)].get(), static_cast<std::uint64_t>(refused));
  const int fd = connect();  // a small one in two pieces comes through all the same
  say(fd, kUpgrade);
  say(fd, "\r\n");
  EXPECT_TRUE(hear(fd).starts_with("HTTP/1.1 101 "));
  pass(Milliseconds(11'000));
  EXPECT_EQ(shared.header_bytes.load(), 0U) << "the deadline of the header gives the memory back";
}

TEST_F(ConnectionTest, MemoryOfThoseWhoLeftIsGivenBackAndOldHandlesStayStale) {
  std::set<std::uint64_t> handles;
  std::vector<ConnectionHandle> old;
  recorder.opening = [&](Connection& connection) {
    EXPECT_TRUE(handles.insert(connection.handle().bits()).second) << "a handle was given out twice";
    old.push_back(connection.handle());
  };
  const auto crowd = [&] {
    std::vector<int> fds;
    for (int i = 0; i < 600; ++i) fds.push_back(upgraded());
    return fds;
  };
  const auto leave = [&](const std::vector<int>& fds, std::size_t staying) {
    for (std::size_t i = staying; i < fds.size(); ++i) ::shutdown(fds[i], SHUT_RDWR);
    worker.poll();
  };
  EXPECT_EQ(set->slots_in_memory(), 0U);
  for (int round = 0; round < 3; ++round) {
    const std::vector<int> fds = crowd();
    const std::size_t all = set->slots_in_memory();
    EXPECT_GE(all, 600U);
    leave(fds, 10);
    EXPECT_EQ(set->slots_in_memory(), all) << "kept until it is asked for";
    set->give_back();
    EXPECT_LE(set->slots_in_memory(), 2U * 256) << "ten are still here";
    int found = 0;
    for (const ConnectionHandle handle : old) found += set->find(handle) != nullptr;
    EXPECT_EQ(found, 10);
    int open = 0;
    set->for_each_open([&](Connection&) { ++open; });
    EXPECT_EQ(open, 10);
    leave(fds, 0);
    set->give_back();
    EXPECT_EQ(set->slots_in_memory(), 0U);
  }
  for (const ConnectionHandle handle : old) EXPECT_EQ(set->find(handle), nullptr);
}

TEST_F(ConnectionTest, ItsTimerFiresOnceAndCanBeReplaced) {
  upgraded();
  Connection* connection = set->find(recorder.last);
  connection->arm_timer(clock.monotonic() + Milliseconds(100));
  connection->arm_timer(clock.monotonic() + Milliseconds(1000));
  pass(Milliseconds(900));
  EXPECT_EQ(recorder.log, (Log{"open"}));
  pass(Milliseconds(120));
  EXPECT_EQ(recorder.log, (Log{"open", "timer"}));
}

TEST_F(ConnectionTest, IncompleteMessagesAreBoundedOverTheProcess) {
  shared.options.incomplete_bytes = 50'000;
  for (int i = 0; i < 10; ++i) {
    const int fd = upgraded();
    say(fd, frame(WsOpcode::Binary, std::string(20'000, 'x')).substr(0, 15'000));
  }
  EXPECT_LE(shared.incomplete_bytes.load(), 50'000U);
  EXPECT_EQ(recorder.log.back(), "close memory_bound 1013");
}

TEST_F(ConnectionTest, TheUserIsDestroyedAfterOnClose) {
  struct User final : ConnectionUser {
    explicit User(Log& l) : log(l) {}
    ~User() override { log.push_back("user gone"); }
    Log& log;
  };
  recorder.opening = [&](Connection& connection) { connection.set_user(std::make_unique<User>(recorder.log)); };
  const int fd = upgraded();
  ::shutdown(fd, SHUT_RDWR);
  worker.poll();
  EXPECT_EQ(recorder.log, (Log{"open", "close peer_gone 0", "user gone"}));
}

}  // namespace
}  // namespace dunlin
