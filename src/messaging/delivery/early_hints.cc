#include "messaging/delivery/early_hints.h"

#include <map>
#include <utility>

namespace dunlin {

bool EarlyHints::add(SessionDelivery& session, Hint hint, std::uint32_t now_ms) {
  const std::size_t bytes = cost(hint);
  const auto at = waiting_.find(&session);
  const std::size_t before = at == waiting_.end() ? 0 : at->second.bytes;
  if (before + bytes > options_.session_bytes || bytes_ + bytes > options_.bytes) return false;
  Waiting& waiting = waiting_[&session];
  if (waiting.hints.empty()) waiting.number = ++came_;
  waiting.hints.push_back({std::move(hint), now_ms});
  waiting.bytes += bytes;
  bytes_ += bytes;
  return true;
}

std::vector<EarlyHints::Early>* EarlyHints::of(SessionDelivery& session) {
  const auto at = waiting_.find(&session);
  return at == waiting_.end() ? nullptr : &at->second.hints;
}

void EarlyHints::settle(SessionDelivery& session) {
  const auto at = waiting_.find(&session);
  if (at == waiting_.end()) return;
  bytes_ -= at->second.bytes;
  at->second.bytes = 0;
  for (const Early& early : at->second.hints) at->second.bytes += cost(early.hint);
  bytes_ += at->second.bytes;
  if (at->second.hints.empty()) waiting_.erase(at);
}

std::vector<EarlyHints::Early> EarlyHints::take(SessionDelivery& session) {
  const auto at = waiting_.find(&session);
  if (at == waiting_.end()) return {};
  std::vector<Early> out = std::move(at->second.hints);
  bytes_ -= at->second.bytes;
  waiting_.erase(at);
  return out;
}

std::vector<SessionDelivery*> EarlyHints::overdue(std::uint32_t now_ms) const {
  std::map<std::uint64_t, SessionDelivery*> due;
  for (const auto& [session, waiting] : waiting_) {
    const std::uint32_t waited = now_ms - waiting.hints.front().came_ms;
    if (waited >= static_cast<std::uint32_t>(options_.wait.count())) due.emplace(waiting.number, session);
  }
  std::vector<SessionDelivery*> out;
  for (const auto& [number, session] : due) out.push_back(session);
  return out;
}

}  // namespace dunlin
