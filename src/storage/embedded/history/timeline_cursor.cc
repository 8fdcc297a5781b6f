#include "storage/embedded/history/timeline_cursor.h"

#include <rocksdb/db.h>

namespace dunlin::embedded {

struct TimelineCursor::State {
  State(Reading& r, const ColumnPtr& c, std::uint64_t n, LogPosition newer)
      : reading(r), column(c), number(n), newer_than(newer), rows_of(r.take(*c, newer)) {}
  ~State() { reading.give_back(*column, newer_than, std::move(rows_of)); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  Reading& reading;
  const ColumnPtr column;
  const std::uint64_t number;
  const LogPosition newer_than;
  std::unique_ptr<rocksdb::Iterator> rows_of;
  rocksdb::Status status;
  TimelinePlace place;
};

TimelineCursor::TimelineCursor(Reading& reading, const ColumnPtr& column, std::uint64_t number, LogPosition newer_than)
    : state_(std::make_unique<State>(reading, column, number, newer_than)) {}
TimelineCursor::~TimelineCursor() = default;
TimelineCursor::TimelineCursor(TimelineCursor&&) noexcept = default;

void TimelineCursor::landed() {
  state_->place = {};
  if (!state_->rows_of->Valid()) {
    state_->status = state_->rows_of->status();
    return;
  }
  state_->reading.rows_read().fetch_add(1, std::memory_order_relaxed);
  if (const auto place = decode_timeline_key(key())) state_->place = *place;
}

void TimelineCursor::seek(MessageSeq seq) {
  const TimelineKey key(state_->number, seq);
  state_->rows_of->Seek({key.view().data(), key.view().size()});
  landed();
}

void TimelineCursor::seek_back(MessageSeq seq) {
  const TimelineKey key(state_->number, seq);
  state_->rows_of->SeekForPrev({key.view().data(), key.view().size()});
  landed();
}

void TimelineCursor::next() {
  state_->rows_of->Next();
  landed();
}

void TimelineCursor::previous() {
  state_->rows_of->Prev();
  landed();
}

bool TimelineCursor::valid() const {
  return state_->rows_of->Valid() && state_->place.number == state_->number;
}

MessageSeq TimelineCursor::seq() const {
  return state_->place.seq;
}

std::string_view TimelineCursor::key() const {
  return {state_->rows_of->key().data(), state_->rows_of->key().size()};
}

std::string_view TimelineCursor::value() const {
  return {state_->rows_of->value().data(), state_->rows_of->value().size()};
}

bool TimelineCursor::damaged() const {
  return !state_->status.ok();
}

const rocksdb::Status& TimelineCursor::status() const {
  return state_->status;
}

Column& TimelineCursor::column() const {
  return *state_->column;
}

}  // namespace dunlin::embedded
