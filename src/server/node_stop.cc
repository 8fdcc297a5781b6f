// How a node ends: the steps in the order in which run_server takes them.
#include "base/log.h"
#include "server/node.h"

namespace dunlin {
namespace {

constexpr Milliseconds kWorkerDrain{2'000};

}  // namespace

void Node::refuse_traffic() {
  metrics_.stop_phase.set(1);
  health_.set_stopping();
}

void Node::stop_accepting() {
  metrics_.stop_phase.set(2);
  prober_->ports_closed();
  net_->stop_listening();
}

bool Node::flushed() const {
  for (const auto& host : hosts_) {
    if (host->unanswered_sends() > 0) return false;
  }
  return net_->totals().write_queue_bytes == 0;
}

void Node::close_clients() {
  metrics_.stop_phase.set(4);
  const auto per_worker = static_cast<std::uint32_t>(config_.shutdown.clients_per_s) / static_cast<std::uint32_t>(hosts_.size());
  for (const auto& host : hosts_) host->drain(std::max<std::uint32_t>(1, per_worker), Milliseconds(config_.shutdown.reconnect_delay_ms));
}

// The order that the parts' headers ask for: sessions, store, offload pool, workers, then what they pointed at.
void Node::shut_down() {
  if (shut_down_) return;
  shut_down_ = true;
  control_.reset();
  if (prober_) prober_->stop();
  if (net_) refusal_log_.look(net_->totals(), clock_.monotonic(), true);
  for (const auto& host : hosts_) host->save_soon();
  for (const auto& worker : workers_) {
    if (!hosts_.empty() && !worker->drain(kWorkerDrain))
      log_warn("server", "a worker was still busy at the end", {{"worker", worker->index()}});
  }
  if (engine_) engine_->close();
  if (offload_) offload_->stop();
  for (const auto& worker : workers_) {
    worker->refuse();
    worker->stop();
  }
}

Node::~Node() {
  shut_down();
  admin_.reset();
  prober_.reset();
  net_.reset();  // its connections own the sessions, which point into the hosts
  hosts_.clear();
  services_.reset();
  engine_.reset();
  dispatcher_.reset();
  mailboxes_.clear();
  workers_.clear();
}

}  // namespace dunlin
