#pragma once

#include <algorithm>
#include <set>

#include "base/thread_annotations.h"
#include "messaging/ports/message_store.h"

namespace dunlin {

// The read positions that are being stored. A raise takes its log position first and is seen later, when lists that cover more than this
// position may have been made without it: so a list covers no more than what was settled before every raise under way. Shared by all
// workers; any thread; one mutex, a leaf. Bound: queries under way.
class ReadRaises {
 public:
  class UnderWay {
   public:
    UnderWay(ReadRaises& raises, const MessageStore& store) : raises_(raises), store_(store), least_(store.settled_position()) {
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
    LogPosition position() const { return store_.settled_position(); }

   private:
    ReadRaises& raises_;
    const MessageStore& store_;
    const LogPosition least_;
  };

  // To be asked before the rows of a list are read.
  LogPosition covered(const MessageStore& store) const EXCLUDES(mutex_) {
    const LogPosition settled = store.settled_position();  // before the look at those under way
    MutexLock lock(mutex_);
    return least_.empty() ? settled : std::min(settled, *least_.begin());
  }

 private:
  mutable Mutex mutex_;
  std::multiset<LogPosition> least_ GUARDED_BY(mutex_);
};

}  // namespace dunlin
