// What one line of the conversation list is made of.
#include <algorithm>

#include "messaging/conversation/conversation_list.h"
#include "messaging/model/conversation.h"

namespace dunlin {
namespace {

// Of one read over messages of which the first could not be given.
constexpr std::size_t kPage = 100;
constexpr std::size_t kPageBytes = 64 * 1024;

}  // namespace

Task<Result<std::uint64_t>> count_unread(MessageStore& store, UserId user, ConversationId conversation, ConversationHead head,
                                         MessageSeq read) {
  const auto pair = parse_private(conversation.view());
  if (!pair || pair->first == pair->second || read >= head.last_seq) co_return std::uint64_t{0};
  // The message at `read`, or the first behind it that can be read: what lies between counts for nothing.
  RangeQuery query{conversation, std::max(read, MessageSeq(1)), head.last_seq, 1, 1, false};
  std::optional<RangePage> page;
  while (true) {
    page = store.range_in_memory(query);
    if (!page) {
      CO_TRY_ASSIGN(page, co_await store.range(query));
    }
    // Gaps alone, and more behind them.
    if (!page->messages.empty() || !page->more || page->gaps.empty()) break;
    query.from = page->gaps.back().to.next();
    query.max_messages = kPage;
    query.max_bytes = kPageBytes;
  }
  if (page->messages.empty()) co_return std::uint64_t{0};
  const Message& base = *page->messages.front();
  const bool is_first = user.view() == pair->first;
  const auto others = [&](std::uint64_t seq, std::uint64_t first_user_count) {
    return is_first ? seq - first_user_count : first_user_count;
  };
  std::uint64_t base_seq = base.seq().value();
  std::uint64_t base_count = base.place().first_user_count;
  if (base.seq() > read) {
    --base_seq;
    if (base.sender() == pair->first) --base_count;
  }
  co_return others(head.last_seq.value(), head.first_user_count) - others(base_seq, base_count);
}

Task<Result<MessageSeq>> delivered_to(MessageStore& store, const std::vector<DeviceRow>& devices, ConversationId conversation,
                                      ConversationHead head) {
  MessageSeq best;
  LogPosition farthest;  // of the devices that hold no exception for this conversation
  for (const DeviceRow& row : devices) {
    if (row.cursor.epoch != store.epoch()) continue;
    if (const auto at = row.cursor.exceptions.find(conversation); at != row.cursor.exceptions.end()) {
      best = std::max(best, at->second);
    } else {
      farthest = std::max(farthest, row.cursor.position);
    }
  }
  if (farthest >= head.last_position) co_return head.last_seq;
  if (farthest.value() == 0) co_return best;
  CO_TRY_ASSIGN(const MessageSeq seq, co_await store.seq_at(conversation, farthest));
  co_return std::max(best, seq);
}

Task<Result<ConversationSummary>> ConversationList::summary(UserId user, ConversationId conversation, ConversationHead head) {
  ConversationSummary out;
  out.conversation = conversation;
  out.last_seq = head.last_seq;
  const auto pair = parse_private(conversation.view());
  if (!pair) co_return Error(ErrorCode::Internal, "not a private conversation");
  out.peer = UserId(pair->peer_of(user.view()));
  const RangeQuery last{conversation, head.last_seq, head.last_seq, 1, 1, false};
  std::optional<RangePage> page = store_.range_in_memory(last);
  if (!page) {
    CO_TRY_ASSIGN(page, co_await store_.range(last));
  }
  if (!page->messages.empty()) out.last_message = page->messages.front();
  std::vector<ReadKey> keys{{user, conversation}};
  if (out.peer != user) keys.push_back({out.peer, conversation});
  CO_TRY_ASSIGN(const std::vector<MessageSeq> read, co_await state_.read_positions(std::move(keys)));
  if (read.empty()) co_return Error(ErrorCode::Internal, "no read positions");
  out.read_seq = read.front();
  CO_TRY_ASSIGN(out.unread, co_await count_unread(store_, user, conversation, head, out.read_seq));
  if (out.peer == user) co_return out;
  out.peer_read_seq = read.back();
  CO_TRY_ASSIGN(const std::vector<DeviceRow> devices, co_await state_.devices(out.peer));
  CO_TRY_ASSIGN(out.peer_delivered_seq, co_await delivered_to(store_, devices, conversation, head));
  co_return out;
}

}  // namespace dunlin
