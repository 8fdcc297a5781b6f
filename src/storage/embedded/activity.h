#pragma once

#include <utility>
#include <vector>

#include "base/ids.h"
#include "messaging/ports/feed.h"
#include "messaging/ports/inboxes.h"
#include "messaging/ports/one_order.h"

// What window and history say of a user's activity, in positions of the log: which here are those of every inbox (StoreParts turns them
// into the port's, unchanged).
namespace dunlin::embedded {

// As InboxEntry.
struct ActivityEntry {
  ConversationId conversation;
  MessageSeq first_seq;
  MessageSeq last_seq;
  LogPosition first_position;
  LogPosition last_position;
};

// As InboxPage.
struct ActivityPage {
  std::vector<ActivityEntry> entries;
  bool more = false;
  LogPosition scanned_to;
  bool truncated = false;
};

// As NewsPage.
struct News {
  ActivityPage activity;
  std::vector<NewsRange> ranges;
};

inline InboxPage to_page(ActivityPage page) {
  InboxPage out{{}, page.more, to_inbox(page.scanned_to), page.truncated};
  out.entries.reserve(page.entries.size());
  for (ActivityEntry& entry : page.entries) {
    out.entries.push_back(
        {std::move(entry.conversation), entry.first_seq, entry.last_seq, to_inbox(entry.first_position), to_inbox(entry.last_position)});
  }
  return out;
}

struct PlaceQuery {
  ConversationId conversation;
  LogPosition position;
};

}  // namespace dunlin::embedded
