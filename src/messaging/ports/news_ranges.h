#pragma once

#include <algorithm>
#include <vector>

#include "messaging/ports/inboxes.h"

namespace dunlin {

// Reads the ranges of a page's first entries, one after the other, until the limits of the query or the first that is not given. `after` is
// the query's position, as the entries count.
//   seq_at(conversation)                       the newest seq at or below `after`; optional
//   range(entry, RangeQuery, begins_behind)    optional<RangePage>, with nothing above the page's scanned_to; begins_behind: all of the
//   entry
//                                              lies above `after`
// False: one was not given.
template <class Entry, class Position, class SeqAt, class Range>
bool read_news_ranges(const std::vector<Entry>& entries, Position after, const NewsQuery& query, std::vector<NewsRange>& ranges,
                      SeqAt seq_at, Range range) {
  std::size_t messages = query.max_messages;
  std::size_t bytes = query.max_bytes;
  ranges.reserve(std::min(entries.size(), messages));
  for (const Entry& entry : entries) {
    if (messages == 0 || bytes == 0) return true;
    const bool begins_behind = entry.first_position > after;
    MessageSeq from = entry.first_seq;
    if (!begins_behind) {
      const auto last_known = seq_at(entry.conversation);
      if (!last_known) return false;
      from = last_known->next();
    }
    auto page = range(entry, RangeQuery{entry.conversation, from, entry.last_seq, messages, bytes, false}, begins_behind);
    if (!page) return false;
    messages -= std::min(messages, page->messages.size());
    for (const MessagePtr& message : page->messages) bytes -= std::min(bytes, message->footprint());
    ranges.push_back({from, *std::move(page)});
    if (ranges.back().page.more) return true;
  }
  return true;
}

}  // namespace dunlin
