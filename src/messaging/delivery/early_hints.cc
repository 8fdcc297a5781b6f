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
  if (waiting.hints.empty()) {
    waiting.since_ms = now_ms;
    waiting.number = ++came_;
  }
  waiting.hints.push_back(std::move(hint));
  waiting.bytes += bytes;
  bytes_ += bytes;
  return true;
}

std::vector<Hint>* EarlyHints::of(SessionDelivery& session) {
  const auto at = waiting_.find(&session);
  return at == waiting_.end() ? nullptr : &at->second.hints;
}

void EarlyHints::settle(SessionDelivery& session) {
  const auto at = waiting_.find(&session);
  if (at == waiting_.end()) return;
  bytes_ -= at->second.bytes;
  at->second.bytes = 0;
  for (const Hint& hint : at->second.hints) at->second.bytes += cost(hint);
  bytes_ += at->second.bytes;
  if (at->second.hints.empty()) waiting_.erase(at);
}

std::vector<Hint> EarlyHints::take(SessionDelivery& session) {
  const auto at = waiting_.find(&session);
  if (at == waiting_.end()) return {};
  std::vector<Hint> out = std::move(at->second.hints);
  bytes_ -= at->second.bytes;
  waiting_.erase(at);
  return out;
}

std::vector<SessionDelivery*> EarlyHints::overdue(std::uint32_t now_ms) const {
  std::map<std::uint64_t, SessionDelivery*> due;
  for (const auto& [session, waiting] : waiting_) {
    if (now_ms - waiting.since_ms >= static_cast<std::uint32_t>(options_.wait.count())) due.emplace(waiting.number, session);
  }
  std::vector<SessionDelivery*> out;
  for (const auto& [number, session] : due) out.push_back(session);
  return out;
}

}  // namespace dunlin
