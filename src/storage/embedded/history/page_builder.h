#pragma once

#include "messaging/ports/timelines.h"

namespace dunlin::embedded {

// Fills a RangePage in the asked direction so that messages and gaps cover the interval without a hole: rows may be added with seqs
// left out, and what is left out becomes gaps (trimmed below first_readable, else corrupt).
class PageBuilder {
 public:
  // `query.from` and `query.to` are within what history holds of the conversation.
  PageBuilder(const RangeQuery& query, MessageSeq first_readable) : query_(query), first_readable_(first_readable) {
    next_ = query.newest_first ? query.to : query.from;
    if (query.from > query.to) done_ = true;
  }

  // The seq that the page needs next; every lower (newest first: higher) one is covered.
  MessageSeq next() const { return next_; }
  bool done() const { return done_ || full_; }

  // A message at or behind next(); a recalled one becomes a gap.
  void add(MessagePtr message) {
    const MessageSeq seq = message->seq();
    if (query_.newest_first ? seq > next_ : seq < next_) return;
    skip_to(seq);
    if (message->is_recalled()) return hide(seq, seq);
    const std::size_t size = message->footprint();
    if (!page_.messages.empty() && (page_.messages.size() >= query_.max_messages || bytes_ + size > query_.max_bytes)) {
      full_ = true;
      return;
    }
    bytes_ += size;
    page_.messages.push_back(std::move(message));
    advance_over(seq);
    if (page_.messages.size() >= query_.max_messages && !done_) full_ = true;
  }

  // What stands from `from` to `to` has been recalled; at or behind next().
  void hide(MessageSeq from, MessageSeq to) {
    skip_to(query_.newest_first ? to : from);
    if (done_) return;
    add_gap({from, to, GapReason::NotVisible});
    advance_over(query_.newest_first ? from : to);
  }

  // Nothing can be read between next() and `seq`, which itself is still to come.
  void skip_to(MessageSeq seq) {
    if (query_.newest_first ? seq < next_ : seq > next_) missing_to(query_.newest_first ? seq.next() : seq.prev());
  }
  // Nothing can be read from next() to `seq`, both included.
  void missing_to(MessageSeq seq) {
    if (done_) return;
    const MessageSeq from = std::min(next_, seq);
    const MessageSeq to = std::max(next_, seq);
    if (from < first_readable_) add_gap({from, std::min(to, first_readable_.prev()), GapReason::Truncated});
    if (to >= first_readable_) add_gap({std::max(from, first_readable_), to, GapReason::Corrupt});
    advance_over(seq);
  }
  // Nothing more can be read at all.
  void missing_rest() {
    if (!done()) missing_to(query_.newest_first ? query_.from : query_.to);
  }

  RangePage finish() && {
    page_.more = !done_;
    return std::move(page_);
  }

 private:
  void advance_over(MessageSeq seq) {
    if (seq == (query_.newest_first ? query_.from : query_.to)) {
      done_ = true;
    } else {
      next_ = query_.newest_first ? seq.prev() : seq.next();
    }
  }
  void add_gap(SeqGap gap) {
    for (auto& other : page_.gaps) {
      if (other.reason != gap.reason) continue;
      if (other.to.next() == gap.from) {
        other.to = gap.to;
        return;
      }
      if (gap.to.next() == other.from) {
        other.from = gap.from;
        return;
      }
    }
    page_.gaps.push_back(gap);
  }

  const RangeQuery& query_;
  const MessageSeq first_readable_;
  RangePage page_;
  MessageSeq next_;
  std::size_t bytes_ = 0;
  bool done_ = false;
  bool full_ = false;
};

}  // namespace dunlin::embedded
