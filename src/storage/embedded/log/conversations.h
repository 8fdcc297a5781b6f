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

#include "base/open_table.h"
#include "base/thread_annotations.h"
#include "messaging/model/conversation.h"
#include "messaging/ports/timelines.h"

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

// Stands for the mutex of the shard in which a conversation lies, which its members cannot name. Held with a ConversationsLock.
class DUNLIN_TSA(capability("shard")) ConversationsShard {};
inline ConversationsShard conversations_shard;

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

  static constexpr LogPosition kNotKnown{UINT64_MAX};

  // guarded by the shard's mutex
  ConversationHead head GUARDED_BY(conversations_shard);  // what readers see: durable at the messages' levels
  // The trim watermark that head.first_readable is as of.
  LogPosition readable_at GUARDED_BY(conversations_shard) = kNotKnown;
  SeqRun run GUARDED_BY(conversations_shard);
  bool loaded GUARDED_BY(conversations_shard) = false;  // head is known; a send may go to the committer
  bool used GUARDED_BY(conversations_shard) = false;    // CLOCK
  // Sends that wait for the offload pool, and all after them; see Intake.
  std::unique_ptr<std::deque<Pending>> waiting GUARDED_BY(conversations_shard);
};

// conversation id → Conversation, in shards by hash. Holds every conversation with records in the window (bounded by the window), with
// sends under way (bounded by the queue), and the heads of others up to a number of bytes: CLOCK evicts those.
// Lock order: WindowUsers' shard before this one's; never two shards of the same kind.
class Conversations {
 public:
  static constexpr std::size_t kShards = 64;

  explicit Conversations(std::uint64_t head_bytes) : shard_bytes_(head_bytes / kShards) {}
  ~Conversations();

  struct Slot {
    Conversation* conversation = nullptr;
    std::size_t hash = 0;  // so that a probe looks at no conversation but the one
  };
  // The shard takes the low bits of the hash, the slot the high ones.
  struct Rule {
    static bool free(const Slot& slot) { return slot.conversation == nullptr; }
    static std::size_t hash(const Slot& slot) { return slot.hash; }
    static constexpr std::size_t kFirst = 16;
    static constexpr std::size_t kLoad = 4;
  };
  struct Shard {
    Mutex mutex;
    OpenTable<Slot, Rule> table GUARDED_BY(mutex);
    std::size_t hand GUARDED_BY(mutex) = 0;
    std::uint64_t bytes GUARDED_BY(mutex) = 0;
  };
  static std::size_t hash_of(std::string_view id) { return std::hash<std::string_view>{}(id); }
  Shard& shard_of(std::size_t hash) { return shards_[hash & (kShards - 1)]; }
  Shard& shard_of(const Conversation& c) { return shard_of(hash_of(c.id)); }

  static Conversation* find(Shard& shard, std::size_t hash, std::string_view id) REQUIRES(shard.mutex);
  // May evict others.
  Conversation& find_or_add(Shard& shard, std::size_t hash, std::string_view id) REQUIRES(shard.mutex, conversations_shard);

 private:
  static bool evictable(const Conversation& c) REQUIRES(conversations_shard) {
    return c.pins.load(std::memory_order_acquire) == 0 && c.run.empty() && !c.waiting;
  }
  static std::uint64_t cost(const Conversation& c) { return sizeof(Conversation) + 2 * c.id.size() + 32; }
  void evict(Shard& shard) REQUIRES(shard.mutex, conversations_shard);

  const std::uint64_t shard_bytes_;
  std::array<Shard, kShards> shards_;
};

// Locks a shard, and with it the conversations that lie in it.
class DUNLIN_TSA(scoped_lockable) ConversationsLock {
 public:
  explicit ConversationsLock(Conversations::Shard& shard) ACQUIRE(shard.mutex, conversations_shard) : lock_(shard.mutex) {}
  ~ConversationsLock() RELEASE() {}
  ConversationsLock(const ConversationsLock&) = delete;
  ConversationsLock& operator=(const ConversationsLock&) = delete;

 private:
  MutexLock lock_;
};

}  // namespace dunlin::embedded
