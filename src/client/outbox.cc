#include "client/outbox.h"

#include <algorithm>
#include <set>

namespace dunlin::client {

void Outbox::add(OutgoingMessage message) {
  entries_.push_back({std::move(message), std::nullopt, {}});
}

void Outbox::on_connected(std::string_view session) {
  session_ = session;
  count_ = 0;
  for (Entry& entry : entries_) {
    entry.under_way.reset();
    entry.not_before = {};
  }
}

std::optional<Outbox::Attempt> Outbox::next(MonotonicTime now, const std::function<wire::RequestId()>& new_id) {
  std::set<std::string_view> held_back;  // conversations in which an earlier message waits
  for (Entry& entry : entries_) {
    if (entry.under_way || held_back.contains(entry.message.to)) continue;
    if (entry.not_before > now) {
      held_back.insert(entry.message.to);
      continue;
    }
    if (entry.message.client_msg_id.empty()) entry.message.client_msg_id = session_ + "-" + std::to_string(++count_);
    entry.under_way = new_id();
    return Attempt{*entry.under_way, &entry.message};
  }
  return std::nullopt;
}

std::optional<MonotonicTime> Outbox::next_retry() const {
  std::optional<MonotonicTime> first;
  for (const Entry& entry : entries_) {
    if (!entry.under_way && entry.not_before != MonotonicTime{} && (!first || entry.not_before < *first)) first = entry.not_before;
  }
  return first;
}

bool Outbox::holds(wire::RequestId id) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.under_way == id; });
}

std::optional<OutgoingMessage> Outbox::take(wire::RequestId id) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.under_way == id; });
  if (found == entries_.end()) return std::nullopt;
  std::optional<OutgoingMessage> message(std::move(found->message));
  entries_.erase(found);
  return message;
}

std::optional<OutgoingMessage> Outbox::on_stored(wire::RequestId id) {
  return take(id);
}

std::optional<OutgoingMessage> Outbox::on_refused(wire::RequestId id, bool temporary, MonotonicTime retry_at) {
  if (!temporary) return take(id);
  for (Entry& entry : entries_) {
    if (entry.under_way != id) continue;
    entry.under_way.reset();
    entry.not_before = retry_at;
  }
  return std::nullopt;
}

}  // namespace dunlin::client
