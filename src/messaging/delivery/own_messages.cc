#include "messaging/delivery/own_messages.h"

#include <algorithm>

namespace dunlin {

bool OwnMessages::add(std::string_view conversation, MessageSeq seq) {
  auto at = runs_.find(conversation);
  if (at != runs_.end()) {
    Run& last = at->second.back();
    if (seq >= last.from && seq <= last.to.next()) {
      last.to = std::max(last.to, seq);
      return true;
    }
    if (seq < last.from) return contains(conversation, seq);  // the answer to a repeat: it stands where it stood
  }
  const std::size_t more = sizeof(Run) + (at == runs_.end() ? kNameOverhead + conversation.size() : 0);
  if (bytes_ + more > max_bytes_) return false;
  if (at == runs_.end()) at = runs_.emplace(conversation, std::vector<Run>()).first;
  at->second.push_back({seq, seq});
  bytes_ += more;
  return true;
}

bool OwnMessages::contains(std::string_view conversation, MessageSeq seq) const {
  const auto at = runs_.find(conversation);
  if (at == runs_.end()) return false;
  const auto run = std::ranges::lower_bound(at->second, seq, {}, &Run::to);
  return run != at->second.end() && run->from <= seq;
}

void OwnMessages::drop_through(std::string_view conversation, MessageSeq seq) {
  const auto at = runs_.find(conversation);
  if (at == runs_.end()) return;
  const auto keep = std::ranges::upper_bound(at->second, seq, {}, &Run::to);
  if (keep == at->second.end()) {
    erase(at);
    return;
  }
  bytes_ -= static_cast<std::size_t>(keep - at->second.begin()) * sizeof(Run);
  at->second.erase(at->second.begin(), keep);
}

OwnMessages::Runs::iterator OwnMessages::erase(Runs::iterator at) {
  bytes_ -= cost(*at);
  return runs_.erase(at);
}

}  // namespace dunlin
