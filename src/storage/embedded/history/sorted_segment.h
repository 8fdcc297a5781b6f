#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "storage/embedded/history/history.h"

namespace dunlin::embedded {

// The rows that one sealed segment gives to history, each kind in key order. Everything is an index or a view into the segment, which must
// outlive this; strings are compared by eight bytes behind what all of them have in common, so that a sort of 100,000 costs
// milliseconds. Indexer thread.
class SortedSegment {
 public:
  // Records [begin, end) of timeline() are one conversation's, ascending by seq.
  struct Conversation {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
  };
  struct UserRow {
    std::string_view user;
    std::uint32_t conversation = 0;  // index into conversations()
  };

  // `first_user_count` gives what the stored head of a conversation counts, for one whose newest record here is lost.
  SortedSegment(const SealedSegment& segment, const std::function<std::uint64_t(const ConversationId&)>& first_user_count);

  // A lost record stands here as a message without text.
  const Message& record(std::uint32_t index) const {
    return is_lost(index) ? *lost_[index - segment_.records.size()] : *segment_.records[index];
  }
  bool is_lost(std::uint32_t index) const { return index >= segment_.records.size(); }
  bool empty() const { return timeline_.empty(); }
  const Message& first_of(const Conversation& c) const { return record(timeline_[c.begin]); }
  const Message& last_of(const Conversation& c) const { return record(timeline_[c.end - 1]); }

  std::span<const std::uint32_t> timeline() const { return timeline_; }           // record indices by (number, seq)
  std::span<const Conversation> conversations() const { return conversations_; }  // by number
  std::span<const std::uint32_t> heads() const { return heads_; }                 // conversations by id
  std::span<const std::uint32_t> dedup() const { return dedup_; }                 // dedup indices by key, the newest of equal ones
  std::span<const UserRow> activity() const { return activity_; }                 // by user, then last position
  std::span<const UserRow> list() const { return list_; }                         // of conversations that begin here: by user, then id
  std::uint64_t last_number() const { return conversations_.empty() ? 0 : last_of(conversations_.back()).place().conversation_number; }

 private:
  void place_lost();
  void sort_timeline();
  void count_lost(const std::function<std::uint64_t(const ConversationId&)>& first_user_count);
  void sort_heads();
  void sort_dedup();
  void sort_users();

  const SealedSegment& segment_;
  std::vector<MessagePtr> lost_;
  std::vector<std::uint32_t> timeline_;
  std::vector<Conversation> conversations_;
  std::vector<std::uint32_t> heads_;
  std::vector<std::uint32_t> dedup_;
  std::vector<UserRow> activity_;
  std::vector<UserRow> list_;
};

}  // namespace dunlin::embedded
