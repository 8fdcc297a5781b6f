#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>

#include "config/load.h"
#include "config/report.h"
#include "config/service_links.h"
#include "config/settings.h"
#include "config/values.h"

namespace dunlin {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

Result<LoadedConfig> parse(std::string_view yaml, const Environment& environment = {}) {
  return parse_config(yaml, "test.yaml", "/base", environment);
}

Config parsed(std::string_view yaml, const Environment& environment = {}) {
  Result<LoadedConfig> result = parse(yaml, environment);
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().context());
  return result.ok() ? result->config : Config{};
}

std::string refusal(std::string_view yaml, const Environment& environment = {}) {
  const Result<LoadedConfig> result = parse(yaml, environment);
  if (result.ok()) return "accepted";
  EXPECT_EQ(result.error().code(), ErrorCode::Config);
  return result.error().context();
}

std::string read(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

class ConfigFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = "/tmp/dunlin-config-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string write(const std::string& name, std::string_view text) const {
    const std::string file = folder_ + "/" + name;
    std::ofstream(file, std::ios::binary) << text;
    return file;
  }
  std::string folder_;
};

TEST(ConfigTest, EmptyDocumentGivesDefaultsWithAbsoluteStorePath) {
  const Config config = parsed("");
  EXPECT_EQ(config.websocket.port, 8080);
  EXPECT_EQ(config.tcpsocket.port, 8081);
  EXPECT_EQ(config.admin.listen, "127.0.0.1:8090");
  EXPECT_EQ(config.store.durability, "fsync");
  EXPECT_EQ(config.store.path, "/base/data");
  EXPECT_EQ(config.performance.max_frame_size, 65536);
  EXPECT_EQ(config.net.write_queue_bytes, 131072);
  EXPECT_THAT(unsafe_options(config), IsEmpty());
}

TEST(ConfigTest, ReadsEverySectionOfTheDocumentedExample) {
  const Config config = parsed(R"(
websocket:  {enable: true, port: 9000, path: /chat, allowed-origins: ["https://a.example", 'https://b.example'], listen: "::"}
tcpsocket:  {enable: true, port: 9001, listen: "[::1]"}
admin:      {listen: "[::1]:0"}
store:      {engine: embedded, path: /var/x, durability: os, log: {segment-bytes: 1MiB}}
redis:      {host: r.example, port: 7000, mode: cluster, cluster: {nodes: [a:1, b:2]}}
rocketmq:   {name-server: "localhost:9876", producer: {group: g}}
cluster:    {enable: false, node-id: node-7, bus: rocketmq}
message:    {history: {enable: true, retention-days: 7}}
performance: {worker-threads: 3, max-frame-size: 65535}
limits: {ip: {connections: 5, handshakes-per-s: 6, mode: observe}, user: {sends-per-s: 7}, trusted-proxies: [10.0.0.0/8, "fd00::/8"]}
)");
  EXPECT_EQ(config.websocket.port, 9000);
  EXPECT_THAT(config.websocket.allowed_origins, ElementsAre("https://a.example", "https://b.example"));
  EXPECT_EQ(config.websocket.listen, "::");
  EXPECT_EQ(config.tcpsocket.listen, "::1");
  EXPECT_EQ(config.admin.listen, "[::1]:0");
  EXPECT_EQ(config.store.log_segment_bytes, 1 << 20);
  EXPECT_THAT(config.redis.cluster_nodes, ElementsAre("a:1", "b:2"));
  EXPECT_EQ(config.rocketmq.producer_group, "g");
  EXPECT_EQ(config.message.retention_in_seconds(), 7 * 86400);
  EXPECT_EQ(config.performance.max_frame_size, 65535);
  EXPECT_EQ(config.limits.ip_mode, "observe");
  EXPECT_THAT(config.limits.trusted_proxies, ElementsAre("10.0.0.0/8", "fd00::/8"));
}

TEST(ConfigTest, DottedKeysAndSpringAliasesMeanTheSame) {
  EXPECT_EQ(parsed("websocket.port: 1234").websocket.port, 1234);
  EXPECT_EQ(parsed("spring: {redis: {host: h1, port: 1}}").redis.host, "h1");
  EXPECT_EQ(parsed("spring.redis.password: 012").redis.password, "012");
  EXPECT_EQ(parsed("", {{"DUNLIN_SPRING_REDIS_HOST", "h2"}}).redis.host, "h2");
  EXPECT_EQ(refusal("{spring: {redis: {host: a}}, redis: {host: b}}"), "test.yaml:1: redis.host is set twice");
}

TEST(ConfigTest, UnknownKeyIsNamedWithLineAndNearestKey) {
  EXPECT_EQ(refusal("websocket:\n  prot: 1\n"), "test.yaml:2: unknown key websocket.prot, did you mean websocket.port?");
  EXPECT_EQ(refusal("websockt: {port: 1}"), "test.yaml:1: unknown key websockt, did you mean websocket?");
  EXPECT_EQ(refusal("websocket: {max-frame-size: 1}"),
            "test.yaml:1: unknown key websocket.max-frame-size, did you mean performance.max-frame-size?");
  EXPECT_THAT(refusal("store: {durabilty: fsync}"), HasSubstr("did you mean store.durability?"));
  EXPECT_THAT(refusal("\"a\\nb\": 1"), Not(HasSubstr("\n")));
}

TEST(ConfigTest, UnknownVariableIsNamedWithNearestOne) {
  EXPECT_EQ(refusal("", {{"DUNLIN_STORE_PTAH", "/x"}}), "unknown environment variable DUNLIN_STORE_PTAH, did you mean DUNLIN_STORE_PATH?");
}

TEST(ConfigTest, EnvironmentOverridesFileAndServiceLinksAreIgnored) {
  const Environment environment = {{"DUNLIN_WEBSOCKET_PORT", "0"},
                                   {"DUNLIN_LIMITS_TRUSTED_PROXIES", "10.0.0.1,10.0.0.2"},
                                   {"DUNLIN_WEBSOCKET_ALLOWED_ORIGINS", "[\"http://x\"]"},
                                   {"DUNLIN_TCPSOCKET_PORT", ""},
                                   {"DUNLIN_STORE_PATH", "rel"},
                                   {"DUNLIN_PORT", "tcp://10.1.1.1:80"},
                                   {"DUNLIN_SERVICE_HOST", "10.1.1.1"},
                                   {"HOME", "/root"}};
  const Config config = parsed("websocket: {port: 77}", environment);
  EXPECT_EQ(config.websocket.port, 0);
  EXPECT_EQ(config.tcpsocket.port, 8081);
  EXPECT_THAT(config.limits.trusted_proxies, ElementsAre("10.0.0.1", "10.0.0.2"));
  EXPECT_THAT(config.websocket.allowed_origins, ElementsAre("http://x"));
  EXPECT_EQ(config.store.path, "/base/rel");
}

// What Kubernetes sets for these services, and nothing else, is ignored.
TEST(ConfigTest, VariablesOfKubernetesServicesAreIgnoredAndOthersRefused) {
  for (const std::string service : {"DUNLIN", "DUNLIN_HEADLESS", "DUNLIN_A_B_2", "DUNLIN_PORT", "DUNLIN_STORE", "DUNLIN_STORE_PATH",
                                    "DUNLIN_WEBSOCKET", "DUNLIN_TCPSOCKET", "DUNLIN_REDIS", "DUNLIN_SPRING_REDIS", "DUNLIN_SERVICE"}) {
    Environment environment = {
        {service + "_SERVICE_HOST", "10.0.0.1"}, {service + "_SERVICE_PORT", "8080"}, {service + "_SERVICE_PORT_WS_TLS", "8443"}};
    for (const std::string protocol : {"TCP", "UDP", "SCTP"}) {
      const std::string port = service + "_PORT_8080_" + protocol;
      environment[port] = "tcp://10.0.0.1:8080";
      environment[port + "_PROTO"] = "tcp";
      environment[port + "_PORT"] = "8080";
      environment[port + "_ADDR"] = "fd00::1";
    }
    for (const std::string scheme : {"tcp", "udp", "sctp"}) {
      environment[service + "_PORT"] = scheme + "://[fd00::1]:8080";
      const Result<LoadedConfig> loaded = parse("websocket: {port: 77}\ntcpsocket: {port: 78}", environment);
      ASSERT_TRUE(loaded.ok()) << loaded.error().context();
      EXPECT_EQ(loaded->config.websocket.port, 77);
      EXPECT_EQ(loaded->config.tcpsocket.port, 78);
      const bool shadows = service == "DUNLIN_WEBSOCKET" || service == "DUNLIN_TCPSOCKET" || service.ends_with("REDIS");
      EXPECT_EQ(loaded->warnings.size(), shadows ? 1U : 0U) << service;
      if (shadows) {
        EXPECT_THAT(loaded->warnings.front(), HasSubstr(service + "_PORT=" + scheme));
      }
    }
  }
  for (const std::string wrong :
       {"DUNLIN_HEADLESS_PORT", "DUNLIN_HEADLESS_HOST", "DUNLIN_SERVICEHOST", "DUNLIN_HEADLESS_SERVICE", "DUNLIN_HEADLESS_SERVICE_PORTS",
        "DUNLIN_HEADLESS_PORT_TCP", "DUNLIN_HEADLESS_PORT_8080", "DUNLIN_HEADLESS_PORT_8080_TCPX", "DUNLIN_HEADLESS_PORT_8080_TCP_HOST",
        "DUNLIN_HEADLESS_PORT_8080_ICMP", "DUNLIN_HEADLESS_PORT_80A_TCP", "DUNLIN_XSERVICE_HOST"}) {
    EXPECT_THAT(refusal("", {{wrong, "8080"}}), HasSubstr("unknown environment variable " + wrong));
  }
  EXPECT_EQ(parsed("", {{"DUNLIN_WEBSOCKET_PORT", "81"}}).websocket.port, 81);
  EXPECT_THAT(refusal("", {{"DUNLIN_WEBSOCKET_PORT", "http://10.0.0.1:8080"}}), HasSubstr("DUNLIN_WEBSOCKET_PORT"));
}

TEST(ConfigTest, NoSettingButAPortHasTheNameOfAServicesVariable) {
  for (const Setting& row : settings()) {
    const std::string variable = environment_name(row.key);
    EXPECT_FALSE(is_service_link(variable, "8080")) << variable;
    EXPECT_EQ(is_service_link(variable, "tcp://10.0.0.1:8080"), row.key.ends_with(".port")) << variable;
  }
}

struct Refusal {
  const char* yaml;
  const char* says;
};
class ConfigRefusalTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(ConfigRefusalTest, NamesTheKeyAndWhatIsAllowed) {
  EXPECT_THAT(refusal(GetParam().yaml), HasSubstr(GetParam().says));
}

INSTANTIATE_TEST_SUITE_P(
    Table, ConfigRefusalTest,
    ::testing::Values(
        Refusal{"websocket: {port: 65536}", "websocket.port: must be a number from 0 to 65535, not 65536"},
        Refusal{"websocket: {port: -1}", "websocket.port"}, Refusal{"websocket: {port: 8x}", "not 8x"},
        Refusal{"websocket: {port: 1KiB}", "not 1KiB"}, Refusal{"websocket: {port: 99999999999999999999}", "websocket.port"},
        Refusal{"websocket: {enable: maybe}", "must be true or false, not maybe"}, Refusal{"websocket: 1", "websocket is a section"},
        Refusal{"websocket: [1]", "websocket is a section"}, Refusal{"websocket: {port: [1]}", "websocket.port: must be a number"},
        Refusal{"websocket: {path: im}", "websocket.path"}, Refusal{"websocket: {listen: nowhere}", "websocket.listen"},
        Refusal{"{websocket: {enable: no}, tcpsocket: {enable: no}}", "nothing to serve"},
        Refusal{"{websocket: {port: 5}, tcpsocket: {port: 5}}", "tcpsocket.port: 5 is taken"},
        Refusal{"admin: {listen: 8090}", "admin.listen: 8090 is not HOST:PORT"}, Refusal{"admin: {listen: \"::1:80\"}", "brackets"},
        Refusal{"store: {durability: disk}", "must be one of fsync|os|memory, not disk"},
        Refusal{"store: {durability: \"fsync|os\"}", "store.durability"}, Refusal{"store: {durability: memory}", "unsafe-memory-acks"},
        Refusal{"store: {engine: memory}", "store.engine: memory keeps nothing"},
        Refusal{"store: {engine: redis}", "redis is not available in this build"},
        Refusal{"store: {log: {segment-bytes: 1}}", "store.log.segment-bytes"},
        Refusal{"cluster: {enable: true}", "not available in this build"},
        Refusal{"limits: {trusted-proxies: [10.0.0.0/33]}", "limits.trusted-proxies"},
        Refusal{"limits: {user: {mode: maybe}}", "limits.user.mode: must be one of off|observe|enforce"},
        Refusal{"performance: {max-frame-size: 1MiB}", "performance.max-frame-size"},
        Refusal{"tls: {certificate-file: a.pem}", "tls.key-file: missing"},
        Refusal{"tls: {certificate-file: a.pem, key-file: b.pem}", "cannot read /base/a.pem"},
        Refusal{"auth: {keys: {id: a}}", "auth.keys: must be a list"}, Refusal{"auth: {keys: [a]}", "each key must be a map"},
        Refusal{"auth: {keys: [{id: a, alg: none, secret: x}]}", "alg must be HS256, RS256, ES256 or EdDSA, not none"},
        Refusal{"auth: {keys: [{id: a, alg: hs256, secret: x}]}", "not hs256"},
        Refusal{"auth: {keys: [{id: a, alg: HS256}]}", "needs either"},
        Refusal{"auth: {keys: [{id: a, alg: HS256, secret: x, secret-file: y}]}", "needs either"},
        Refusal{"auth: {keys: [{id: a, alg: HS256, secret-file: nope}]}", "cannot read /base/nope"},
        Refusal{"auth: {keys: [{id: a, alg: RS256, secret: x}]}", "no secret"},
        Refusal{"auth: {keys: [{id: a, alg: ES256}]}", "needs public-key-file"},
        Refusal{"auth: {keys: [{id: a, alg: HS256, secret: x}, {id: a, alg: HS256, secret: y}]}", "two keys have the id a"},
        Refusal{"auth: {keys: [{id: a, alg: HS256, secret: x, sceret: y}]}", "unknown key sceret in auth.keys"},
        Refusal{"{a: 1, a: 2}", "a is set twice"}, Refusal{"- 1", "must be a map of sections"}, Refusal{"x", "must be a map of sections"},
        Refusal{"a: &x 1\nb: *x", "aliases"}, Refusal{"---\n---\n", "more than one document"}, Refusal{"a: [", "test.yaml: line"},
        Refusal{"? [a]\n: b", "a key must be text"}, Refusal{"a: \xff", "not valid UTF-8"}, Refusal{"a: \x04", "raw control character"}));

// Whatever is wrong, and whoever finds it, is named by where it stands and by its key.
class ConfigOriginTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(ConfigOriginTest, ErrorBeginsWithFileLineAndKey) {
  EXPECT_THAT(refusal(GetParam().yaml), ::testing::StartsWith(GetParam().says));
}

INSTANTIATE_TEST_SUITE_P(
    Table, ConfigOriginTest,
    ::testing::Values(
        Refusal{"store:\n  durability: memory\n", "test.yaml:2: store.durability: "},
        Refusal{"store:\n  path: x\n  engine: memory\n", "test.yaml:3: store.engine: "},
        Refusal{"store:\n  path: x\n  engine: redis\n", "test.yaml:3: store.engine: "},
        Refusal{"store:\n  path: ''\n", "test.yaml:2: store.path: "},
        Refusal{"store:\n  log:\n    segment-bytes: 256KiB\nperformance:\n  max-frame-size: 128KiB\n",
                "test.yaml:3: store.log.segment-bytes: "},
        Refusal{"performance:\n  max-frame-size: 16MiB\n", "test.yaml:2: store.log.segment-bytes: "},
        Refusal{"auth:\n  keys:\n    - {id: a, alg: HS256, secret: x}\n    - {id: a, alg: HS256, secret: y}\n",
                "test.yaml:4: auth.keys[1]: "},
        Refusal{"auth:\n  keys:\n    - {id: a, alg: HS256, secret: x}\n    - id: b\n      alg: none\n",
                "test.yaml:4: auth.keys[1]: key b: alg"},
        Refusal{"auth:\n  keys:\n    - {id: a, alg: HS256, secret: x}\n    - {id: b, alg: HS256}\n", "test.yaml:4: auth.keys[1]: key b: "},
        Refusal{"auth:\n  keys:\n    - {id: a, alg: ES256, secret: x}\n", "test.yaml:3: auth.keys[0]: key a: "},
        Refusal{"auth:\n  keys:\n    - {id: a, alg: HS256, secret-file: /none}\n", "test.yaml:3: auth.keys[0]: cannot read /none"},
        Refusal{"auth:\n  keys:\n    - {id: '', alg: HS256, secret: x}\n", "test.yaml:3: auth.keys[0]: each key needs an id"},
        Refusal{"auth:\n  keys:\n    - {id: a, alg: HS256, secret: x}\n    - {id: b, alg: HS256,\n       sceret: x}\n",
                "test.yaml:5: auth.keys: "},
        Refusal{"auth:\n  keys:\n    - {id: a, alg: HS256, secret: x}\n    - b\n", "test.yaml:4: auth.keys: each key must be a map"},
        Refusal{"tls:\n  certificate-file: a.pem\n", "test.yaml:2: tls.key-file: missing"},
        Refusal{"tls:\n  key-file: a.pem\n", "test.yaml:2: tls.certificate-file: missing"},
        Refusal{"tls:\n  key-file: b.pem\n  certificate-file: a.pem\n", "test.yaml:3: tls.certificate-file: cannot read /base/a.pem"},
        Refusal{"tls:\n  key-file: b.pem\n  certificate-file: /dev/null\n", "test.yaml:2: tls.key-file: cannot read /base/b.pem"},
        Refusal{"limits:\n  trusted-proxies:\n    - 10.0.0.1\n    - nowhere\n", "test.yaml:4: limits.trusted-proxies[1]: nowhere"},
        Refusal{"limits:\n  trusted-proxies: nowhere\n", "test.yaml:2: limits.trusted-proxies[0]: nowhere"},
        Refusal{"limits:\n  trusted-proxies:\n    - 10.0.0.1\n    - [a]\n", "test.yaml:4: limits.trusted-proxies: must be a list"},
        Refusal{"admin:\n  listen: 8090\n", "test.yaml:2: admin.listen: "},
        Refusal{"admin:\n  listen: nowhere:80\n", "test.yaml:2: admin.listen: "},
        Refusal{"admin:\n  listen: '::1:80'\n", "test.yaml:2: admin.listen: "},
        Refusal{"websocket:\n  listen: nowhere\n", "test.yaml:2: websocket.listen: "},
        Refusal{"tcpsocket:\n  listen: nowhere\n", "test.yaml:2: tcpsocket.listen: "},
        Refusal{"websocket:\n  path: im\n", "test.yaml:2: websocket.path: "},
        Refusal{"websocket:\n  enable: no\ntcpsocket:\n  enable: no\n", "test.yaml:2: websocket.enable: "},
        Refusal{"tcpsocket:\n  port: 8080\n", "test.yaml:2: tcpsocket.port: 8080 is taken"},
        Refusal{"websocket:\n  port: 8081\n", "test.yaml:2: tcpsocket.port: 8081 is taken"},
        Refusal{"net:\n  write-queue-bytes: 64KiB\n", "test.yaml:2: net.write-queue-bytes: "},
        Refusal{"performance:\n  max-frame-size: 128KiB\n", "test.yaml:2: net.write-queue-bytes: "},
        Refusal{"cluster:\n  enable: true\n", "test.yaml:2: cluster.enable: "}, Refusal{"- 1", "test.yaml:1: must be a map"},
        Refusal{"log: {}\na: \xff", "test.yaml: line 2: not valid UTF-8"},
        Refusal{"---\n---\n", "test.yaml: line 2: more than one document"}));

TEST(ConfigTest, ErrorOfAVariableBeginsWithItsNameAndKey) {
  const auto begins = [](const Environment& environment, const char* with, std::string_view yaml = "") {
    EXPECT_THAT(refusal(yaml, environment), ::testing::StartsWith(with));
  };
  begins({{"DUNLIN_STORE_DURABILITY", "memory"}}, "DUNLIN_STORE_DURABILITY: store.durability: ");
  begins({{"DUNLIN_STORE_ENGINE", "postgres"}}, "DUNLIN_STORE_ENGINE: store.engine: ");
  begins({{"DUNLIN_AUTH_KEYS", "[{id: a, alg: HS256}]"}}, "DUNLIN_AUTH_KEYS: auth.keys[0]: ");
  begins({{"DUNLIN_AUTH_KEYS", "["}}, "DUNLIN_AUTH_KEYS: auth.keys: line");
  begins({{"DUNLIN_TLS_KEY_FILE", "/none"}}, "DUNLIN_TLS_KEY_FILE: tls.certificate-file: missing");
  begins({{"DUNLIN_LIMITS_TRUSTED_PROXIES", "10.0.0.1,x"}}, "DUNLIN_LIMITS_TRUSTED_PROXIES: limits.trusted-proxies[1]: x",
         "limits: {trusted-proxies: [10.0.0.1, 10.0.0.2]}");
  begins({{"DUNLIN_ADMIN_LISTEN", "8090"}}, "DUNLIN_ADMIN_LISTEN: admin.listen: ");
  begins({{"DUNLIN_NET_WRITE_QUEUE_BYTES", "64KiB"}}, "DUNLIN_NET_WRITE_QUEUE_BYTES: net.write-queue-bytes: ");
  begins({{"DUNLIN_WEBSOCKET_PORT", "x"}}, "DUNLIN_WEBSOCKET_PORT: websocket.port: must be a number");
}

TEST(ConfigTest, BossThreadsAreAcceptedWithAWarning) {
  const Result<LoadedConfig> result = parse("performance: {boss-threads: 4}");
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(result->warnings, ElementsAre(HasSubstr("performance.boss-threads has no effect")));
}

TEST(ConfigTest, UnsafeOptionsAreListedByKey) {
  const Config config = parsed("{store: {durability: memory, unsafe-memory-acks: true}, debug: {unsafe-faults: {drop-hints: true}}}");
  EXPECT_THAT(unsafe_options(config), ElementsAre("store.unsafe-memory-acks", "debug.unsafe-faults.drop-hints"));
}

TEST(ConfigTest, DeepNestingAndManyNodesAreRefusedQuickly) {
  EXPECT_THAT(refusal(std::string(100, '[') + std::string(100, ']')), HasSubstr("nested deeper"));
  EXPECT_NE(refusal(std::string(100'000, '[')), "accepted");
  EXPECT_NE(refusal("a: " + std::string(100'000, '{')), "accepted");
  std::string blocks;
  for (int i = 0; i < 20'000; ++i) blocks += "- ";
  EXPECT_THAT(refusal(blocks + "x"), HasSubstr("nested deeper"));
  std::string many = "a: [";
  for (int i = 0; i < 50'000; ++i) many += "1,";
  EXPECT_THAT(refusal(many + "1]"), HasSubstr("more than 10000 values"));
  EXPECT_THAT(refusal(std::string(300'000, ' ')), HasSubstr("larger than"));
}

// R16.3: no character is forbidden in a secret, wherever it comes from. Seeded, so a failure repeats.
TEST(ConfigTest, SecretsOfAnyCharactersSurviveFileAndEnvironment) {
  std::mt19937 random(20240607);
  const std::string special = "\"'\\#:{}[]&*!|>%@`$~-?, \t=\n\r";
  for (int round = 0; round < 2000; ++round) {
    std::string secret;
    const std::size_t length = 1 + random() % 40;
    while (secret.size() < length) {
      switch (random() % 4) {
        case 0: secret += special[random() % special.size()]; break;
        case 1: secret += static_cast<char>(1 + random() % 127); break;
        case 2: secret += "\xE5\xAF\x86"; break;
        default: secret += static_cast<char>('a' + random() % 26);
      }
    }
    EXPECT_EQ(parsed("redis: {password: " + quote_yaml(secret) + "}").redis.password, secret);
    EXPECT_EQ(parsed("", {{"DUNLIN_REDIS_PASSWORD", secret}}).redis.password, secret);
    const Config config = parsed("auth: {keys: [{id: k, alg: HS256, secret: " + quote_yaml(secret) + "}]}");
    ASSERT_EQ(config.auth.keys.size(), 1U);
    EXPECT_EQ(config.auth.keys[0].secret, secret);
  }
}

TEST(ConfigTest, SecretsAppearNeitherInPrintNorInErrors) {
  const Config config =
      parsed("{redis: {password: hunter2}, postgres: {url: hunter2}, auth: {keys: [{id: k, alg: HS256, secret: hunter2}]}}");
  EXPECT_THAT(print_config(config), Not(HasSubstr("hunter2")));
  EXPECT_THAT(print_config(config), HasSubstr("password: \"********\""));
  EXPECT_THAT(refusal("auth: {keys: hunter2}"), Not(HasSubstr("hunter2")));
  EXPECT_THAT(refusal("", {{"DUNLIN_AUTH_KEYS", "hunter2"}}), Not(HasSubstr("hunter2")));
  EXPECT_THAT(refusal("redis: {password: [hunter2]}"), Not(HasSubstr("hunter2")));
}

TEST(ConfigTest, PrintedConfigurationParsesToTheSame) {
  const Config config = parsed(
      "{websocket: {port: 1, allowed-origins: [\"http://a, b\", \"c\"]}, store: {log: {max-bytes: 3GiB}}, redis: {sentinel: {nodes: [x]}}, "
      "log: {level: debug}, debug: {unsafe-faults: {crash-at: here}}}");
  const Config again = parsed(print_config(config));
  const ConfigChanges changes = compare_configs(config, again);
  EXPECT_THAT(changes.reloadable, IsEmpty());
  EXPECT_THAT(changes.need_restart, IsEmpty());
  EXPECT_EQ(print_config(again), print_config(config));
}

TEST(ConfigTest, ChangesAreSortedByWhetherReloadAppliesThem) {
  const ConfigChanges changes =
      compare_configs(parsed(""), parsed("{log: {level: warn}, websocket: {port: 1}, limits: {user: {sends-per-s: 9}}}"));
  EXPECT_THAT(changes.reloadable, ElementsAre("limits.user.sends-per-s", "log.level"));
  EXPECT_THAT(changes.need_restart, ElementsAre("websocket.port"));
}

TEST_F(ConfigFileTest, RelativePathsCountFromTheFilesFolder) {
  write("secret", "s");
  const std::string file = write("d.yaml", "{store: {path: ../x/data}, auth: {keys: [{id: m, alg: HS256, secret-file: ./secret}]}}");
  const Result<LoadedConfig> loaded = load_config(file, {});
  ASSERT_TRUE(loaded.ok()) << loaded.error().context();
  EXPECT_EQ(loaded->file, file);
  EXPECT_EQ(loaded->folder, folder_);
  EXPECT_EQ(loaded->config.store.path, "/tmp/x/data");
  EXPECT_EQ(loaded->config.auth.keys[0].secret_file, folder_ + "/secret");
}

TEST_F(ConfigFileTest, MissingFileOrFolderIsRefusedByName) {
  EXPECT_THAT(load_config(folder_ + "/none.yaml", {}).error().context(), HasSubstr("none.yaml: No such file"));
  EXPECT_THAT(load_config(folder_, {}).error().context(), HasSubstr("is a folder"));
}

TEST(DefaultFileTest, PackagedConfigurationIsValidAndSetsOnlyThePath) {
  const Result<LoadedConfig> loaded = load_config(DUNLIN_SOURCE_DIR "/deploy/dunlin.yaml", {});
  ASSERT_TRUE(loaded.ok()) << loaded.error().context();
  EXPECT_EQ(loaded->config.store.path, "/var/lib/dunlin");
  EXPECT_THAT(compare_configs(Config{}, loaded->config).need_restart, ElementsAre("store.path"));
  EXPECT_THAT(compare_configs(Config{}, loaded->config).reloadable, IsEmpty());
}

TEST(SettingsTest, EveryRowHasADistinctVariableDocAndDefaultWithinBounds) {
  std::set<std::string> names;
  for (const Setting& row : settings()) {
    EXPECT_TRUE(names.insert(environment_name(row.key)).second) << row.key;
    EXPECT_FALSE(row.doc.empty()) << row.key;
    EXPECT_EQ(row.doc.back(), '.') << row.key;
    EXPECT_FALSE(is_section(row.key)) << row.key;
    Config copy;
    FieldRef field = row.field(copy);
    if (auto* const* number = std::get_if<std::int64_t*>(&field)) {
      const YamlNode text{YamlNode::Kind::Scalar, 1, {}, std::to_string(**number), {}};
      EXPECT_TRUE(assign(row, text, copy).ok()) << row.key;
    }
    if (auto* const* choice = std::get_if<std::string*>(&field); choice != nullptr && !row.traits.choices.empty()) {
      const YamlNode text{YamlNode::Kind::Scalar, 1, {}, **choice, {}};
      EXPECT_TRUE(assign(row, text, copy).ok()) << row.key;
    }
  }
}

// Zero means what an operator expects, and the page says so; where it would mean nothing it is refused.
TEST(SettingsTest, ZeroIsExplainedOrRefused) {
  for (const Setting& row : settings()) {
    Config copy;
    FieldRef field = row.field(copy);
    if (!std::holds_alternative<std::int64_t*>(field) || row.traits.hidden || row.traits.not_in_this_build) continue;
    if (row.traits.min == 0) {
      EXPECT_THAT(row.doc, ::testing::ContainsRegex("[^0-9.]0[ :]")) << row.key;
      EXPECT_TRUE(!row.key.starts_with("limits.") || row.doc.find("0: no limit") != std::string_view::npos) << row.key;
      continue;
    }
    const auto dot = row.key.rfind('.');
    const std::string yaml = fmt::format("{}:\n  {}: 0\n", row.key.substr(0, dot), row.key.substr(dot + 1));
    EXPECT_THAT(refusal(yaml), ::testing::StartsWith(fmt::format("test.yaml:2: {}: must be a number from", row.key)));
  }
}

TEST(ConfigurationReferenceTest, PageIsUpToDate) {
  EXPECT_EQ(read(DUNLIN_SOURCE_DIR "/docs/operating/configuration.md"), configuration_reference())
      << "run: dunlin config reference > docs/operating/configuration.md";
}

}  // namespace
}  // namespace dunlin
