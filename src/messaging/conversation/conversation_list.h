#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "messaging/conversation/conversation_access.h"
#include "messaging/ports/device_states.h"
#include "messaging/ports/inboxes.h"
#include "messaging/ports/timelines.h"
#include "runtime/task.h"

namespace dunlin {

// One line of a user's conversation list.
struct ConversationSummary {
  ConversationId conversation;
  UserId peer;
  MessageSeq last_seq;
  MessageSeq first_seq{1};  // lower ones were trimmed
  MessagePtr last_message;  // null when it was trimmed or cannot be read
  std::uint64_t unread = 0;
  MessageSeq read_seq;
  MessageSeq peer_read_seq;
  MessageSeq peer_delivered_seq;
  std::string cursor;  // of the page that begins with this line, for a reply that is cut before it
};

struct ConversationListPage {
  std::vector<ConversationSummary> conversations;
  bool more = false;
  std::string next;  // page cursor; meaningful when more
  // The same on every page: an incremental list from here finds all that changed since the first one was begun. 0 for a named list, which
  // says nothing of the others.
  InboxPosition snapshot;
};

struct ConversationListQuery {
  UserId user;
  std::size_t limit = 20;
  std::string page;                       // page cursor, empty at first; kept by the client as it is
  std::optional<InboxPosition> since;     // incremental: only what changed since. Of this epoch; the caller answers others with a full list
  std::vector<ConversationAccess> named;  // these of the user's and no others, changed or not; limit, page and since say nothing then
};

// The conversation list ("sync"). Costs store rows for the lines it returns (and stale inbox entries between them), never for the account,
// and a handful of reads for each 32 lines, whatever their number.
// Stateless; any worker. What a list names is fixed where it is begun: at the newest record of the user's that could be read then. What is
// written while its pages are read belongs to the next incremental list; the lines themselves tell how things stand when they are made.
//  - Full: by the newest record below the beginning, newest first. Each conversation once; one whose entries were coalesced across the
//    beginning meanwhile comes, or comes again, at the end.
//  - Incremental: conversations with new messages, about in the order of the first of them, each once; then those where only a read
//    position rose, which may come twice if it rises again meanwhile; some that rise meanwhile for the first time are among them.
//  - Named: those of them that have had a message, in the order given, as many as one page holds; `more` tells of a rest without a cursor.
// A page cursor names the line that its page begins with, and that line is given whatever has become of it: no page is empty behind `more`.
class ConversationList {
 public:
  ConversationList(Timelines& timelines, Inboxes& inboxes, DeviceStates& devices)
      : timelines_(timelines), inboxes_(inboxes), devices_(devices) {}

  // BadRequest when the page cursor is not one of ours.
  Task<Result<ConversationListPage>> list(ConversationListQuery query);

 private:
  struct PageCursor;
  struct Filling;
  // A line that is to be made: where the conversation stands, and the cursor of a page that would begin with it.
  struct Line {
    ConversationId conversation;
    TimelineEnd end;
    std::string cursor;
  };
  Task<Status> newest(Filling& filling, PageCursor& cursor);
  Task<Result<bool>> any_left(UserId user, const PageCursor& cursor, const std::set<ConversationId>& seen);
  Task<Status> across(Filling& filling, PageCursor& cursor);
  Task<Status> changed(Filling& filling, PageCursor& cursor);
  Task<Status> read_changed(Filling& filling, PageCursor& cursor);
  Task<Status> read_lately(Filling& filling, PageCursor& cursor);
  struct Window;
  Task<Result<InboxPage>> entries_since(UserId user, InboxPosition after, std::size_t limit);
  Task<Result<Window>> window(UserId user, const PageCursor& cursor, std::size_t step);
  Task<Status> add(Filling& filling, PageCursor& cursor, std::vector<ConversationId> conversations);
  Task<Status> add(Filling& filling, PageCursor& cursor, std::vector<ReadChange> changes);
  Task<Status> add(Filling& filling, std::vector<Line> lines);
  Task<Result<std::vector<ConversationSummary>>> summaries(UserId user, std::vector<Line> lines);

  Timelines& timelines_;
  Inboxes& inboxes_;
  DeviceStates& devices_;
};

}  // namespace dunlin
