#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "admin/router.h"
#include "base/clock.h"
#include "base/result.h"

namespace dunlin {

struct AdminOptions {
  std::string listen = "127.0.0.1:8090";  // HOST:PORT or [HOST]:PORT; port 0 takes a free one
  Milliseconds request_deadline{5000};    // to read a request, and again to write its response
  std::size_t max_body_bytes = 64 << 10;
  std::size_t max_connections = 128;  // for one more, the one whose last request is longest ago is closed
};

// The HTTP server for operators: health, metrics, information. One thread and event loop of its own, so it answers while every worker
// is stuck. Low traffic: connections are bounded, each request has a deadline and size limits, nothing of a request is logged but
// method and path. start() binds before it returns and names the port if it cannot; stop() (or the destructor) closes all
// connections and joins the thread.
class AdminServer {
 public:
  AdminServer(AdminOptions options, Router router);
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  Status start();
  void stop();

  // The bound address as HOST:PORT, valid after start().
  std::string address() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dunlin
