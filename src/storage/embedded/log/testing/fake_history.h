#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_annotations.h"
#include "storage/embedded/history/history.h"
#include "storage/embedded/history/page_builder.h"

namespace dunlin::embedded {

// History in memory, for tests of the log. Its content outlives "crashes" (ingest is atomic and durable).
class FakeHistory : public History {
 public:
  LogPosition position() const override {
    MutexLock lock(mutex_);
    return position_;
  }
  std::uint64_t last_conversation_number() const override {
    MutexLock lock(mutex_);
    return last_number_;
  }
  Status ingest(const SealedSegment& segment) override {
    MutexLock lock(mutex_);
    if (fail_ingest) return Error(ErrorCode::Io, "injected");
    if (segment.last <= position_) return Error(ErrorCode::WrongState, "in history already");
    for (std::size_t i = 0; i < segment.records.size(); ++i) {
      const MessagePtr& m = segment.records[i];
      if (m->place().position <= position_) continue;
      const std::string id(m->conversation());
      records_[id][m->seq()] = m;
      by_position_[m->place().position] = m;
      auto& head = heads_[id];
      head.number = m->place().conversation_number;
      head.last_seq = m->seq();
      head.last_position = m->place().position;
      head.first_user_count = m->place().first_user_count;
      last_number_ = std::max(last_number_, head.number);
      dedup_[segment.dedup[i].key] = segment.dedup[i];
    }
    for (const LostRecord& lost : segment.lost) {
      auto& head = heads_[lost.conversation.str()];
      head.number = lost.conversation_number;
      head.last_seq = std::max(head.last_seq, lost.seq);
      head.last_position = std::max(head.last_position, lost.position);
    }
    position_ = segment.last;
    return {};
  }
  Result<std::optional<ConversationHead>> head(const ConversationId& conversation) override {
    MutexLock lock(mutex_);
    const auto found = heads_.find(conversation.str());
    return found == heads_.end() ? std::optional<ConversationHead>() : found->second;
  }
  Result<std::optional<DedupEntry>> dedup(const DedupKey& key) override {
    MutexLock lock(mutex_);
    ++dedup_lookups;
    const auto found = dedup_.find(key);
    return found == dedup_.end() ? std::optional<DedupEntry>() : found->second;
  }
  void dedup(std::span<DedupLookup> lookups) override {
    for (DedupLookup& lookup : lookups) lookup.found = *dedup(lookup.key);
  }
  Result<RangePage> range(const ConversationHead& head, const RangeQuery& query) override {
    MutexLock lock(mutex_);
    RangeQuery asked = query;
    asked.to = std::min(asked.to, head.last_seq);
    PageBuilder page(asked, head.first_readable);
    for (const auto& [id, records] : records_) {
      if (heads_[id].number != head.number) continue;
      if (asked.newest_first) {
        for (auto at = records.rbegin(); at != records.rend() && !page.done(); ++at) page.add(at->second);
      } else {
        for (auto at = records.begin(); at != records.end() && !page.done(); ++at) page.add(at->second);
      }
    }
    page.missing_rest();
    return std::move(page).finish();
  }
  Result<MessageSeq> seq_at(const ConversationHead&, LogPosition) override { return MessageSeq(); }
  Result<ActivityPage> activity_since(const UserId&, LogPosition, std::size_t) override { return ActivityPage(); }
  Result<ActivityPage> activity_newest(const UserId&, LogPosition, std::size_t) override { return ActivityPage(); }
  Result<ConversationsPage> conversations(const UserId&, const ConversationId&, std::size_t) override { return ConversationsPage(); }
  Result<FeedPage> feed(LogPosition after, std::size_t max_messages) override {
    MutexLock lock(mutex_);
    ++feeds;
    FeedPage page;
    page.next = after;
    for (auto at = by_position_.upper_bound(after); at != by_position_.end() && page.messages.size() < max_messages; ++at) {
      if (!at->second->is_recalled()) page.messages.push_back(at->second);
      page.next = at->first;
    }
    return page;
  }
  std::unique_ptr<HistoryRead> begin_read() override { return std::make_unique<Read>(*this); }
  Status retain(WallTime) override { return {}; }
  LogPosition trimmed_through() const override { return {}; }
  Status begin_erase(std::vector<RecalledRecord> records) override {
    MutexLock lock(mutex_);
    if (erased_) return Error(ErrorCode::Busy, "an erase is running");
    for (const RecalledRecord& record : records) {
      const auto at = by_position_.find(record.position);
      if (at == by_position_.end()) continue;
      at->second = Message::recalled(*at->second);
      records_[std::string(at->second->conversation())][record.seq] = at->second;
    }
    erased_ = Status();
    return {};
  }
  std::optional<Status> erase_done() override {
    MutexLock lock(mutex_);
    return std::exchange(erased_, std::nullopt);
  }
  std::vector<RecalledRecord> not_erased() const override { return {}; }
  Status checkpoint(const std::string&) override { return {}; }
  Stats stats() const override { return {}; }

  bool fail_ingest = false;
  std::uint64_t dedup_lookups = 0;
  std::uint64_t feeds = 0;

 private:
  struct Read final : HistoryRead {
    explicit Read(FakeHistory& h) : history(h), at(h.position()) {}
    LogPosition position() const override { return at; }
    LogPosition trimmed_through() const override { return {}; }
    Result<ActivityPage> activity_since(const UserId& user, LogPosition after, std::size_t limit) override {
      return history.activity_since(user, after, limit);
    }
    Result<std::optional<ConversationHead>> head(const ConversationId& conversation) override { return history.head(conversation); }
    Result<RangePage> range(const ConversationHead& head, const RangeQuery& query, LogPosition) override {
      return history.range(head, query);
    }
    Result<MessageSeq> seq_at(const ConversationHead& head, LogPosition position) override { return history.seq_at(head, position); }
    FakeHistory& history;
    const LogPosition at;
  };

  mutable Mutex mutex_;
  std::map<std::string, std::map<MessageSeq, MessagePtr>> records_ GUARDED_BY(mutex_);
  std::map<LogPosition, MessagePtr> by_position_ GUARDED_BY(mutex_);
  std::map<std::string, ConversationHead> heads_ GUARDED_BY(mutex_);
  std::map<DedupKey, DedupEntry> dedup_ GUARDED_BY(mutex_);
  LogPosition position_ GUARDED_BY(mutex_);
  std::optional<Status> erased_ GUARDED_BY(mutex_);
  std::uint64_t last_number_ GUARDED_BY(mutex_) = 0;
};

}  // namespace dunlin::embedded
