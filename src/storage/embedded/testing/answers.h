#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <span>
#include <vector>

#include "messaging/ports/timelines.h"

namespace dunlin::embedded {

// For tests of a store that sends one message after the other: keeps the outcomes; wait(n) is the n-th, or an empty one after 30 s.
class Answers final : public StoreListener {
 public:
  void on_records(std::span<const InboxNews>) override {}
  void on_answers(std::span<AppendOutcome> outcomes) override {
    std::lock_guard lock(mutex_);
    for (auto& outcome : outcomes) all_.push_back(outcome);
    came_.notify_all();
  }
  AppendOutcome wait(std::size_t index) {
    std::unique_lock lock(mutex_);
    came_.wait_for(lock, std::chrono::seconds(30), [&] { return all_.size() > index; });
    return all_.size() > index ? all_[index] : AppendOutcome{};
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<AppendOutcome> all_;
};

}  // namespace dunlin::embedded
