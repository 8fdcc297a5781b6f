#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/siphash.h"
#include "messaging/model/message.h"
#include "messaging/ports/timelines.h"

namespace dunlin {

// One conversation's records in memory, whoever gives their order. No locks, no waits.
struct MemoryTimeline {
  ConversationHead head;
  std::vector<MessagePtr> messages;  // those that are not trimmed: seqs head.first_readable .. head.last_seq
  std::set<MessageSeq> recalled;     // of them: without content, and shown as gaps

  // The place of the next message, which head knows from then on; without a position.
  MessagePlace take_place(const Message& message, std::uint64_t time_ms);

  // As Timelines::ranges() has it, up to `to`, but for what is recalled: see hide().
  RangePage read(const RangeQuery& query, MessageSeq to) const;
  void hide(RangePage& page, bool newest_first) const;

  // One that is not trimmed.
  const MessagePtr& at(MessageSeq seq) const { return messages[seq.value() - head.first_readable.value()]; }
  // True: there is such a seq. `gone`: the message that it has taken the content of, if this call has.
  bool recall(MessageSeq seq, MessagePtr& gone);
};

// What tells that a message came before, and whether it was the same.
std::string dedup_key(const Message& message);
std::uint64_t dedup_digest(const SipKey& key, const Message& message);

}  // namespace dunlin
