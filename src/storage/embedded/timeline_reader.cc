#include "storage/embedded/timeline_reader.h"

#include <algorithm>

#include "storage/embedded/history/page_builder.h"

namespace dunlin::embedded {
namespace {

// The asked interval within what exists.
RangeQuery clamp(const RangeQuery& query, const ConversationHead& head) {
  RangeQuery out = query;
  out.from = std::max(query.from, MessageSeq(1));
  out.to = std::min(query.to, head.last_seq);
  return out;
}

// Whether the copied run ends where the asked interval or the window does, not at a limit of the page.
bool copied_all(const std::vector<std::pair<MessageSeq, MessagePtr>>& messages, const RangeQuery& asked, MessageSeq window_first) {
  if (messages.empty()) return true;
  const MessageSeq last = messages.back().first;
  return asked.newest_first ? last <= std::max(asked.from, window_first) : last >= asked.to;
}

void add_all(PageBuilder& page, std::vector<std::pair<MessageSeq, MessagePtr>>& messages) {
  for (auto& [seq, message] : messages) {
    if (page.done()) return;
    if (message) page.add(std::move(message));
  }
}

// The part of history, both in the asked direction. Gaps of what is missing come by themselves.
void add_part(PageBuilder& page, const RangeQuery& asked, RangePage& part) {
  auto gap = part.gaps.begin();
  const auto hide_before = [&](const MessageSeq* seq) {
    for (; gap != part.gaps.end() && !page.done(); ++gap) {
      if (gap->reason != GapReason::NotVisible) continue;
      if (seq != nullptr && (asked.newest_first ? gap->to < *seq : gap->from > *seq)) return;
      page.hide(gap->from, gap->to);
    }
  };
  for (MessagePtr& message : part.messages) {
    const MessageSeq seq = message->seq();
    hide_before(&seq);
    if (page.done()) return;
    page.add(std::move(message));
  }
  hide_before(nullptr);
}

// The part of the window. Lost ones at its end are told too, so that a page of nothing else leads on all the same.
void add_window(PageBuilder& page, std::vector<std::pair<MessageSeq, MessagePtr>>& messages) {
  if (messages.empty()) return;
  const auto last = messages.back();
  add_all(page, messages);
  if (!last.second && !page.done()) page.missing_to(last.first);
}

}  // namespace

TimelineReader::Snapshot TimelineReader::snapshot(const ConversationId& id, const RangeQuery* query, LogPosition trimmed_through) {
  Snapshot out;
  const std::size_t hash = Conversations::hash_of(id.view());
  Conversations::Shard& shard = conversations_.shard_of(hash);
  ConversationsLock lock(shard);
  Conversation* c = Conversations::find(shard, hash, id.view());
  if (c == nullptr || !c->loaded) return out;
  c->used = true;
  out.known = true;
  out.head = c->head;
  out.readable_known = c->readable_at == trimmed_through;
  const SeqRun& run = c->run;
  out.window_first = run.empty() ? c->head.last_seq.next() : run.first();
  if (query == nullptr) count_rows(1);
  if (query == nullptr || run.empty()) return out;
  const RangeQuery asked = clamp(*query, c->head);
  MessageSeq from = std::max(asked.from, run.first());
  if (from > asked.to) return out;
  std::size_t bytes = 0;
  for (std::uint64_t i = 0; i <= asked.to.value() - from.value() && out.messages.size() <= asked.max_messages; ++i) {
    const MessageSeq seq(asked.newest_first ? asked.to.value() - i : from.value() + i);
    const MessagePtr& message = run.at(seq);
    out.messages.emplace_back(seq, message);
    if (message) bytes += message->footprint();
    if (bytes > asked.max_bytes && out.messages.size() > 1) break;
  }
  count_rows(out.messages.size());
  return out;
}

// What a read found that may have begun before another one.
void TimelineReader::remember_readable(const ConversationId& id, MessageSeq first_readable, LogPosition trimmed_through) {
  const std::size_t hash = Conversations::hash_of(id.view());
  Conversations::Shard& shard = conversations_.shard_of(hash);
  ConversationsLock lock(shard);
  Conversation* c = Conversations::find(shard, hash, id.view());
  if (c == nullptr || !c->loaded) return;
  if (c->readable_at != Conversation::kNotKnown && c->readable_at > trimmed_through) return;
  c->head.first_readable = std::max(c->head.first_readable, first_readable);
  c->readable_at = trimmed_through;
}

std::optional<ConversationHead> TimelineReader::head_in_memory(const ConversationId& id) {
  const Snapshot memory = snapshot(id, nullptr, intake_.trimmed_through());
  if (memory.known && memory.readable_known) return memory.head;
  if (!memory.known && history_.position() == LogPosition()) return ConversationHead();
  return std::nullopt;
}

Result<ConversationHead> TimelineReader::head(const ConversationId& id) {
  Look look(*this);
  return head(look, id);
}

Result<ConversationHead> TimelineReader::head(Look& look, const ConversationId& id) {
  const Snapshot memory = snapshot(id, nullptr, look.history->trimmed_through());
  if (memory.known && memory.readable_known) return memory.head;
  TRY_ASSIGN(const auto stored, look.history->head(id));
  if (!memory.known) return stored.value_or(ConversationHead());
  ConversationHead head = memory.head;
  if (stored) head.first_readable = stored->first_readable;
  remember_readable(id, head.first_readable, look.history->trimmed_through());
  return head;
}

std::optional<RangePage> TimelineReader::range_in_memory(const RangeQuery& query) {
  const Recalls::Reading reading(recalls_);
  auto page = all_range_in_memory(query);
  if (page) reading.hide(*page, query.newest_first);
  return page;
}

std::optional<RangePage> TimelineReader::all_range_in_memory(const RangeQuery& query) {
  Snapshot memory = snapshot(query.conversation, &query, intake_.trimmed_through());
  if (!memory.known || !memory.readable_known) return std::nullopt;
  const RangeQuery asked = clamp(query, memory.head);
  PageBuilder page(asked, memory.head.first_readable);
  const MessageSeq needed = std::max(asked.from, memory.head.first_readable);  // below it nothing can be read anyway
  if (needed < memory.window_first && asked.from <= asked.to) {
    // Memory lacks the lower part: enough only if the page ends before it.
    if (!asked.newest_first) return std::nullopt;
    add_window(page, memory.messages);
    if (!page.done()) return std::nullopt;
  } else {
    add_window(page, memory.messages);
    if (!page.done() && !copied_all(memory.messages, asked, memory.window_first)) return std::nullopt;  // lost ones took the limits up
    page.missing_rest();
  }
  RangePage out = std::move(page).finish();
  out.head = memory.head;
  return out;
}

Result<RangePage> TimelineReader::range(const RangeQuery& query) {
  Look look(*this);
  return range(look, query);
}

Result<RangePage> TimelineReader::range(Look& look, const RangeQuery& query) {
  TRY_ASSIGN(RangePage page, all_range(look, query, LogPosition(0)));
  look.reading.hide(page, query.newest_first);
  return page;
}

Result<std::optional<MessagePlace>> TimelineReader::place_of(const ConversationId& conversation, MessageSeq seq) {
  Look look(*this);
  TRY_ASSIGN(const RangePage page, all_range(look, {conversation, seq, seq, 1, 1, false}, LogPosition(0)));
  return page.messages.empty() ? std::optional<MessagePlace>() : page.messages.front()->place();
}

Result<RangePage> TimelineReader::all_range(Look& look, const RangeQuery& query, LogPosition newer_than) {
  Snapshot memory = snapshot(query.conversation, &query, look.history->trimmed_through());
  std::optional<ConversationHead> stored;
  // What memory knows needs no row, but where rows have been trimmed: what it knows of that may be older than this look.
  if (memory.known && memory.readable_known && look.history->trimmed_through() == LogPosition(0)) {
    stored = memory.head;
  } else {
    TRY_ASSIGN(stored, look.history->head(query.conversation));
    if (!memory.known) {
      if (!stored) return RangePage{};
      memory.head = *stored;
      memory.window_first = stored->last_seq.next();
    } else if (stored) {
      memory.head.first_readable = stored->first_readable;
      remember_readable(query.conversation, stored->first_readable, look.history->trimmed_through());
    }
  }
  const RangeQuery asked = clamp(query, memory.head);
  PageBuilder page(asked, memory.head.first_readable);
  if (asked.newest_first) add_window(page, memory.messages);
  if (stored && !page.done() && asked.from < memory.window_first && asked.from <= asked.to) {
    RangeQuery older = asked;
    if (asked.newest_first) {
      older.to = std::min(page.next(), memory.window_first.prev());
    } else {
      older.to = std::min(asked.to, memory.window_first.prev());
    }
    if (older.from <= older.to) {
      TRY_ASSIGN(RangePage part, look.history->range(*stored, older, newer_than));
      MessageSeq edge = older.newest_first ? older.to.next() : older.from.prev();  // how far the part reaches
      if (!part.messages.empty()) edge = part.messages.back()->seq();
      for (const SeqGap& gap : part.gaps) edge = older.newest_first ? std::min(edge, gap.from) : std::max(edge, gap.to);
      add_part(page, asked, part);
      const bool behind = older.newest_first ? edge <= page.next() && edge >= older.from : edge >= page.next() && edge <= older.to;
      if (!page.done() && behind) page.missing_to(edge);
      if (part.more) {
        RangePage out = std::move(page).finish();
        out.head = memory.head;
        out.more = true;
        return out;
      }
    }
  }
  if (!asked.newest_first) add_window(page, memory.messages);
  // The window was copied only as far as the limits reach: what is left behind that is "more", not missing.
  if (copied_all(memory.messages, asked, memory.window_first)) page.missing_rest();
  RangePage out = std::move(page).finish();
  out.head = memory.head;
  return out;
}

std::optional<MessageSeq> TimelineReader::seq_at_in_memory(const ConversationId& id, LogPosition position) {
  const std::size_t hash = Conversations::hash_of(id.view());
  Conversations::Shard& shard = conversations_.shard_of(hash);
  ConversationsLock lock(shard);
  const Conversation* c = Conversations::find(shard, hash, id.view());
  if (c == nullptr || !c->loaded) return std::nullopt;
  count_rows(1);
  return Window::seq_at(*c, position);
}

Result<MessageSeq> TimelineReader::seq_at(const ConversationId& id, LogPosition position) {
  Look look(*this);
  return seq_at(look, id, position);
}

Result<MessageSeq> TimelineReader::seq_at(Look& look, const ConversationId& id, LogPosition position) {
  if (const auto seq = seq_at_in_memory(id, position)) return *seq;
  TRY_ASSIGN(const auto stored, look.history->head(id));
  if (!stored) return MessageSeq();
  return look.history->seq_at(*stored, position);
}

}  // namespace dunlin::embedded
