#include "server/server.h"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <optional>
#include <thread>

#include "admin/sd_notify.h"
#include "base/log.h"
#include "base/log_output.h"
#include "server/node.h"

namespace dunlin {
namespace {

constexpr Milliseconds kLook{50};
constexpr Milliseconds kWatch{10};
constexpr Milliseconds kLeastForShutDown{2'000};  // when the phases before have used up shutdown.timeout-ms
constexpr Milliseconds kTellWaiting{5'000};
constexpr Milliseconds kLookAtFiles{1'000};

// The signals of the process, taken one by one by the main thread instead of by handlers.
class Signals {
 public:
  Signals() {
    sigemptyset(&set_);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set_, signal);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
  }
  // The next signal, or 0 after `wait`.
  int next(Milliseconds wait) const {
    const timespec time{.tv_sec = wait.count() / 1000, .tv_nsec = wait.count() % 1000 * 1'000'000};
    const int signal = sigtimedwait(&set_, nullptr, &time);
    return signal > 0 ? signal : 0;
  }

 private:
  sigset_t set_{};
};

[[noreturn]] void end_at_once(int exit_code) {
  flush_output();
  std::_Exit(exit_code);
}

bool ends(int signal) {
  return signal == SIGTERM || signal == SIGINT;
}

void reload_now(Node& node, Config& running, const std::function<Result<LoadedConfig>()>& reload) {
  sd_notify(
      fmt::format("RELOADING=1\nMONOTONIC_USEC={}",
                  std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch()).count()));
  auto loaded = reload();
  Status applied = loaded.ok() ? node.reload(loaded->config) : Status(Error(loaded.error().code(), loaded.error().context()));
  if (applied.ok()) {
    const ConfigChanges changes = compare_configs(running, loaded->config);
    for (const std::string& key : changes.need_restart) log_warn("server", "this key changes only at a restart", {{"key", key}});
    log_info("server", "configuration reloaded", {{"changed", changes.reloadable.size()}});
    running = node.config();
    node.metrics().config_reloads_total.add();
  } else {
    log_error("server", "reload failed, the running configuration stays", {{"error", applied.error().to_string()}});
    node.metrics().config_reload_failures_total.add();
  }
  sd_notify("READY=1");
}

// Waits until `done` or the deadline. False: a second signal wants an end at once.
template <class Done>
bool wait_until(const Signals& signals, MonotonicTime deadline, Done&& done) {
  while (!done() && std::chrono::steady_clock::now() < deadline) {
    if (ends(signals.next(kLook))) return false;
  }
  return true;
}

// While the main thread is busy and takes no signals: ends the process at SIGTERM or SIGINT, and when `patience` is over (what a stop waits
// for may be a disk that never answers). A thread of its own, since every thread keeps the signals blocked.
class Watchdog {
 public:
  // `at_signal`: the exit code after a signal.
  Watchdog(std::optional<Milliseconds> patience, int at_signal) : thread_([=, this] { watch(patience, at_signal); }) {}
  ~Watchdog() {
    over_.store(true, std::memory_order_relaxed);
    thread_.join();
  }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void watch(std::optional<Milliseconds> patience, int at_signal) const {
    const auto start = std::chrono::steady_clock::now();
    sigset_t ending;
    sigemptyset(&ending);
    for (const int signal : {SIGTERM, SIGINT}) sigaddset(&ending, signal);
    const timespec look{.tv_sec = 0, .tv_nsec = kWatch.count() * 1'000'000};
    while (!over_.load(std::memory_order_relaxed)) {
      if (sigtimedwait(&ending, nullptr, &look) > 0) {
        log_warn("server", "a signal while starting or ending: ending at once");
        end_at_once(at_signal);
      }
      if (!patience || std::chrono::steady_clock::now() - start < *patience) continue;
      log_error("server", "the store or a worker does not end within shutdown.timeout-ms: ending without them");
      end_at_once(1);
    }
  }

  std::atomic<bool> over_{false};
  std::thread thread_;
};

// Takes the node apart, for at most `patience`.
void end_node(std::unique_ptr<Node> node, Milliseconds patience) {
  const Watchdog watchdog(patience, 1);
  node->shut_down();
  const std::size_t connections_left = node->connections();
  node.reset();
  log_info("server", "stopped", {{"connections_left", connections_left}});
}

// False: interrupted. The phases and their numbers are those of dunlin_stop_phase.
bool stop_in_phases(Node& node, const ShutdownConfig& shutdown, MonotonicTime last, const Signals& signals) {
  const auto start = std::chrono::steady_clock::now();
  sd_notify("STOPPING=1");
  log_info("server", "stopping: not ready", {{"wait_ms", shutdown.ready_delay_ms}});
  node.refuse_traffic();
  if (!wait_until(signals, start + Milliseconds(shutdown.ready_delay_ms), [] { return false; })) return false;

  log_info("server", "stopping: not accepting");
  node.stop_accepting();
  log_info("server", "stopping: flushing");
  node.metrics().stop_phase.set(3);
  if (!wait_until(signals, std::min(last, std::chrono::steady_clock::now() + Milliseconds(shutdown.flush_ms)),
                  [&] { return node.flushed(); }))
    return false;

  log_info("server", "stopping: closing clients", {{"connections", node.connections()}, {"per_second", shutdown.clients_per_s}});
  node.close_clients();
  return wait_until(signals, last, [&] { return node.connections() == 0; });
}

// False: a second signal wants an end at once.
bool stop(std::unique_ptr<Node>& node, const ShutdownConfig& shutdown, const Signals& signals) {
  const auto last = std::chrono::steady_clock::now() + Milliseconds(shutdown.timeout_ms);
  if (!stop_in_phases(*node, shutdown, last, signals)) return false;
  const auto left = std::chrono::duration_cast<Milliseconds>(last - std::chrono::steady_clock::now());
  end_node(std::move(node), std::max(left, kLeastForShutDown));
  return true;
}

int failed(const Error& error) {
  log_error("server", "cannot start", {{"error", error.to_string()}});
  return error.code() == ErrorCode::Config ? 2 : 1;
}

// Until every health check is green, or all that fails is that the store takes no writes, on a full disk say: what it holds is served.
// False: a signal came first.
bool wait_ready(const Node& node, const Signals& signals, bool& reload_asked) {
  auto tell = std::chrono::steady_clock::now() + kTellWaiting;
  while (!node.ready() && !node.reads_only()) {
    const int signal = signals.next(Milliseconds(5));
    if (ends(signal)) return false;
    reload_asked = reload_asked || signal == SIGHUP;
    if (std::chrono::steady_clock::now() < tell) continue;
    log_warn("server", "not ready yet", {{"because", node.not_ready_because()}});
    tell += kTellWaiting;
  }
  return true;
}

int serve(const Signals& signals, const LoadedConfig& config, const std::function<Result<LoadedConfig>()>& reload) {
  for (const std::string& warning : config.warnings) log_warn("config", warning);
  auto started = [&] {
    const Watchdog watchdog(std::nullopt, 0);  // a recovery may take long; nobody is served yet who would miss a graceful end
    return Node::start(config.config);
  }();
  if (!started.ok()) return failed(started.error());
  std::unique_ptr<Node> node = *std::move(started);
  Config running = config.config;
  bool reload_asked = false;
  if (!wait_ready(*node, signals, reload_asked)) {
    log_info("server", "a signal before it was ready: ending");
    end_node(std::move(node), Milliseconds(running.shutdown.timeout_ms));
    return 0;
  }
  if (!node->ready()) log_warn("server", "serves what it holds, and refuses sends", {{"because", node->not_ready_because()}});
  print_line(node->ready_line());
  sd_notify("READY=1");
  log_info("server", "ready");
  if (reload_asked) reload_now(*node, running, reload);

  for (;;) {
    const int signal = signals.next(kLookAtFiles);
    if (signal == SIGHUP) reload_now(*node, running, reload);
    if (signal == 0) {
      node->take_changed_files();
      node->give_memory_back();
      node->tell_refusals();
    }
    if (!ends(signal)) continue;
    if (stop(node, running.shutdown, signals)) return 0;
    log_warn("server", "a second signal: ending at once");
    end_at_once(1);
  }
}

}  // namespace

int run_server(const LoadedConfig& config, const std::function<Result<LoadedConfig>()>& reload) {
  const Signals signals;
  write_in_background();
  const int exit_code = serve(signals, config, reload);
  flush_output();
  return exit_code;
}

}  // namespace dunlin
