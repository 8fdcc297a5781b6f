#include "session/session_sweep.h"

#include "session/session_host.h"

namespace dunlin {
namespace {

constexpr std::size_t kSlice = 256;  // sessions in one turn

}  // namespace

void SessionSweep::begin() {
  const bool running = !left_.empty();
  left_.clear();
  host_.connections().for_each_open([this](Connection& connection) { left_.push_back(connection.handle()); });
  if (!running) look_at_some();
}

void SessionSweep::add(const std::vector<ConnectionHandle>& sessions) {
  const bool running = !left_.empty();
  left_.insert(left_.end(), sessions.begin(), sessions.end());
  if (!running && !left_.empty()) go_on();
}

void SessionSweep::look_at_some() {
  for (std::size_t done = 0; done < kSlice && !left_.empty(); ++done) {
    Session* session = host_.find(left_.back());
    left_.pop_back();
    if (session != nullptr) look_(host_, *session);
  }
  if (!left_.empty()) go_on();
}

void SessionSweep::go_on() {
  if (!host_.worker().post([this] { look_at_some(); })) left_.clear();  // the worker is ending
}

}  // namespace dunlin
