#include "storage/embedded/recall_rounds.h"

#include <algorithm>

#include "base/log.h"

namespace dunlin::embedded {
namespace {

constexpr Milliseconds kEraseAgainAfter{15 * 60 * 1000};
constexpr Milliseconds kLookEvery{1000};  // at most: each looks at all that wait

}  // namespace

void RecallRounds::work(bool held, const std::function<bool()>& enough) {
  while (wipe_.step(held) && !enough()) {
  }
  const MonotonicTime now = options_.log.clock->monotonic();
  if (now < next_look_) return;
  next_look_ = now + std::min(kLookEvery, options_.log.every);
  tend_history();
  const Status done = recalls_.retire(window_.left_through(), history_.trimmed_through());
  if (!done.ok() && !row_alarm_) log_warn("store", "rows of recalled messages stay", {{"error", done.error().to_string()}});
  row_alarm_ = !done.ok();
}

void RecallRounds::tend_history() {
  const MonotonicTime now = options_.log.clock->monotonic();
  if (!erasing_.empty()) {
    const auto done = history_.erase_done();
    if (!done) return;
    if (done->ok()) {
      recalls_.stuck_in_history(history_.not_erased());
      recalls_.out_of_history(erasing_);
    } else {
      erase_failed(*done);
    }
    erase_alarm_ = !done->ok();
    erasing_.clear();
  }
  if (now < next_erase_) return;
  auto due = recalls_.due_in_history(history_.position(), options_.rewrite_every);
  if (due.empty()) return;
  const Status begun = history_.begin_erase(due);
  if (begun.ok()) {
    erasing_ = std::move(due);
    next_erase_ = now + options_.rewrite_every;
  } else if (begun.error().code() != ErrorCode::Busy) {
    erase_failed(begun);
    erase_alarm_ = true;
  }
}

// What is done already costs the next attempt little.
void RecallRounds::erase_failed(const Status& done) {
  if (!erase_alarm_) log_warn("store", "recalled content cannot leave history; tried again", {{"error", done.error().to_string()}});
  next_erase_ = options_.log.clock->monotonic() + std::min(kEraseAgainAfter, options_.rewrite_every);
}

}  // namespace dunlin::embedded
