#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/admission.h"
#include "net/connection_set.h"
#include "net/counters.h"
#include "net/listener_options.h"
#include "runtime/worker.h"

namespace dunlin {

class Listener;
class TlsContext;

// All ports and client connections of the process: for each worker a ConnectionSet and one listening socket a port (SO_REUSEPORT).
//
// Owner: the composition root. Construct before the workers start; destroy after they have stopped. listen() may be called while they run.
// Methods are for the owner's thread unless they say otherwise. Stop order: stop_listening(), close_all(), wait for connection_count() == 0
// with a deadline, stop the workers, destroy.
class NetServer {
 public:
  NetServer(std::vector<Worker*> workers, NetOptions options);
  ~NetServer();
  NetServer(const NetServer&) = delete;
  NetServer& operator=(const NetServer&) = delete;

  // Binds first without SO_REUSEPORT, so that a port in use is an error that names it (Busy). `handlers` has one for each worker.
  // Gives the address with the real port.
  Result<Endpoint> listen(ListenerOptions options, std::vector<ConnectionHandler*> handlers);

  // For new TLS connections; live ones keep theirs.
  void use_certificate(std::shared_ptr<TlsContext> certificate);

  void set_admission(AdmissionOptions options);  // any thread; live
  void stop_listening();
  // Closes every connection with `code`. Returns at once.
  void close_all(ErrorCode code);

  // Has every worker give the memory of connections that have left back to the allocator. Returns at once.
  void give_back();
  std::size_t most_connections() const;  // any thread; since the last give_back()

  ConnectionSet& connections(std::uint16_t worker) { return *sets_[worker]; }  // use on that worker
  Admission& admission() { return admission_; }
  ProbeSources& probes() { return shared_.probes; }                                    // any thread
  std::uint64_t probes_opened(std::uint16_t worker) const;                             // any thread
  std::size_t connection_count() const;                                                // any thread; clients', no probes
  bool full() const { return connection_count() >= shared_.options.max_connections; }  // any thread
  NetTotals totals() const;                                                            // any thread; sums over the workers

 private:
  void for_listeners(void (Listener::*method)());

  NetShared shared_;
  Admission admission_;
  std::vector<Worker*> workers_;
  std::vector<std::unique_ptr<ConnectionSet>> sets_;
  std::vector<std::unique_ptr<Listening>> listenings_;
  std::vector<std::unique_ptr<Listener>> listeners_;
};

}  // namespace dunlin
