#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "storage/embedded/history/history.h"

namespace dunlin::embedded {

// The rows that one sealed segment gives to history, each kind in key order. Everything is an index or a view into the segment, which must
// outlive this; strings are compared by eight bytes behind what all of them have in common, so that a sort of 100,000 costs
// milliseconds. Indexer thread.
class SortedSegment {
 public:
  // What one conversation has in the segment. A copy: the messages themselves lie scattered in memory, and each look at one again would
  // be a cache miss.
  struct Conversation {
    std::string_view id;  // into ids_
    std::uint64_t number = 0;
    MessageSeq first_seq;
    LogPosition first_position;
    MessageSeq last_seq;
    LogPosition last_position;
    std::uint64_t first_user_count = 0;  // at the last
    std::uint32_t timeline = 0;          // its first record in timeline(), where all of them stand side by side
  };
  struct UserRow {
    std::string_view user;
    std::uint32_t conversation = 0;  // index into conversations()
  };

  // `first_user_count` gives what the stored head of a conversation counts, for one whose newest record here is lost.
  SortedSegment(const SealedSegment& segment, const std::function<std::uint64_t(const ConversationId&)>& first_user_count);

  static constexpr std::size_t kPrefetchAhead = 8;

  // A lost record stands here as a message without text.
  const Message& record(std::uint32_t index) const {
    return is_lost(index) ? *lost_[index - segment_.records.size()] : *segment_.records[index];
  }
  bool is_lost(std::uint32_t index) const { return index >= segment_.records.size(); }
  bool empty() const { return timeline_.empty(); }
  std::vector<std::uint32_t> in_log_order() const;  // record indices by position
  // Asks the CPU for the record at `place` of timeline(), which will be read soon.
  void prefetch(std::size_t place) const;

  std::span<const std::uint32_t> timeline() const { return timeline_; }           // record indices by (number, seq)
  std::span<const Conversation> conversations() const { return conversations_; }  // by number
  std::span<const std::uint32_t> heads() const { return heads_; }                 // conversations by id
  std::span<const std::uint32_t> dedup() const { return dedup_; }                 // dedup indices by key, the newest of equal ones
  std::span<const UserRow> activity() const { return activity_; }                 // by user, then last position
  std::span<const UserRow> list() const { return list_; }                         // of conversations that begin here: by user, then id
  std::uint64_t last_number() const { return conversations_.empty() ? 0 : conversations_.back().number; }

 private:
  void place_lost();
  void sort_timeline();
  void collect_conversations();
  void count_lost(const std::function<std::uint64_t(const ConversationId&)>& first_user_count);
  void sort_heads();
  void sort_dedup();
  void sort_users();

  const SealedSegment& segment_;
  std::vector<MessagePtr> lost_;
  std::vector<std::uint32_t> timeline_;
  std::string ids_;  // of all conversations, side by side
  std::vector<Conversation> conversations_;
  std::vector<std::uint32_t> heads_;
  std::vector<std::uint32_t> dedup_;
  std::vector<UserRow> activity_;
  std::vector<UserRow> list_;
};

}  // namespace dunlin::embedded
