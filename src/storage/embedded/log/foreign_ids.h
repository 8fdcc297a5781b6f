#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "base/clock.h"
#include "messaging/model/session_key.h"

namespace dunlin::embedded {

// Whose numbered ids have been sent by another session of the same user: what a session's first send asks, since the store does not know it
// before and cannot have been told. A bitmap, so it may say yes for one that was not noted (then that session's ids are looked up, which is
// only slower), but never no for one that was, for as long as an id is remembered.
//
// Owner: the store. Thread: note() and noted() any, age() the committer. Bounds: two generations of 64 KiB; with 50,000 such sessions a
// day about one in six others is looked up for nothing.
// With SendingSessions: a send notes first and finds the session later, a session is added first and asks later, both through the table's
// mutex, so at least one of them sees the other.
class ForeignIds {
 public:
  explicit ForeignIds(std::chrono::hours remembered = std::chrono::hours(24)) : remembered_(remembered) {}

  void note(const SessionKey& session, std::uint64_t sender) {
    const std::size_t bit = bit_of(session, sender);
    const std::size_t now = current_.load(std::memory_order_acquire);
    generations_[now][bit / 64].fetch_or(1ULL << (bit % 64), std::memory_order_relaxed);
  }

  bool noted(const SessionKey& session, std::uint64_t sender) const {
    const std::size_t bit = bit_of(session, sender);
    const auto in = [&](const Generation& one) { return (one[bit / 64].load(std::memory_order_relaxed) >> (bit % 64) & 1) != 0; };
    return in(generations_[0]) || in(generations_[1]);
  }

  // Forgets what is older than twice the time for which ids are remembered; what is younger than once that time stays.
  void age(MonotonicTime now) {
    if (now < next_) return;
    const bool first = next_ == MonotonicTime{};
    next_ = now + remembered_;
    if (first) return;
    const std::size_t older = 1 - current_.load(std::memory_order_relaxed);
    for (auto& word : generations_[older]) word.store(0, std::memory_order_relaxed);
    current_.store(older, std::memory_order_release);
  }

 private:
  static constexpr std::size_t kBits = 512 * 1024;
  using Generation = std::array<std::atomic<std::uint64_t>, kBits / 64>;

  // Session keys are random; the sender's hash is keyed.
  static std::size_t bit_of(const SessionKey& session, std::uint64_t sender) {
    return static_cast<std::size_t>((session.low ^ ((sender * 0x9E3779B97F4A7C15ULL) >> 13)) % kBits);
  }

  const std::chrono::hours remembered_;
  std::array<Generation, 2> generations_{};
  std::atomic<std::size_t> current_{0};
  MonotonicTime next_{};  // committer only
};

}  // namespace dunlin::embedded
