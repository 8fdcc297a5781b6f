#include "storage/memory/memory_timeline.h"

#include <algorithm>
#include <utility>

#include "messaging/model/conversation.h"
#include "messaging/ports/hidden_messages.h"

namespace dunlin {

MessagePlace MemoryTimeline::take_place(const Message& message, std::uint64_t time_ms) {
  const auto pair = parse_private(message.conversation());
  MessagePlace place;
  place.seq = head.last_seq = head.last_seq.next();
  place.time_ms = time_ms;
  place.conversation_number = head.number;
  if (pair && message.sender() == pair->first) ++head.first_user_count;
  place.first_user_count = head.first_user_count;
  return place;
}

RangePage MemoryTimeline::read(const RangeQuery& query, MessageSeq end) const {
  RangePage page;
  page.head = head;
  const std::uint64_t from = std::max<std::uint64_t>(query.from.value(), 1);
  const std::uint64_t to = end.value();
  if (from > to) return page;
  const std::uint64_t readable = std::max(from, head.first_readable.value());
  const bool trimmed = from < readable;
  const SeqGap gap{MessageSeq(from), MessageSeq(std::min(to, readable - 1)), GapReason::Truncated};
  if (trimmed && !query.newest_first) page.gaps.push_back(gap);
  std::size_t bytes = 0;
  for (std::uint64_t i = 0; readable + i <= to; ++i) {
    const MessagePtr& message = at(MessageSeq(query.newest_first ? to - i : readable + i));
    bytes += message->footprint();
    if (!page.messages.empty() && (page.messages.size() >= query.max_messages || bytes > query.max_bytes)) {
      page.more = true;
      break;
    }
    page.messages.push_back(message);
  }
  if (trimmed && query.newest_first && !page.more) page.gaps.push_back(gap);
  return page;
}

void MemoryTimeline::hide(RangePage& page, bool newest_first) const {
  if (recalled.empty()) return;
  hide_messages(page, newest_first, [&](const Message& message) { return recalled.contains(message.seq()); });
}

bool MemoryTimeline::recall(MessageSeq seq, MessagePtr& gone) {
  if (seq == MessageSeq(0) || seq > head.last_seq) return false;
  if (seq < head.first_readable || !recalled.insert(seq).second) return true;
  MessagePtr& message = messages[seq.value() - head.first_readable.value()];
  gone = std::exchange(message, Message::recalled(*message));
  return true;
}

std::string dedup_key(const Message& message) {
  std::string key;
  for (const std::string_view part : {message.conversation(), message.sender(), message.client_msg_id()}) {
    key.append(part);
    key.push_back('\0');
  }
  return key;
}

std::uint64_t dedup_digest(const SipKey& key, const Message& message) {
  std::string text(message.content_type());
  text.push_back('\0');
  text.append(message.body());
  return siphash64(key, text);
}

}  // namespace dunlin
