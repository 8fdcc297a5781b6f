#pragma once

#include <netinet/in.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "bench/load/sockets.h"
#include "bench/options.h"
#include "bench/scratch.h"

namespace dunlin::bench {

struct ServerSettings {
  std::uint64_t write_queue_bytes = 128 * 1024;
  bool tls = false;  // with a certificate made for this run
};

// The server that a scenario loads: our own binary started as `serve` in a scratch folder with free ports, the embedded store at fsync and
// a key that we know; or, with --url, one that runs already, of which cost can be measured only when --server-pid names it. A server of
// ours gets SIGTERM when this goes away, SIGKILL if it has not stopped 20 s later, and its folder is removed.
class ServerProcess {
 public:
  static Result<ServerProcess> start(const BenchOptions& options, ServerSettings settings = {});

  ServerProcess(ServerProcess&& other) noexcept;
  ServerProcess& operator=(ServerProcess&&) = delete;
  ServerProcess(const ServerProcess&) = delete;
  ~ServerProcess() { ignore(stop()); }

  const sockaddr_in& target() const { return target_; }
  const std::string& path() const { return path_; }
  std::string token(std::string_view user) const;

  bool is_measurable() const { return pid_ > 0; }
  double cpu_seconds() const;            // user and system time of all its threads; 0 when not measurable
  std::uint64_t memory_bytes() const;    // proportional set size; 0 when not measurable
  std::uint64_t resident_bytes() const;  // 0 when not measurable; so are the next two
  std::uint64_t descriptors() const;     // open ones
  std::uint64_t data_bytes() const;      // blocks on disk of a server of ours

  // Stops a server of ours and starts it again on the same data, on other ports; nothing for one that we did not start.
  Status restart();
  // Ends a server of ours gracefully; an error tells that it did not exit with 0, with the end of its log.
  Status stop();

 private:
  ServerProcess() = default;
  Status prepare_folder(const ServerSettings& settings);
  Status launch();
  Status use_url(const BenchOptions& options);
  Status await_ready(int stdout_fd);
  Status stop_process();
  std::string log_tail() const;

  std::optional<ScratchFolder> folder_;
  pid_t pid_ = 0;
  bool owned_ = false;
  sockaddr_in target_{};
  std::string path_ = "/im";
  std::string secret_;
};

}  // namespace dunlin::bench
