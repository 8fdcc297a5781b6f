#include <rocksdb/db.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "storage/embedded/history/page_builder.h"
#include "storage/embedded/history/rocks_history.h"
#include "storage/embedded/history/salvage.h"
#include "storage/embedded/history/timeline_cursor.h"

namespace dunlin::embedded {
namespace {

// Rows looked for one by one in a single page around damage: each costs a look into every file.
constexpr std::uint64_t kSalvagePageRows = 256;

// One range read inside one catalog. Volumes hold ascending spans of positions, and so of a conversation's seqs.
class RangeRead {
 public:
  RangeRead(Reading& reading, const ConversationHead& head, const RangeQuery& query, LogPosition newer_than, MessageSeq first_readable,
            Damage& damage)
      : reading_(reading), number_(head.number), query_(query), newer_than_(newer_than), damage_(damage), page_(query, first_readable) {
    const auto& volumes = reading.catalog().volumes;
    for (auto volume = volumes.rbegin(); volume != volumes.rend(); ++volume) {
      if (volume->span.first <= head.last_position && volume->span.last > newer_than) newest_first_.push_back(volume->timeline);
    }
    // What is known to be trimmed needs no look.
    if (!query.newest_first) page_.skip_to(std::min(first_readable, query.to));
    readable_from_ = std::max(query.from, first_readable);
  }

  RangePage run() && {
    const bool read = query_.newest_first ? walk_down() : walk_up();
    if (read) {
      page_.missing_rest();
    } else {
      salvage();
    }
    return std::move(page_).finish();
  }

 private:
  // False when damage stopped the walk.
  bool walk_down() {
    for (const auto& timeline : newest_first_) {
      if (page_.done() || page_.next() < readable_from_) return true;
      TimelineCursor rows(reading_, timeline, number_, newer_than_);
      for (rows.seek_back(page_.next()); rows.valid() && rows.seq() >= readable_from_ && !page_.done(); rows.previous()) take(rows);
      if (rows.damaged()) return found(rows);
    }
    return true;
  }

  bool walk_up() {
    // From the newest volume back to the one that holds the first seq asked for; an older one has only lower seqs.
    std::vector<TimelineCursor> cursors;
    for (const auto& timeline : newest_first_) {
      if (page_.done()) return true;
      TimelineCursor rows(reading_, timeline, number_, newer_than_);
      rows.seek(page_.next());
      if (rows.damaged()) return found(rows);
      if (rows.valid()) {
        const bool at_first = rows.seq() == page_.next();
        cursors.push_back(std::move(rows));
        if (at_first) break;
        continue;
      }
      rows.seek_back(page_.next());
      if (rows.damaged()) return found(rows);
      if (rows.valid()) break;
    }
    for (auto rows = cursors.rbegin(); rows != cursors.rend(); ++rows) {
      for (; rows->valid() && rows->seq() <= query_.to && !page_.done(); rows->next()) take(*rows);
      if (rows->damaged()) return found(*rows);
    }
    return true;
  }

  void take(TimelineCursor& rows) {
    MessagePtr message = decode_record(rows.key(), rows.value());
    if (message) {
      page_.add(std::move(message));
    } else {
      page_.skip_to(rows.seq());
      if (!page_.done()) page_.missing_to(rows.seq());
      if (!is_lost_record(rows.key(), rows.value())) damage_.row_found(rows.column(), "timeline");
    }
  }

  bool found(TimelineCursor& rows) {
    damage_.found(rows.column(), rows.status());
    return false;
  }

  void salvage() {
    Salvage rows(newest_first_, number_);
    std::optional<SeqGap> lost;
    for (std::uint64_t looked = 0; !page_.done() && looked < kSalvagePageRows; ++looked) {
      const MessageSeq seq = page_.next();
      if (seq < readable_from_) {
        page_.missing_rest();
        break;
      }
      reading_.rows_read().fetch_add(1, std::memory_order_relaxed);
      const auto value = rows.row(seq);
      MessagePtr message = value ? decode_record(TimelineKey(number_, seq).view(), *value) : MessagePtr();
      if (message) {
        page_.add(std::move(message));
        continue;
      }
      page_.missing_to(seq);
      lost = SeqGap{lost ? std::min(lost->from, seq) : seq, lost ? std::max(lost->to, seq) : seq, GapReason::Corrupt};
    }
    if (lost) damage_.rows_lost(query_.conversation, *lost);
  }

  Reading& reading_;
  const std::uint64_t number_;
  const RangeQuery& query_;
  const LogPosition newer_than_;
  Damage& damage_;
  PageBuilder page_;
  std::vector<ColumnPtr> newest_first_;
  MessageSeq readable_from_;
};

}  // namespace

Result<std::optional<ConversationHead>> RocksHistory::stored_head(const Catalog& catalog, std::string_view conversation) {
  const std::string key = heads_key(conversation);
  rocksdb::PinnableSlice value;
  rows_read_.fetch_add(1, std::memory_order_relaxed);
  rocksdb::ReadOptions options;
  options.snapshot = catalog.view.get();
  const rocksdb::Status status = db_->Get(options, catalog.heads->handle(), key, &value);
  if (status.IsNotFound()) return std::optional<ConversationHead>();
  if (!status.ok()) {
    if (is_damage(status)) damage_.found(*catalog.heads, status);
    return rocks_error("head of a conversation", status);
  }
  auto head = decode_head(key, {value.data(), value.size()});
  if (!head) {
    damage_.row_found(*catalog.heads, "head");
    return Error(ErrorCode::Corrupt, "head of a conversation");
  }
  return head;
}

Result<std::optional<ConversationHead>> RocksHistory::head(const ConversationId& conversation) {
  Reading now(catalog(), rows_read_);
  return head(now, conversation);
}

Result<std::optional<ConversationHead>> RocksHistory::head(Reading& now, const ConversationId& conversation) {
  TRY_ASSIGN(auto head, stored_head(now.catalog(), conversation.view()));
  if (head) head->first_readable = first_readable(now, *head);
  return head;
}

// The oldest row that is left tells it: its `previous` is the place of the row before it.
MessageSeq RocksHistory::first_readable(Reading& now, const ConversationHead& stored) {
  const Catalog& catalog = now.catalog();
  if (catalog.watermark == LogPosition(0)) return MessageSeq(1);
  if (stored.last_position <= catalog.watermark) return stored.last_seq.next();
  for (const auto& volume : catalog.volumes) {
    TimelineCursor rows(now, volume.timeline, stored.number);
    rows.seek(MessageSeq(1));
    if (rows.damaged()) damage_.found(rows.column(), rows.status());
    if (!rows.valid()) continue;
    const auto positions = peek_record(rows.value());
    if (!positions || rows.seq() == MessageSeq(1)) return rows.seq();
    // A row before it that is not trimmed is missing: that one is known to be damage, the rest counts as trimmed.
    return positions->previous > catalog.watermark ? rows.seq().prev() : rows.seq();
  }
  return stored.last_seq;  // not trimmed, yet in no volume: damage
}

// What history holds of the conversation: `head` itself when nothing of it is newer than history, else the stored row. When that row is
// damaged, the newest message that is left stands for it.
Result<std::optional<ConversationHead>> RocksHistory::head_within(Reading& now, const ConversationHead& head,
                                                                  std::string_view conversation) {
  const Catalog& catalog = now.catalog();
  if (head.number == 0) return std::optional<ConversationHead>();
  if (head.last_position <= catalog.newest.position) return std::optional(head);
  auto stored = stored_head(catalog, conversation);
  if (stored.ok() || stored.error().code() != ErrorCode::Corrupt) return stored;
  for (auto volume = catalog.volumes.rbegin(); volume != catalog.volumes.rend(); ++volume) {
    TimelineCursor rows(now, volume->timeline, head.number);
    rows.seek_back(head.last_seq);
    const auto positions = rows.valid() ? peek_record(rows.value()) : std::nullopt;
    if (!positions) continue;
    ConversationHead left = head;
    left.last_seq = rows.seq();
    left.last_position = positions->position;
    return std::optional(left);
  }
  return stored;
}

Result<RangePage> RocksHistory::range(const ConversationHead& head, const RangeQuery& query) {
  Reading now(catalog(), rows_read_);
  return range(now, head, query, LogPosition(0));
}

Result<RangePage> RocksHistory::range(Reading& now, const ConversationHead& head, const RangeQuery& query, LogPosition newer_than) {
  TRY_ASSIGN(const auto stored, head_within(now, head, query.conversation.view()));
  if (!stored) return RangePage{head, {}, {}, false};
  const MessageSeq readable = first_readable(now, *stored);
  RangeQuery within = query;
  within.from = std::max(query.from, MessageSeq(1));
  within.to = std::min(query.to, stored->last_seq);
  RangePage page = RangeRead(now, *stored, within, newer_than, readable, damage_).run();
  page.head = head;
  page.head.first_readable = readable;
  return page;
}

Result<MessageSeq> RocksHistory::seq_at(const ConversationHead& head, LogPosition position) {
  Reading now(catalog(), rows_read_);
  return seq_at(now, head, position);
}

Result<MessageSeq> RocksHistory::seq_at(Reading& now, const ConversationHead& head, LogPosition position) {
  const Catalog& catalog = now.catalog();
  // Below the watermark nobody knows: a low answer makes the caller see the gap instead of missing it.
  if (position < catalog.watermark) return MessageSeq(0);
  for (auto volume = catalog.volumes.rbegin(); volume != catalog.volumes.rend(); ++volume) {
    if (volume->span.first > position || volume->span.first > head.last_position) continue;
    TimelineCursor rows(now, volume->timeline, head.number);
    // The row's position; one that cannot be read counts as too new, since a low answer only repeats messages.
    const auto at_or_below = [&] {
      if (rows.damaged()) damage_.found(rows.column(), rows.status());
      if (!rows.valid()) return false;
      const auto positions = peek_record(rows.value());
      return positions && positions->position <= position;
    };
    rows.seek_back(MessageSeq(UINT64_MAX));
    if (at_or_below()) return rows.seq();
    if (!rows.valid()) continue;
    MessageSeq above = rows.seq();
    rows.seek(MessageSeq(1));
    if (!at_or_below()) continue;
    MessageSeq below = rows.seq();
    while (above.value() - below.value() > 1) {
      const MessageSeq middle(below.value() + (above.value() - below.value()) / 2);
      rows.seek(middle);
      if (at_or_below()) {
        if (rows.seq() <= below) break;
        below = rows.seq();
      } else {
        above = middle;
      }
    }
    return below;
  }
  if (catalog.watermark == LogPosition(0)) return MessageSeq(0);
  return first_readable(now, head).prev();
}

}  // namespace dunlin::embedded
