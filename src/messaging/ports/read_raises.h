#pragma once

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "base/ids.h"
#include "base/thread_annotations.h"

namespace dunlin {

// For stores of one order: the read positions that are being stored. A raise takes its stamp first and is seen later, when lists that cover
// more than this position may have been made without it: so a list covers no more than what was told before every raise under way. One a
// store; any thread; one mutex, a leaf. Bound: raises under way.
class ReadRaises {
 public:
  // The position up to which everything was told, whoever is concerned.
  explicit ReadRaises(std::function<InboxPosition()> told_through) : told_through_(std::move(told_through)) {}

  class UnderWay {
   public:
    explicit UnderWay(ReadRaises& raises) : raises_(raises), least_(raises.told_through_()) {
      MutexLock lock(raises_.mutex_);
      raises_.least_.insert(least_);
    }
    ~UnderWay() {
      MutexLock lock(raises_.mutex_);
      raises_.least_.erase(raises_.least_.find(least_));
    }
    UnderWay(const UnderWay&) = delete;
    UnderWay& operator=(const UnderWay&) = delete;
    // Read after the raise could be seen to be under way: whoever looked before covers no more than this.
    InboxPosition stamp() const { return raises_.told_through_(); }

   private:
    ReadRaises& raises_;
    const InboxPosition least_;
  };

  // What a list may claim. To be asked before its rows are read.
  InboxPosition listed() const EXCLUDES(mutex_) {
    const InboxPosition told = told_through_();  // before the look at those under way
    MutexLock lock(mutex_);
    return least_.empty() ? told : std::min(told, *least_.begin());
  }

 private:
  const std::function<InboxPosition()> told_through_;
  mutable Mutex mutex_;
  std::multiset<InboxPosition> least_ GUARDED_BY(mutex_);
};

}  // namespace dunlin
