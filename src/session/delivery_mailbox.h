#pragma once

#include <cstddef>
#include <vector>

#include "base/thread_annotations.h"
#include "messaging/delivery/delivery_batch.h"
#include "metrics/instruments.h"
#include "runtime/worker.h"

namespace dunlin {

// Who gets what the dispatcher posted, on the worker.
class DeliveryReceiver {
 public:
  virtual void receive(DeliveryBatch& batch) = 0;
  // Called after batches whose hints were dropped: every session of the worker has to compare its position.
  virtual void hints_were_lost() = 0;

 protected:
  ~DeliveryReceiver() = default;
};

// The dispatcher's way into one worker: one wake-up for whatever came since the last drain. Acks are always taken: there are no more of
// them than sends that were admitted. Hints and signals beyond `bound_bytes` are dropped and counted, and the receiver is told that hints
// were lost. For example: a worker stands still for ten seconds under load. Its clients lose no message by it, since afterwards each of its
// sessions compares its position with the store's.
// Owner: the composition root; outlives the dispatcher. post() on any thread, the rest on the worker.
class DeliveryMailbox final : public WorkerMailbox, public Inlet {
 public:
  DeliveryMailbox(Worker& worker, std::size_t bound_bytes, metrics::Counter& dropped);
  ~DeliveryMailbox() override;
  DeliveryMailbox(const DeliveryMailbox&) = delete;
  DeliveryMailbox& operator=(const DeliveryMailbox&) = delete;

  // Before the worker starts (the dispatcher needs the mailboxes, the receivers need the dispatcher).
  void set_receiver(DeliveryReceiver* receiver) { receiver_ = receiver; }

  bool post(DeliveryBatch batch) override EXCLUDES(mutex_);
  void drain() override EXCLUDES(mutex_);

 private:
  Worker& worker_;
  const std::size_t bound_bytes_;
  DeliveryReceiver* receiver_ = nullptr;
  metrics::Counter& dropped_;

  Mutex mutex_;
  std::vector<DeliveryBatch> incoming_ GUARDED_BY(mutex_);
  std::size_t bytes_ GUARDED_BY(mutex_) = 0;
  bool lost_ GUARDED_BY(mutex_) = false;

  std::vector<DeliveryBatch> draining_;  // worker only
};

}  // namespace dunlin
