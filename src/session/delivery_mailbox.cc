#include "session/delivery_mailbox.h"

#include <utility>

namespace dunlin {

DeliveryMailbox::DeliveryMailbox(Worker& worker, std::size_t bound_bytes, metrics::Counter& dropped)
    : worker_(worker), bound_bytes_(bound_bytes), dropped_(dropped) {
  worker_.add_inlet(*this);
}

DeliveryMailbox::~DeliveryMailbox() {
  worker_.remove_inlet(*this);
}

bool DeliveryMailbox::post(DeliveryBatch batch) {
  bool first = false;
  bool kept = true;
  {
    MutexLock lock(mutex_);
    if (bytes_ > bound_bytes_) {
      kept = batch.hints.empty() && batch.signals.empty();
      dropped_.add(batch.hints.size());
      lost_ = lost_ || !batch.hints.empty();
      batch.hints.clear();
      batch.signals.clear();
      if (batch.acks.empty() && !batch.probe) return kept;  // the worker is awake: something lies there already
    }
    first = incoming_.empty();
    bytes_ += batch.cost_bytes();
    incoming_.push_back(std::move(batch));
  }
  if (first) worker_.wake();
  return kept;
}

void DeliveryMailbox::drain() {
  bool lost = false;
  {
    MutexLock lock(mutex_);
    if (incoming_.empty()) return;
    draining_.swap(incoming_);
    bytes_ = 0;
    lost = std::exchange(lost_, false);
  }
  if (receiver_ != nullptr) {
    for (DeliveryBatch& batch : draining_) receiver_->receive(batch);
    if (lost) receiver_->hints_were_lost();
  }
  draining_.clear();
}

}  // namespace dunlin
