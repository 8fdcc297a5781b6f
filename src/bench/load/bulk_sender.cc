#include "bench/load/bulk_sender.h"

#include <fmt/format.h>

#include <algorithm>

namespace dunlin::bench {

BulkSender::BulkSender(LoadLoop& loop, const ServerProcess& server, std::string prefix, std::uint32_t senders, std::uint32_t in_flight)
    : Fleet(loop, server), in_flight_(in_flight), senders_(senders) {
  for (std::uint32_t i = 0; i < senders; ++i) add(fmt::format("{}{}", prefix, i));
}

void BulkSender::queue(std::uint32_t sender, std::string to, std::uint32_t count, std::shared_ptr<const std::string> body) {
  senders_[sender].jobs.push_back({std::move(to), count, std::move(body)});
  queued_ += count;
}

Status BulkSender::send_all(std::chrono::milliseconds limit) {
  const bool done = loop().run_for(limit, [&] {
    pump();
    return problems() > 0 || is_idle();
  });
  if (problems() > 0) return Error(ErrorCode::Io, "preparing: " + problem());
  if (!done) return Error(ErrorCode::Timeout, fmt::format("preparing: {} of {} messages acked in time", acked_, queued_));
  return {};
}

void BulkSender::pump() {
  for (std::uint32_t i = 0; i < senders_.size(); ++i) fill(i);
}

void BulkSender::fill(std::uint32_t index) {
  Sender& sender = senders_[index];
  const LoadClient& from = client(index);
  if (sender.refused > 0) {
    repeat_refused(index);
    return;
  }
  while (!sender.jobs.empty() && sender.window.size() < in_flight_ && from.connected) {
    Job& job = sender.jobs.front();
    sender.window.push_back({++sender.sent, job.to, job.body});
    transmit(from, sender.window.back());
    if (--job.left == 0) sender.jobs.pop_front();
  }
}

void BulkSender::transmit(const LoadClient& from, const Sent& message) {
  packet_.clear();
  fmt::format_to(std::back_inserter(packet_), R"({{"id":{},"send":{{"to":"{}","client_msg_id":"{}-{}","body":{}}}}})", message.number,
                 message.to, from.session, message.number, *message.body);
  from.link->send(packet_);
}

// Once every answer is there and the pause is over, those that were refused go out again, in order.
void BulkSender::repeat_refused(std::uint32_t index) {
  Sender& sender = senders_[index];
  if (sender.refused != sender.window.size() || std::chrono::steady_clock::now() < sender.retry_at || !client(index).connected) return;
  sender.refused = 0;
  for (Sent& message : sender.window) {
    message.refused = false;
    transmit(client(index), message);
  }
}

void BulkSender::on_client_packet(std::uint32_t index, const ScannedPacket& packet) {
  if (packet.kind != "send") return;  // receipts and such
  Sender& sender = senders_[index];
  const auto found = std::find_if(sender.window.begin(), sender.window.end(),
                                  [&](const Sent& message) { return message.number == packet.id && !message.refused; });
  const bool stored = member(packet.content, "durability") == R"("fsync")" && member(packet.content, "duplicate") == "false";
  if (found == sender.window.end() || !stored) {
    report_problem(index, fmt::format("send {} was answered {}", packet.id.value_or(0), packet.content));
    return;
  }
  sender.window.erase(found);
  ++acked_;
  fill(index);
}

bool BulkSender::on_client_error(std::uint32_t index, const ScannedPacket& packet) {
  if (packet.kind != "error" || member(packet.content, "temporary") != "true") return false;
  Sender& sender = senders_[index];
  const auto found = std::find_if(sender.window.begin(), sender.window.end(),
                                  [&](const Sent& message) { return message.number == packet.id && !message.refused; });
  if (found == sender.window.end()) return false;
  found->refused = true;
  ++sender.refused;
  sender.retry_at = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
  return true;
}

}  // namespace dunlin::bench
