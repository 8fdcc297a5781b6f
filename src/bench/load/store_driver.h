#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "messaging/ports/outcomes.h"
#include "storage/embedded/embedded_store.h"

namespace dunlin::bench {

// Writes messages into an embedded store of its own as fast as it takes them: batches of 512, one being committed while the next is queued.
// Conversation c is one between sender c mod kSenders and a user of its own; ids are <session>-<n>. Every outcome is checked (dense seqs in
// order, fsync, no duplicate); temporary refusals are repeated in order. Receivers' cursors are saved every two seconds, as workers do. One
// thread drives; outcomes come on the store's thread.
class StoreDriver final : public StoreListener {
 public:
  static constexpr std::size_t kBatch = 512;
  static constexpr std::uint32_t kSenders = 10'000;

  StoreDriver(std::string folder, std::uint32_t conversations);
  ~StoreDriver() override;

  Status open();
  Status close();
  // Sends one message to each conversation that `next` names, `count` in all. False when `limit` passed first.
  Result<bool> write(std::uint64_t count, std::chrono::seconds limit, const std::function<std::uint32_t()>& next);
  // Waits until everything is in history.
  Status flush(std::chrono::seconds limit);
  // Reads the ends of some conversations back and compares their heads.
  Status verify(std::uint32_t samples);

  std::uint64_t stored() const { return stored_; }

 private:
  struct Pending {
    std::uint64_t number = 0;  // in the order of sending
    std::uint32_t conversation = 0;
    AppendRequest request;
  };

  void on_answers(std::span<AppendOutcome> answers) override;
  void on_records(std::span<const InboxNews>) override {}
  void take_outcome(const AppendOutcome& outcome);
  void submit(std::span<const std::uint32_t> conversations);
  void repeat_refused();
  void wait_for_room(std::size_t at_most_in_flight);
  Status save_cursors();
  Status check() const;
  AppendRequest make_request(std::uint32_t conversation);
  static std::string sender_name(std::uint32_t conversation);
  static std::string receiver_name(std::uint32_t conversation);

  const std::string folder_;
  OffloadPool offload_;
  std::unique_ptr<embedded::EmbeddedStore> store_;
  std::string body_;

  // driving thread
  std::vector<SessionKey> sessions_;
  std::vector<std::uint64_t> numbers_;  // last n of each session
  std::uint64_t next_number_ = 0;
  MonotonicTime cursors_saved_{};

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // guarded by mutex_
  std::vector<Pending> pending_;  // by ReplyAddress::request
  std::vector<std::size_t> free_;
  std::map<std::uint64_t, std::size_t> refused_;  // number → place in pending_
  std::size_t in_flight_ = 0;
  std::vector<std::uint32_t> heads_;
  std::vector<std::uint32_t> moved_;  // conversations since the last cursor save
  std::vector<bool> is_moved_;
  std::uint64_t stored_ = 0;
  std::string problem_;
};

}  // namespace dunlin::bench
