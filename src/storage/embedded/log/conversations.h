#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_annotations.h"
#include "messaging/model/conversation.h"
#include "messaging/ports/message_store.h"

namespace dunlin::embedded {

struct Pending;
struct WindowUser;

// The records of one conversation that the window holds: dense seqs from first(), a null for a lost record.
class SeqRun {
 public:
  bool empty() const { return begin_ == items_.size(); }
  std::size_t size() const { return items_.size() - begin_; }
  MessageSeq first() const { return first_; }  // meaningless when empty
  MessageSeq last() const { return MessageSeq(first_.value() + size() - 1); }
  const MessagePtr& at(MessageSeq seq) const { return items_[begin_ + (seq.value() - first_.value())]; }

  void push(MessageSeq seq, MessagePtr message);  // null: lost. seq = last() + 1, or anything when empty
  void pop();                                     // the first

 private:
  std::vector<MessagePtr> items_;
  std::size_t begin_ = 0;
  MessageSeq first_;
};

// A conversation whose head is in memory. Lives in a Conversations table; never moves.
struct Conversation {
  explicit Conversation(std::string_view name);
  ~Conversation();
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;

  // constant
  const std::string id;
  const std::optional<PrivatePair> pair;  // views into id

  // committer only: the place that the next message gets, ahead of `head` while a batch is being written
  ConversationHead given;
  std::array<WindowUser*, 2> users{};  // while the window holds records of it
  std::array<std::uint32_t, 2> user_slots{};

  // sends taken and not settled: raised under the shard's mutex, lowered by the committer; at 0 under the mutex nobody refers to it
  std::atomic<std::uint32_t> pins{0};

  // guarded by the shard's mutex
  ConversationHead head;               // what readers see: durable at the messages' levels
  std::uint64_t readable_version = 0;  // head.first_readable is as of this version of the trim watermark; 0 = not known
  SeqRun run;
  bool loaded = false;                           // head is known; a send may go to the committer
  bool used = false;                             // CLOCK
  std::unique_ptr<std::deque<Pending>> waiting;  // sends that wait for the offload pool, and all after them; see Intake
};

// conversation id → Conversation, in shards by hash. Holds every conversation with records in the window (bounded by the window), with
// sends under way (bounded by the queue), and the heads of others up to a number of bytes: CLOCK evicts those.
// Lock order: WindowUsers' shard before this one's; never two shards of the same kind.
class Conversations {
 public:
  static constexpr std::size_t kShards = 64;

  explicit Conversations(std::uint64_t head_bytes) : shard_bytes_(head_bytes / kShards) {}
  ~Conversations();

  struct Shard {
    Mutex mutex;
    std::vector<Conversation*> slots;  // open addressing
    std::vector<std::uint32_t> hashes;
    std::size_t used = 0;
    std::size_t hand = 0;
    std::uint64_t bytes = 0;
  };
  static std::size_t hash_of(std::string_view id) { return std::hash<std::string_view>{}(id); }
  Shard& shard_of(std::size_t hash) { return shards_[hash & (kShards - 1)]; }
  Shard& shard_of(const Conversation& c) { return shard_of(hash_of(c.id)); }

  // Both under shard.mutex. find_or_add may evict others.
  static Conversation* find(Shard& shard, std::size_t hash, std::string_view id);
  Conversation& find_or_add(Shard& shard, std::size_t hash, std::string_view id);
  // Removes one that is not loaded, has no records and no pins.
  static void drop(Shard& shard, Conversation& conversation);

 private:
  static bool evictable(const Conversation& c) { return c.pins.load(std::memory_order_acquire) == 0 && c.run.empty() && !c.waiting; }
  static std::uint64_t cost(const Conversation& c) { return sizeof(Conversation) + 2 * c.id.size() + 32; }
  static void place(Shard& shard, std::uint32_t hash, Conversation* conversation);
  static void erase_slot(Shard& shard, std::size_t slot);
  void evict(Shard& shard);

  const std::uint64_t shard_bytes_;
  std::array<Shard, kShards> shards_;
};

}  // namespace dunlin::embedded
