#include "net/net_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "codec/tcp_decoder.h"
#include "net/connection.h"
#include "net/listener.h"
#include "net/tls.h"

namespace dunlin {
namespace {

// Echoes; any thread's worker.
struct Echo final : ConnectionHandler {
  void on_open(Connection&) override {}
  void on_message(Connection& connection, const ReceivedMessage& message) override {
    connection.reply(message.kind, message.payload.view());
  }
  void on_close(Connection&, const CloseInfo&) override {}
};

struct NetServerTest : testing::Test {
  void SetUp() override {
    for (std::uint16_t i = 0; i < 2; ++i) workers.push_back(std::make_unique<Worker>(i, clock));
    server = std::make_unique<NetServer>(std::vector<Worker*>{workers[0].get(), workers[1].get()}, net_options());
    for (auto& worker : workers) worker->start();
  }
  void TearDown() override {
    for (auto& worker : workers) worker->stop();
    server.reset();
  }
  virtual NetOptions net_options() const { return {}; }
  Status use_certificate(const std::string& chain_file, const std::string& key_file) {
    TRY_ASSIGN(auto certificate, TlsContext::load(chain_file, key_file));
    server->use_certificate(std::move(certificate));
    return {};
  }
  Result<Endpoint> listen(ListenerOptions options) { return server->listen(std::move(options), {&echo, &echo}); }
  static ListenerOptions tcp(std::string_view address) {
    ListenerOptions options;
    options.address = Endpoint::parse(address).value();
    options.transport = Transport::Tcp;
    return options;
  }
  static int connect(const Endpoint& to) {
    const int fd = ::socket(to.ip.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM, 0);
    timeval wait{20, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    sockaddr_in four{};
    four.sin_family = AF_INET;
    four.sin_port = htons(to.port);
    four.sin_addr.s_addr = htonl(0x7f000001);
    sockaddr_in6 six{};
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(to.port);
    six.sin6_addr = in6addr_loopback;
    const bool v4 = to.ip.is_v4();
    const int result =
        ::connect(fd, v4 ? reinterpret_cast<sockaddr*>(&four) : reinterpret_cast<sockaddr*>(&six), v4 ? sizeof four : sizeof six);
    EXPECT_EQ(result, 0);
    return fd;
  }
  static std::string ask(int fd, std::string_view payload) {
    std::string frame;
    append_length_frame(frame, payload);
    if (::send(fd, frame.data(), frame.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(frame.size())) return "not sent";
    std::string answer(frame.size(), '\0');
    const ssize_t got = ::recv(fd, answer.data(), answer.size(), MSG_WAITALL);
    return got == static_cast<ssize_t>(frame.size()) ? answer.substr(4) : "no answer";
  }

  SystemClock clock;
  Echo echo;
  std::vector<std::unique_ptr<Worker>> workers;
  std::unique_ptr<NetServer> server;
};

TEST_F(NetServerTest, AllWorkersShareAFreePort) {
  const auto address = listen(tcp("127.0.0.1:0"));
  ASSERT_TRUE(address.ok());
  EXPECT_NE(address->port, 0);
  std::vector<int> clients;
  for (int i = 0; i < 64; ++i) clients.push_back(connect(*address));
  for (int fd : clients) EXPECT_EQ(ask(fd, "hello"), "hello");
  EXPECT_EQ(server->connection_count(), 64U);
  EXPECT_GT(server->connections(0).counters().opened.get(), 0U);
  EXPECT_GT(server->connections(1).counters().opened.get(), 0U);
  EXPECT_EQ(server->totals().messages_in, 64U);
  for (int fd : clients) ::close(fd);
}

TEST_F(NetServerTest, ServesIpv6) {
  const auto address = listen(tcp("[::1]:0"));
  if (!address.ok()) {  // a machine without IPv6: then the error says what could not be bound
    EXPECT_NE(address.error().context().find("[::1]"), std::string::npos) << address.error().to_string();
    return;
  }
  const int fd = connect(*address);
  EXPECT_EQ(ask(fd, "six"), "six");
  ::close(fd);
}

TEST_F(NetServerTest, AcceptedSocketsInheritThatSmallWritesLeaveAtOnce) {
  const auto listening = open_listening_socket(Endpoint::parse("127.0.0.1:0").value(), 1, false);
  ASSERT_TRUE(listening.ok());
  const int client = connect(local_endpoint(*listening).value());
  const int accepted = ::accept4(*listening, nullptr, nullptr, SOCK_CLOEXEC);
  int no_delay = 0;
  socklen_t size = sizeof no_delay;
  EXPECT_EQ(::getsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &no_delay, &size), 0);
  EXPECT_NE(no_delay, 0);
  for (const int fd : {client, accepted, *listening}) ::close(fd);
}

TEST_F(NetServerTest, APortInUseIsAnErrorThatNamesIt) {
  const auto address = listen(tcp("127.0.0.1:0"));
  ASSERT_TRUE(address.ok());
  const auto second = listen(tcp(address->to_string()));
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), ErrorCode::Busy);
  EXPECT_NE(second.error().context().find(address->to_string()), std::string::npos);
}

TEST_F(NetServerTest, SurvivesRunningOutOfDescriptors) {
  const auto address = listen(tcp("127.0.0.1:0"));
  ASSERT_TRUE(address.ok());
  std::vector<int> clients;
  for (int i = 0; i < 40; ++i) clients.push_back(::socket(AF_INET, SOCK_STREAM, 0));
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const int lowest_free = ::dup(0);
  ::close(lowest_free);
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(lowest_free) + 10;
  setrlimit(RLIMIT_NOFILE, &tight);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(address->port);
  to.sin_addr.s_addr = htonl(0x7f000001);
  for (int fd : clients) std::ignore = ::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to);
  const auto refused = [&] { return server->totals().refused[static_cast<std::size_t>(Refusal::NoDescriptors)]; };
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (refused() == 0 && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
  EXPECT_GT(refused(), 0U);
  for (int fd : clients) ::close(fd);
  setrlimit(RLIMIT_NOFILE, &before);
  const int fd = connect(*address);
  EXPECT_EQ(ask(fd, "still here"), "still here");
  ::close(fd);
}

struct FullNetServerTest : NetServerTest {
  static constexpr std::uint64_t kPlaces = 20;
  NetOptions net_options() const override {
    NetOptions options;
    options.max_connections = kPlaces;
    return options;
  }
};

TEST_F(FullNetServerTest, HasAsManyClientsAsItMayWhicheverWorkerAcceptsThem) {
  const auto address = listen(tcp("127.0.0.1:0"));
  ASSERT_TRUE(address.ok());
  std::vector<std::thread> crowd;
  std::vector<int> clients(80);
  for (std::size_t from = 0; from < 4; ++from) {
    crowd.emplace_back([&, from] {
      for (std::size_t i = from; i < clients.size(); i += 4) clients[i] = connect(*address);
    });
  }
  for (auto& thread : crowd) thread.join();
  const auto refused = [&] { return server->totals().refused[static_cast<std::size_t>(Refusal::ServerFull)]; };
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (refused() < clients.size() - kPlaces && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
  EXPECT_EQ(refused(), clients.size() - kPlaces);
  EXPECT_EQ(server->connection_count(), kPlaces);
  std::uint64_t answered = 0;
  for (int fd : clients) answered += ask(fd, "in?") == "in?" ? 1 : 0;
  EXPECT_EQ(answered, kPlaces);
  for (int fd : clients) ::close(fd);
}

TEST_F(FullNetServerTest, AProbeOfItsOwnTakesNoClientsPlace) {
  const auto address = listen(tcp("127.0.0.1:0"));
  ASSERT_TRUE(address.ok());
  const int probe = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(0x7f000001);
  ASSERT_EQ(::bind(probe, reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
  server->probes().add(local_endpoint(probe).value());
  any.sin_port = htons(address->port);
  ASSERT_EQ(::connect(probe, reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
  std::vector<int> clients;
  for (std::uint64_t i = 0; i < kPlaces; ++i) clients.push_back(connect(*address));
  for (int fd : clients) EXPECT_EQ(ask(fd, "in?"), "in?");
  EXPECT_EQ(server->totals().live, kPlaces + 1);
  EXPECT_EQ(server->connection_count(), kPlaces);
  EXPECT_EQ(server->totals().refused[static_cast<std::size_t>(Refusal::ServerFull)], 0U);
  for (int fd : clients) ::close(fd);
  ::close(probe);
}

TEST_F(NetServerTest, ClosesAllConnectionsAndStopsListening) {
  const auto address = listen(tcp("127.0.0.1:0"));
  ASSERT_TRUE(address.ok());
  const int fd = connect(*address);
  EXPECT_EQ(ask(fd, "a"), "a");
  server->stop_listening();
  server->close_all(ErrorCode::GoingAway);
  char byte;
  EXPECT_EQ(::recv(fd, &byte, 1, 0), 0);
  ::close(fd);
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (server->connection_count() > 0 && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
  EXPECT_EQ(server->connection_count(), 0U);
}

// A self-signed certificate in files of its own, which go with it.
struct Certificate {
  explicit Certificate(const std::string& name)
      : folder(std::filesystem::temp_directory_path() / ("dunlin-net-test-" + std::to_string(::getpid()) + "-" + name)) {
    std::filesystem::create_directories(folder);
    chain = folder / (name + ".crt");
    key = folder / (name + ".key");
    EVP_PKEY* const pair = EVP_EC_gen("P-256");
    X509* const x509 = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), 0);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_set_pubkey(x509, pair);
    X509_NAME* const subject = X509_get_subject_name(x509);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509_set_issuer_name(x509, subject);
    X509_sign(x509, pair, EVP_sha256());
    std::FILE* file = std::fopen(chain.c_str(), "w");
    PEM_write_X509(file, x509);
    std::fclose(file);
    file = std::fopen(key.c_str(), "w");
    PEM_write_PrivateKey(file, pair, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(file);
    X509_free(x509);
    EVP_PKEY_free(pair);
  }
  ~Certificate() { std::filesystem::remove_all(folder); }
  Certificate(const Certificate&) = delete;
  Certificate& operator=(const Certificate&) = delete;

  const std::filesystem::path folder;
  std::string chain, key;
};

// A blocking TLS client.
struct TlsClient {
  explicit TlsClient(int socket) : fd(socket), context(SSL_CTX_new(TLS_client_method())), ssl(SSL_new(context)) {
    SSL_set_fd(ssl, fd);
    EXPECT_EQ(SSL_connect(ssl), 1);
  }
  ~TlsClient() {
    SSL_free(ssl);
    SSL_CTX_free(context);
    ::close(fd);
  }
  std::string server_name() const {
    X509* const x509 = SSL_get1_peer_certificate(ssl);
    char name[64] = {};
    X509_NAME_get_text_by_NID(X509_get_subject_name(x509), NID_commonName, name, sizeof name);
    X509_free(x509);
    return name;
  }
  std::string ask(std::string_view payload) const {
    std::string frame;
    append_length_frame(frame, payload);
    std::thread writer([&] {
      for (std::size_t at = 0; at < frame.size();) {
        const int put = SSL_write(ssl, frame.data() + at, static_cast<int>(std::min<std::size_t>(frame.size() - at, 8192)));
        if (put <= 0) return;
        at += static_cast<std::size_t>(put);
      }
    });
    writer.join();
    std::string answer;
    char buffer[16384];
    while (answer.size() < frame.size()) {
      const int got = SSL_read(ssl, buffer, sizeof buffer);
      if (got <= 0) break;
      answer.append(buffer, static_cast<std::size_t>(got));
    }
    return answer.size() >= 4 ? answer.substr(4) : answer;
  }
  int fd;
  SSL_CTX* context;
  SSL* ssl;
};

TEST_F(NetServerTest, SpeaksTlsAndAReloadKeepsLiveConnections) {
  const Certificate one("one"), two("two");
  ListenerOptions options = tcp("127.0.0.1:0");
  options.tls = true;
  EXPECT_FALSE(listen(options).ok()) << "no certificate yet";
  ASSERT_TRUE(use_certificate(one.chain, one.key).ok());
  const auto address = listen(options);
  ASSERT_TRUE(address.ok());
  TlsClient before(connect(*address));
  EXPECT_EQ(before.server_name(), "one");
  EXPECT_EQ(before.ask("hello"), "hello");
  EXPECT_EQ(before.ask(std::string(60'000, 'x')), std::string(60'000, 'x'));
  ASSERT_TRUE(use_certificate(two.chain, two.key).ok());
  TlsClient after(connect(*address));
  EXPECT_EQ(after.server_name(), "two");
  EXPECT_EQ(after.ask("new"), "new");
  EXPECT_EQ(before.ask("still"), "still");
  EXPECT_FALSE(use_certificate(one.chain, two.key).ok()) << "a key of another certificate";
  EXPECT_FALSE(use_certificate("/nowhere", one.key).ok());
  TlsClient kept(connect(*address));
  EXPECT_EQ(kept.server_name(), "two") << "a failed reload changes nothing";
}

TEST_F(NetServerTest, PlainBytesOnATlsPortAreRefused) {
  const Certificate one("one");
  ListenerOptions options = tcp("127.0.0.1:0");
  options.tls = true;
  ASSERT_TRUE(use_certificate(one.chain, one.key).ok());
  const auto address = listen(options);
  ASSERT_TRUE(address.ok());
  const int fd = connect(*address);
  ASSERT_EQ(::send(fd, "{\"a\":1}\n", 8, 0), 8);
  std::string heard(1024, '\0');
  while (::recv(fd, heard.data(), heard.size(), 0) > 0) {
  }
  ::close(fd);
  const int again = connect(*address);
  TlsClient client(again);
  EXPECT_EQ(client.ask("x"), "x");
}

}  // namespace
}  // namespace dunlin
