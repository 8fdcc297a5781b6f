#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace dunlin {

// Requests to a running server from the same machine and user: a Unix socket `control.sock` (mode 0600) in the data folder. It is how
// `dunlin backup` reaches the process that holds the store.
//
// One line in: `COMMAND ARGUMENT`, at most 4 KiB, whole within the deadline. Lines out: any number of `progress DONE TOTAL` (bytes), then
// `ok` or `error TEXT`. One request a connection, one connection at a time; handlers run on the socket's own thread and may block. Owner:
// the composition root. The destructor refuses new requests, tells the running one by its progress, and waits for it.
class ControlSocket {
 public:
  // False when the client has gone or the socket is being closed: the handler should give up.
  using Progress = std::function<bool(std::uint64_t done, std::uint64_t total)>;
  using Handler = std::function<Status(const std::string& argument, const Progress& progress)>;

  static Result<std::unique_ptr<ControlSocket>> open(const std::string& folder, std::map<std::string, Handler> handlers,
                                                     Milliseconds request_deadline = Milliseconds(5000));
  ~ControlSocket();
  ControlSocket(const ControlSocket&) = delete;
  ControlSocket& operator=(const ControlSocket&) = delete;

 private:
  struct Impl;
  explicit ControlSocket(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The client's side: sends one request to the server that has `folder` open and waits for its end. NotFound when no server listens
// there; Timeout when nothing was heard for `silence`.
Status control_request(const std::string& folder, const std::string& command, const std::string& argument, Milliseconds silence,
                       const std::function<void(std::uint64_t done, std::uint64_t total)>& progress);

}  // namespace dunlin
