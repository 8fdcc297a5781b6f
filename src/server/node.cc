#include "server/node.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "admin/routes.h"
#include "base/log.h"
#include "base/memory_limit.h"
#include "base/version.h"
#include "config/load.h"
#include "server/auth_keys.h"
#include "server/layer_options.h"

namespace dunlin {
namespace {

// Hints that may wait for one worker, in bytes: beyond it they are dropped and repaired from the store.
constexpr std::size_t kMailboxBytes = 32 << 20;
constexpr std::size_t kMailboxesOfMemory = 16;  // for all workers a sixteenth of the memory at most
constexpr Milliseconds kLoopDeadAfter{30'000};
constexpr std::size_t kCrowd = 1'000;  // connections; the memory of fewer is not worth looking for
constexpr int kCalmLooks = 10;

ProbedPort probed_port(const ListenerOptions& options) {
  return {.bound = {},
          .transport = options.transport,
          .tls = options.tls,
          .path = options.path,
          .subprotocol = options.subprotocols.empty() ? "" : options.subprotocols.front()};
}

}  // namespace

Node::Node(const Config& config) : config_(config), started_(clock_.monotonic()), net_metrics_(metrics_), refusal_log_(metrics_) {}

Result<std::unique_ptr<Node>> Node::start(const Config& config) {
  std::unique_ptr<Node> node(new Node(config));
  TRY(node->open());
  return node;
}

Status Node::open() {
  set_log_level(log_level(config_));
  for (const std::string& option : unsafe_options(config_)) {
    metrics_.set_config_unsafe(option, true);
    log_warn("config", "an unsafe option is on: a promise of docs/guarantees.md does not hold", {{"option", option}});
  }
  faults_.apply(config_.debug);
  watch_files();
  offload_ = std::make_unique<OffloadPool>(
      OffloadPool::Options{.name = "offload", .threads = static_cast<std::size_t>(config_.performance.offload_threads)});
  TRY_ASSIGN(engine_, open_engine({config_, clock_, metrics_, *offload_, faults_}));
  TRY(open_auth());
  TRY(make_sessions());
  for (const auto& worker : workers_) worker->start();
  TRY(listen());
  prober_->start();
  return open_admin();
}

Status Node::open_auth() {
  TRY_ASSIGN(const SipKey key, engine_->token_key());
  sync_tokens_ = std::make_unique<SyncTokenMinter>(key);
  TRY_ASSIGN(auto keys, load_key_set(config_));
  authenticator_ = std::make_unique<auth::Authenticator>(std::move(keys), auth_options(config_));
  return {};
}

Status Node::make_sessions() {
  std::vector<Worker*> workers;
  std::vector<WorkerMailbox*> mailboxes;
  const std::size_t mailbox_bytes = std::min(kMailboxBytes, memory_limit().bytes / kMailboxesOfMemory / worker_count(config_));
  for (std::size_t i = 0; i < worker_count(config_); ++i) {
    workers_.push_back(std::make_unique<Worker>(static_cast<std::uint16_t>(i), clock_));
    workers.push_back(workers_.back().get());
    mailboxes_.push_back(std::make_unique<DeliveryMailbox>(*workers_.back(), mailbox_bytes, metrics_.hints_dropped_total));
    mailboxes.push_back(mailboxes_.back().get());
  }
  dispatcher_ = std::make_unique<Dispatcher>(registry_, std::move(mailboxes));
  dispatcher_->drop_hints(config_.debug.drop_hints);
  engine_->timelines().set_listener(dispatcher_.get());
  services_ = std::unique_ptr<SessionServices>(new SessionServices{clock_,
                                                                   engine_->timelines(),
                                                                   engine_->inboxes(),
                                                                   engine_->devices(),
                                                                   *authenticator_,
                                                                   registry_,
                                                                   *dispatcher_,
                                                                   user_rate_,
                                                                   detached_,
                                                                   device_turns_,
                                                                   *sync_tokens_,
                                                                   metrics_,
                                                                   {}});
  TRY_ASSIGN(NetOptions net, net_options(config_));
  net.handshake_seconds = &metrics_.handshake_seconds;
  net_ = std::make_unique<NetServer>(workers, std::move(net));
  const auto options = std::make_shared<const SessionOptions>(session_options(config_));
  for (const auto& worker : workers_) {
    hosts_.push_back(
        std::make_unique<SessionHost>(*worker, net_->connections(worker->index()), *services_, *mailboxes_[worker->index()], options));
    hosts_.back()->set_faults({.drop_pushes = config_.debug.drop_pushes});
    services_->hosts.push_back(hosts_.back().get());
  }
  return {};
}

Status Node::listen() {
  TRY(use_certificate(config_));
  const std::vector<ConnectionHandler*> handlers(services_->hosts.begin(), services_->hosts.end());
  Prober::Targets targets{
      .clock = clock_, .workers = {}, .mailboxes = {}, .hosts = services_->hosts, .ports = {}, .engine = engine_.get(), .net = net_.get()};
  if (config_.websocket.enable) {
    TRY_ASSIGN(ListenerOptions options, websocket_listener(config_));
    ProbedPort port = probed_port(options);
    TRY_ASSIGN(websocket_, net_->listen(std::move(options), handlers));
    port.bound = websocket_;
    targets.ports.push_back(std::move(port));
  }
  if (config_.tcpsocket.enable) {
    TRY_ASSIGN(ListenerOptions options, tcp_listener(config_));
    ProbedPort port = probed_port(options);
    TRY_ASSIGN(tcp_, net_->listen(std::move(options), handlers));
    port.bound = tcp_;
    targets.ports.push_back(std::move(port));
  }
  for (const auto& worker : workers_) targets.workers.push_back(worker.get());
  for (const auto& mailbox : mailboxes_) targets.mailboxes.push_back(mailbox.get());
  prober_ = std::make_unique<Prober>(std::move(targets));
  for (const HealthCheck* check : prober_->checks()) health_.add(check);
  return {};
}

Status Node::open_admin() {
  if (config_.admin.enable) {
    AdminOptions options;
    options.listen = config_.admin.listen;
    AdminSources sources{.health = &health_,
                         .metrics = &metrics_,
                         .info = [this] { return info(); },
                         .alive = [this] { return loops_turn(); },
                         .collect = [this] { collect(); }};
    admin_ = std::make_unique<AdminServer>(options, make_admin_router(std::move(sources)));
    TRY(admin_->start());
  }
  if (config_.store.engine != "embedded") return {};
  ControlSocket::Handler backup = [this](const std::string& folder, const ControlSocket::Progress& progress) {
    return engine_->backup(folder, progress);
  };
  auto control = ControlSocket::open(config_.store.path, {{"backup", std::move(backup)}});
  if (control.ok()) {
    control_ = *std::move(control);
    return {};
  }
  // A full disk may have no room for the socket's name. Reading goes on without it; backups need space anyway.
  if (control.error().code() != ErrorCode::NoSpace) return std::move(control).error();
  log_warn("control", "there is no control socket: `dunlin backup` works only after a restart", {{"error", control.error().to_string()}});
  return {};
}

std::string Node::ready_line() const {
  const auto shown = [](bool on, const Endpoint& endpoint) { return on ? endpoint.to_string() : std::string("off"); };
  return fmt::format("ready ws={} tcp={} admin={} data={} pid={}", shown(config_.websocket.enable, websocket_),
                     shown(config_.tcpsocket.enable, tcp_), admin_ ? admin_->address() : "off", config_.store.path, getpid());
}

bool Node::reads_only() const {
  const StoreHealth health = engine_->timelines().health();
  if (health.writable || !health.readable) return false;
  const auto reports = health_.reports();
  return std::all_of(reports.begin(), reports.end(),
                     [&](const HealthReport& report) { return report.ok || (report.name == "store" && report.detail == health.reason); });
}

std::string Node::not_ready_because() const {
  std::string text;
  for (const HealthReport& report : health_.reports()) {
    if (!report.ok) text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", report.name, report.detail);
  }
  return text;
}

ServerInfo Node::info() const {
  ServerInfo info;
  info.version = kVersion;
  info.epoch = engine_->timelines().epoch().text();
  info.engine = config_.store.engine;
  info.durability = durability_name(engine_->timelines().durability());
  info.node = config_.cluster.node_id;
  if (config_.websocket.enable) info.websocket = websocket_.to_string();
  if (config_.tcpsocket.enable) info.tcp = tcp_.to_string();
  info.tls = config_.tls.enabled();
  info.max_packet_bytes = config_.performance.max_frame_size;
  info.heartbeat_interval_ms = config_.session.heartbeat_interval_ms;
  info.max_devices = config_.session.max_devices;
  info.connections = static_cast<std::int64_t>(net_->connection_count());
  info.uptime_ms = std::chrono::duration_cast<Milliseconds>(clock_.monotonic() - started_).count();
  info.pid = getpid();
  return info;
}

bool Node::loops_turn() const {
  const MonotonicTime now = clock_.monotonic();
  for (const auto& worker : workers_) {
    if (now - worker->last_turn() > kLoopDeadAfter) return false;
  }
  return true;
}

// The allocator keeps what is freed between things that are not. Trimming it took 30 ms after 19,000 connections, in which a worker that
// needs more memory waits: so it is done only after a crowd has left and does not come back at once.
void Node::give_memory_back() {
  if (std::exchange(trim_next_, false)) {
    const MonotonicTime began = clock_.monotonic();
    malloc_trim(0);
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(clock_.monotonic() - began);
    log_debug("server", "memory of connections that have left was given back", {{"us", took.count()}});
  }
  const std::size_t most = net_->most_connections();
  calm_looks_ = most >= kCrowd && net_->connection_count() < most / 2 ? calm_looks_ + 1 : 0;
  if (calm_looks_ < kCalmLooks) return;
  calm_looks_ = 0;
  net_->give_back();
  trim_next_ = true;
}

void Node::collect() {
  net_metrics_.update(net_->totals());
  engine_->collect();
}

}  // namespace dunlin
