#pragma once

#include "net/connection_set.h"
#include "runtime/worker.h"

namespace dunlin {

// One worker's listening socket of one port. Accepts in batches; when the process is out of descriptors it gives up its reserve to take and
// close one connection (so that its client learns of it), then rests for 100 ms. Worker-bound after construction.
class Listener final : public Pollable, private Timer {
 public:
  Listener(ConnectionSet& set, const Listening& listening, int fd);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  void start();  // accepts from now on
  void close();

  void on_ready(std::uint32_t events) override;

 private:
  void on_timer() override { start(); }
  void pause();  // new connections wait in the backlog
  void out_of_descriptors();

  ConnectionSet& set_;
  const Listening& listening_;
  int fd_;
  int reserve_fd_;
  bool watched_ = false;
};

// A socket bound to `address` and listening. `shared` = with SO_REUSEPORT. The error names the address; Busy = in use.
Result<int> open_listening_socket(const Endpoint& address, int backlog, bool shared);
Result<Endpoint> local_endpoint(int fd);

}  // namespace dunlin
