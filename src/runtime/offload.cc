#include "runtime/offload.h"

#include <pthread.h>

namespace dunlin {

OffloadPool::OffloadPool(Options options) : options_(std::move(options)) {
  for (std::size_t i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { run(); });
}

OffloadPool::~OffloadPool() {
  stop();
}

bool OffloadPool::submit(Job job) {
  MutexLock lock(mutex_);
  if (stopping_ || queue_.size() >= options_.queue_jobs) return false;
  queue_.push_back(std::move(job));
  changed_.notify_one();
  return true;
}

std::size_t OffloadPool::queued() const {
  MutexLock lock(mutex_);
  return queue_.size();
}

void OffloadPool::stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void OffloadPool::run() {
  pthread_setname_np(pthread_self(), options_.name.substr(0, 15).c_str());
  while (true) {
    Job job;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) changed_.wait(mutex_);
      if (queue_.empty()) return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    job();
  }
}

}  // namespace dunlin
