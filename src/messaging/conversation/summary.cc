// What the lines of the conversation list are made of.
#include <algorithm>

#include "messaging/conversation/conversation_list.h"
#include "messaging/model/conversation.h"

namespace dunlin {
namespace {

// Of one read over messages of which the first could not be given.
constexpr std::size_t kPage = 100;
constexpr std::size_t kPageBytes = 64 * 1024;

// The message at `read`, or the first behind it that can be read: what lies between counts for nothing. Nothing: all is read.
std::optional<RangeQuery> first_unread(const ConversationId& conversation, const ConversationHead& head, MessageSeq read) {
  if (read >= head.last_seq) return std::nullopt;
  return RangeQuery{conversation, std::max(read, MessageSeq(1)), head.last_seq, 1, 1, false};
}

// Messages of others behind `read`: a pure function of the timeline and the read position. Trimmed and unreadable messages do not count.
// `page`: what the store gave for `query`, which first_unread() made.
Task<Result<std::uint64_t>> count_unread(Timelines& timelines, bool is_first_user, ConversationHead head, MessageSeq read, RangeQuery query,
                                         RangePage page) {
  // Gaps alone, and more behind them.
  while (page.messages.empty() && page.more && !page.gaps.empty()) {
    query.from = page.gaps.back().to.next();
    query.max_messages = kPage;
    query.max_bytes = kPageBytes;
    CO_TRY_ASSIGN(page, co_await timelines.range(query));
  }
  if (page.messages.empty()) co_return std::uint64_t{0};
  const Message& base = *page.messages.front();
  const auto others = [&](std::uint64_t seq, std::uint64_t first_user_count) {
    return is_first_user ? seq - first_user_count : first_user_count;
  };
  std::uint64_t base_seq = base.seq().value();
  std::uint64_t base_count = base.place().first_user_count;
  if (base.seq() > read) {
    --base_seq;
    const auto pair = parse_private(base.conversation());
    if (pair && base.sender() == pair->first) --base_count;
  }
  co_return others(head.last_seq.value(), head.first_user_count) - others(base_seq, base_count);
}

// How far the farthest of a user's devices has got in a conversation: `seq`, or further if the position says so.
struct Delivered {
  MessageSeq seq;
  InboxPosition position;  // 0: says nothing
};

Delivered delivered_to(const Epoch& epoch, const std::vector<DeviceRow>& devices, const ConversationId& conversation) {
  Delivered out;
  for (const DeviceRow& row : devices) {
    if (row.cursor.epoch != epoch) continue;
    if (const auto at = row.cursor.exceptions.find(conversation); at != row.cursor.exceptions.end()) {
      out.seq = std::max(out.seq, at->second);
    } else {
      out.position = std::max(out.position, row.cursor.position);
    }
  }
  return out;
}

}  // namespace

Task<Result<std::vector<ConversationSummary>>> ConversationList::summaries(UserId user, std::vector<Line> lines) {
  std::vector<ConversationSummary> out(lines.size());
  std::vector<ReadKey> keys;
  std::vector<UserId> peers;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto pair = parse_private(lines[i].conversation.view());
    if (!pair) co_return Error(ErrorCode::Internal, "not a private conversation");
    out[i].conversation = lines[i].conversation;
    out[i].peer = UserId(pair->peer_of(user.view()));
    out[i].last_seq = lines[i].end.head.last_seq;
    out[i].first_seq = lines[i].end.head.first_readable;
    out[i].last_message = lines[i].end.last;
    // One's own notes too, so that each line has two keys; they are equal then.
    keys.push_back({user, lines[i].conversation});
    keys.push_back({out[i].peer, lines[i].conversation});
    peers.push_back(out[i].peer);
  }
  CO_TRY_ASSIGN(const std::vector<MessageSeq> read, co_await devices_.read_positions(std::move(keys)));
  CO_TRY_ASSIGN(const std::vector<std::vector<DeviceRow>> devices, co_await devices_.devices_of(std::move(peers)));
  if (read.size() != 2 * lines.size() || devices.size() != lines.size()) co_return Error(ErrorCode::Internal, "rows are missing");

  std::vector<RangeQuery> unread;
  std::vector<std::size_t> unread_of;
  std::vector<SeqQuery> places;
  std::vector<std::size_t> place_of;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    ConversationSummary& line = out[i];
    line.read_seq = read[2 * i];
    if (line.peer == user) continue;  // nobody else writes or reads there
    line.peer_read_seq = read[2 * i + 1];
    if (auto query = first_unread(line.conversation, lines[i].end.head, line.read_seq)) {
      unread.push_back(*std::move(query));
      unread_of.push_back(i);
    }
    const Delivered delivered = delivered_to(timelines_.epoch(), devices[i], line.conversation);
    // What was read has come, also when the device that read it is gone.
    line.peer_delivered_seq = std::max(delivered.seq, line.peer_read_seq);
    if (delivered.position > InboxPosition(0) && line.peer_delivered_seq < line.last_seq) {
      places.push_back({line.peer, line.conversation, delivered.position});
      place_of.push_back(i);
    }
  }
  CO_TRY_ASSIGN(std::vector<RangePage> pages, co_await timelines_.ranges(unread));
  for (std::size_t n = 0; n < pages.size(); ++n) {
    ConversationSummary& line = out[unread_of[n]];
    const bool is_first = parse_private(line.conversation.view())->first == user.view();
    CO_TRY_ASSIGN(line.unread, co_await count_unread(timelines_, is_first, lines[unread_of[n]].end.head, line.read_seq,
                                                     std::move(unread[n]), std::move(pages[n])));
  }
  CO_TRY_ASSIGN(const std::vector<MessageSeq> seqs, co_await inboxes_.seqs_at(std::move(places)));
  for (std::size_t n = 0; n < seqs.size(); ++n) {
    MessageSeq& delivered = out[place_of[n]].peer_delivered_seq;
    delivered = std::max(delivered, seqs[n]);
  }
  co_return out;
}

}  // namespace dunlin
