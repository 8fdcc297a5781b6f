#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"
#include "messaging/model/conversation.h"
#include "messaging/ports/outcomes.h"
#include "messaging/ports/timelines.h"

// What stores of one order share: they have one log, and a record stands in everybody's inbox where it stands there
// (MessagePlace::position).
namespace dunlin {

inline InboxPosition to_inbox(LogPosition position) {
  return InboxPosition(position.value());
}
inline LogPosition to_log(InboxPosition position) {
  return LogPosition(position.value());
}

// What memory knows when it is asked how long it is quiet for a user: each read in this order, since what is settled was told before, and
// what was told shows in the listener's count, as long as he is online.
struct QuietLook {
  InboxPosition settled;              // all up to it was told
  std::optional<InboxPosition> told;  // StoreListener::told(); it knows nothing of what earlier runs have told
  std::optional<bool> active;         // memory has something of his above `after`, answered perhaps and not told yet; nothing: cannot tell
  InboxPosition began_at;             // where this run did
  InboxPosition trimmed;              // what was trimmed has to be told too
};

// Inboxes::quiet_through().
inline std::optional<InboxPosition> quiet_in_one_order(InboxPosition after, const QuietLook& look) {
  if (look.active == true) return std::nullopt;
  if (look.told && std::max(*look.told, look.began_at) <= after) return std::max(after, look.settled);
  if (!look.active || after < look.trimmed) return std::nullopt;
  return std::max({after, look.settled, look.told.value_or(InboxPosition())});
}

// Ends an ascending page before the first message above the position. A gap before that stays: where it stands nobody knows.
inline void cut_range(RangePage& page, LogPosition through) {
  const auto above = std::ranges::find_if(page.messages, [&](const MessagePtr& message) { return message->place().position > through; });
  if (above == page.messages.end()) return;
  const MessageSeq end = (*above)->seq();
  page.messages.erase(above, page.messages.end());
  std::erase_if(page.gaps, [&](const SeqGap& gap) { return gap.from > end; });
  page.more = false;
}

// The news of a batch, for StoreListener::on_records(): each record for both users of its private conversation. Kept by the store's thread,
// for its memory; take() before on_answers(), which moves from the outcomes.
class BatchNews {
 public:
  std::span<const InboxNews> take(std::span<const AppendOutcome> outcomes) {
    told_.clear();
    news_.clear();
    for (const AppendOutcome& outcome : outcomes) {
      if (outcome.stored_now()) told_.push_back({outcome.message, outcome.reply.connection});
    }
    for (const ToldRecord& record : told_) {
      const auto pair = parse_private(record.message->conversation());
      if (!pair) continue;
      const MessageSeq seq = record.message->seq();
      InboxNews news{pair->first, {&record, 1}, true, to_inbox(record.message->place().position), std::nullopt, seq, seq};
      news_.push_back(news);
      if (pair->second == pair->first) continue;
      news.user = pair->second;
      news_.push_back(news);
    }
    return news_;
  }
  // Lets go of the records.
  void clear() {
    told_.clear();
    news_.clear();
  }

 private:
  std::vector<ToldRecord> told_;
  std::vector<InboxNews> news_;
};

}  // namespace dunlin
