#include "bench/load/bulk_sender.h"

#include <fmt/format.h>

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
  pump();
  const bool done = loop().run_for(limit, [&] { return problems() > 0 || is_idle(); });
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
  while (!sender.jobs.empty() && sender.sent - sender.acked < in_flight_ && from.connected) {
    Job& job = sender.jobs.front();
    packet_.clear();
    ++sender.sent;
    fmt::format_to(std::back_inserter(packet_), R"({{"id":{},"send":{{"to":"{}","client_msg_id":"{}-{}","body":{}}}}})", sender.sent,
                   job.to, from.session, sender.sent, *job.body);
    from.link->send(packet_);
    if (--job.left == 0) sender.jobs.pop_front();
  }
}

void BulkSender::on_client_packet(std::uint32_t index, const ScannedPacket& packet) {
  if (packet.kind != "send") return;  // receipts and such
  Sender& sender = senders_[index];
  const bool stored = member(packet.content, "durability") == R"("fsync")" && member(packet.content, "duplicate") == "false";
  if (!packet.id || *packet.id != sender.acked + 1 || !stored) {
    report_problem(index, fmt::format("send {} was answered {}", sender.acked + 1, packet.content));
    return;
  }
  ++sender.acked;
  ++acked_;
  fill(index);
}

}  // namespace dunlin::bench
