#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "admin/admin_server.h"
#include "admin/control_socket.h"
#include "admin/health.h"
#include "admin/routes.h"
#include "base/clock.h"
#include "base/result.h"
#include "config/config.h"
#include "messaging/delivery/dispatcher.h"
#include "messaging/delivery/session_registry.h"
#include "messaging/delivery/sync_token.h"
#include "metrics/server_metrics.h"
#include "net/net_server.h"
#include "runtime/offload.h"
#include "runtime/worker.h"
#include "server/engine.h"
#include "server/faults.h"
#include "server/net_metrics.h"
#include "server/prober.h"
#include "server/refusal_log.h"
#include "server/watched_files.h"
#include "session/auth/authenticator.h"
#include "session/delivery_mailbox.h"
#include "session/detached_cursors.h"
#include "session/session_host.h"
#include "session/user_rate.h"

namespace dunlin {

// A whole running server: every part, made in the order in which they need each other, and destroyed in the reverse one. The only place
// that knows concrete types.
//
// Owner: run_server, on the main thread, which calls everything here. Order of a stop: refuse_traffic, stop_accepting, (flush),
// close_clients, wait for connections() == 0, shut_down. Each step may be left out; the destructor does what is missing without manners.
class Node {
 public:
  // Config errors name the key; Busy the port or the pid.
  static Result<std::unique_ptr<Node>> start(const Config& config);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  bool ready() const { return health_.ready(); }
  // The store can be read but takes no writes (a full disk, say), and nothing else is wrong.
  bool reads_only() const;
  std::string not_ready_because() const;
  std::string ready_line() const;
  ServerMetrics& metrics() { return metrics_; }

  // What a SIGHUP can change: keys, certificate, limits, log level, faults. The first error is returned; what comes before it holds.
  Status reload(const Config& config);
  // Loads the certificate and the auth keys again when their files have changed, and warns once a day of a certificate that is about to
  // expire. Called every second or so.
  void take_changed_files();
  // Gives the memory of a crowd that has left back to the system, when it has been calm for a while. Called every second or so.
  void give_memory_back();
  // Logs what was refused lately, see RefusalLog. Called every second or so.
  void tell_refusals() { refusal_log_.look(net_->totals(), clock_.monotonic()); }
  // What is in force: of a reloaded configuration only what a reload changes.
  const Config& config() const { return config_; }

  // -- the steps of a stop
  void refuse_traffic();
  void stop_accepting();
  bool flushed() const;
  void close_clients();
  std::size_t connections() const { return net_->connection_count(); }
  void shut_down();

 private:
  explicit Node(const Config& config);
  Status open();
  Status open_auth();
  Status make_sessions();
  Status listen();
  Status open_admin();
  ServerInfo info() const;
  bool loops_turn() const;
  void collect();
  Status use_certificate(const Config& config);
  void look_at_certificate(const std::string& file);
  void stall_workers(Milliseconds by);
  void watch_files();
  void taken(std::string_view what, WatchedFiles& files, const Status& status);

  Config config_;
  SystemClock clock_;
  const MonotonicTime started_;
  ServerMetrics metrics_;
  NetMetrics net_metrics_;
  RefusalLog refusal_log_;
  Faults faults_;
  std::unique_ptr<OffloadPool> offload_;
  SessionRegistry registry_;
  UserRate user_rate_;
  DetachedCursors detached_;
  DeviceTurns device_turns_;
  std::unique_ptr<Engine> engine_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::unique_ptr<DeliveryMailbox>> mailboxes_;
  std::unique_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<SyncTokenMinter> sync_tokens_;
  std::unique_ptr<auth::Authenticator> authenticator_;
  std::unique_ptr<SessionServices> services_;
  std::vector<std::unique_ptr<SessionHost>> hosts_;
  std::unique_ptr<NetServer> net_;
  Endpoint websocket_;
  Endpoint tcp_;
  std::unique_ptr<Prober> prober_;
  Health health_;
  std::unique_ptr<AdminServer> admin_;
  std::unique_ptr<ControlSocket> control_;
  WallTime certificate_end_ = WallTime::max();  // without TLS never
  WallTime certificate_looked_{};               // when it was last compared with the clock
  int calm_looks_ = 0;                          // in a row, at which a crowd had left
  bool trim_next_ = false;                      // the workers have given back what they had
  WatchedFiles certificate_files_;
  WatchedFiles key_files_;
  std::string files_error_;  // the last one told, empty when all is well
  bool shut_down_ = false;
};

}  // namespace dunlin
