#include <rocksdb/db.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "messaging/ports/inbox_cut.h"
#include "storage/embedded/history/newest_position.h"
#include "storage/embedded/history/rocks_history.h"

namespace dunlin::embedded {
namespace {

// The rows of one user in one family, both ways.
class UserRows {
 public:
  UserRows(const Catalog& catalog, const ColumnPtr& column, std::string_view user, std::atomic<std::uint64_t>& rows_read,
           LogPosition newer_than = LogPosition(0))
      : rows_read_(rows_read), lower_(user_prefix(user)) {
    upper_ = lower_;
    // The prefix names its own length, so keys of other users differ within it; all of this user's are below prefix + 0xFF...
    upper_.append(kMaxIdBytes * 4, '\xFF');
    lower_slice_ = lower_;
    upper_slice_ = upper_;
    rocksdb::ReadOptions options;
    options.snapshot = catalog.view.get();
    options.prefix_same_as_start = true;
    options.iterate_lower_bound = &lower_slice_;
    options.iterate_upper_bound = &upper_slice_;
    if (newer_than > LogPosition(0)) options.table_filter = files_newer_than(newer_than);
    rows_.reset(column->db().NewIterator(options, column->handle()));
  }

  void seek(std::string_view key) {
    land([&] { rows_->Seek({key.data(), key.size()}); });
  }
  void seek_back(std::string_view key) {
    land([&] { rows_->SeekForPrev({key.data(), key.size()}); });
  }
  void next() {
    land([&] { rows_->Next(); });
  }
  void previous() {
    land([&] { rows_->Prev(); });
  }

  bool valid() const { return rows_->Valid(); }
  std::string_view key() const { return rows_->key().ToStringView(); }
  std::string_view key_behind_user() const { return key().substr(lower_.size()); }
  std::string_view value() const { return rows_->value().ToStringView(); }
  rocksdb::Status status() const { return rows_->status(); }

 private:
  template <class Move>
  void land(const Move& move) {
    move();
    if (rows_->Valid()) rows_read_.fetch_add(1, std::memory_order_relaxed);
  }

  std::atomic<std::uint64_t>& rows_read_;
  std::string lower_;
  std::string upper_;
  rocksdb::Slice lower_slice_;
  rocksdb::Slice upper_slice_;
  std::unique_ptr<rocksdb::Iterator> rows_;
};

}  // namespace

Result<ActivityPage> RocksHistory::activity_since(const UserId& user, LogPosition after, std::size_t limit) {
  Reading now(catalog(), rows_read_);
  return activity_since(now, user, after, limit);
}

// A page ends between two groups of rows (see kActivityGroupEntries), or inside one that alone is larger than the limit.
Result<ActivityPage> RocksHistory::activity_since(Reading& now, const UserId& user, LogPosition after, std::size_t limit) {
  const Catalog& catalog = now.catalog();
  const LogPosition through = catalog.newest.position;
  ActivityPage page;
  page.truncated = after < catalog.watermark;
  page.scanned_to = std::max(after, through);
  LogPosition group_end = after;
  for (const Volume& volume : catalog.volumes) {
    if (volume.span.last <= after) continue;
    UserRows rows(catalog, volume.activity, user.view(), rows_read_, after);
    bool group_over = true;
    for (rows.seek(activity_key(user.view(), after.next())); rows.valid(); rows.next()) {
      const std::size_t before = page.entries.size();
      const bool good = decode_activity(rows.key(), rows.value(), page.entries);
      if (group_over && before > 0 && page.entries.size() > limit) {
        page.entries.resize(before);
        page.more = true;
        page.scanned_to = group_end;
        cut_entries(page, after, limit);
        return page;
      }
      if (!good) {
        damage_.row_found(*volume.activity, "activity");
        page.truncated = true;  // the caller compares heads, which finds what the row would have told
      }
      group_over = good && page.entries.size() - before < kActivityRowEntries;
      if (good) group_end = page.entries.back().last_position;
      page.entries.erase(std::remove_if(page.entries.begin() + static_cast<std::ptrdiff_t>(before), page.entries.end(),
                                        [&](const ActivityEntry& e) { return e.last_position <= after || e.last_position > through; }),
                         page.entries.end());
    }
    if (!rows.status().ok()) {
      damage_.found(*volume.activity, rows.status());
      page.truncated = true;
    }
  }
  cut_entries(page, after, limit);
  return page;
}

Result<ActivityPage> RocksHistory::activity_newest(const UserId& user, LogPosition from, std::size_t limit) {
  const CatalogPtr now = catalog();
  from = std::min(from, now->newest.position);
  ActivityPage page;
  page.truncated = now->watermark > LogPosition(0);
  page.scanned_to = now->watermark;
  std::vector<ActivityEntry> entries;
  for (auto volume = now->volumes.rbegin(); volume != now->volumes.rend(); ++volume) {
    if (volume->span.first > from) continue;
    UserRows rows(*now, volume->activity, user.view(), rows_read_);
    // A row stands at its newest entry, so the first one at or above `from` may hold older entries too.
    rows.seek(activity_key(user.view(), from));
    if (!rows.valid() && rows.status().ok()) rows.seek_back(activity_key(user.view(), LogPosition(UINT64_MAX)));
    for (; rows.valid(); rows.previous()) {
      entries.clear();
      if (!decode_activity(rows.key(), rows.value(), entries)) {
        damage_.row_found(*volume->activity, "activity");
        page.truncated = true;
      }
      for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
        if (entry->last_position > from) continue;
        if (page.entries.size() >= limit) {
          page.more = true;
          page.scanned_to = page.entries.empty() ? from : page.entries.back().last_position;
          return page;
        }
        page.entries.push_back(std::move(*entry));
      }
    }
    if (!rows.status().ok()) {
      damage_.found(*volume->activity, rows.status());
      page.truncated = true;
    }
  }
  return page;
}

namespace {

class RocksRead final : public HistoryRead {
 public:
  RocksRead(RocksHistory& history, std::atomic<std::uint64_t>& rows_read) : history_(history), now_(history.catalog(), rows_read) {}

  LogPosition position() const override { return now_.catalog().newest.position; }
  LogPosition trimmed_through() const override { return now_.catalog().watermark; }
  Result<ActivityPage> activity_since(const UserId& user, LogPosition after, std::size_t limit) override {
    return history_.activity_since(now_, user, after, limit);
  }
  Result<std::optional<ConversationHead>> head(const ConversationId& conversation) override { return history_.head(now_, conversation); }
  Result<RangePage> range(const ConversationHead& head, const RangeQuery& query, LogPosition newer_than) override {
    return history_.range(now_, head, query, newer_than);
  }
  Result<MessageSeq> seq_at(const ConversationHead& head, LogPosition position) override { return history_.seq_at(now_, head, position); }

 private:
  RocksHistory& history_;
  Reading now_;
};

}  // namespace

std::unique_ptr<HistoryRead> RocksHistory::begin_read() {
  return std::make_unique<RocksRead>(*this, rows_read_);
}

Result<ConversationsPage> RocksHistory::conversations(const UserId& user, const ConversationId& after, std::size_t limit) {
  const CatalogPtr now = catalog();
  ConversationsPage page;
  UserRows rows(*now, now->list, user.view(), rows_read_);
  rows.seek(list_key(user.view(), after.view()));
  if (rows.valid() && !after.empty() && rows.key_behind_user() == after.view()) rows.next();
  for (; rows.valid(); rows.next()) {
    if (page.conversations.size() >= limit) {
      page.more = true;
      return page;
    }
    page.conversations.emplace_back(rows.key_behind_user());
  }
  if (!rows.status().ok()) {
    damage_.found(*now->list, rows.status());
    return rocks_error("conversations of a user", rows.status());
  }
  return page;
}

Result<std::optional<DedupEntry>> RocksHistory::dedup(const DedupKey& key) {
  DedupLookup lookup{key, std::nullopt, std::nullopt};
  dedup({&lookup, 1});
  if (lookup.failed) return *std::move(lookup.failed);
  return lookup.found;
}

void RocksHistory::dedup(std::span<DedupLookup> lookups) {
  const CatalogPtr now = catalog();
  rocksdb::ReadOptions options;
  options.snapshot = now->view.get();
  // In key order, so that neighbours share filters and blocks.
  std::vector<DedupLookup*> open;
  open.reserve(lookups.size());
  for (DedupLookup& lookup : lookups) open.push_back(&lookup);
  std::ranges::sort(open, {}, [](const DedupLookup* lookup) { return lookup->key; });
  std::vector<std::array<char, kDedupKeyBytes>> bytes(open.size());
  std::vector<rocksdb::Slice> keys(open.size());
  std::vector<rocksdb::PinnableSlice> values(open.size());
  std::vector<rocksdb::Status> statuses(open.size());
  for (auto generation = now->generations.rbegin(); generation != now->generations.rend() && !open.empty(); ++generation) {
    for (std::size_t i = 0; i < open.size(); ++i) {
      encode_dedup_key(open[i]->key, bytes[i].data());
      keys[i] = {bytes[i].data(), bytes[i].size()};
    }
    constexpr bool kSorted = true;
    db_->MultiGet(options, generation->dedup->handle(), open.size(), keys.data(), values.data(), statuses.data(), kSorted);
    std::size_t left = 0;
    for (std::size_t i = 0; i < open.size(); ++i) {
      DedupLookup* const lookup = open[i];
      if (statuses[i].IsNotFound()) {
        open[left++] = lookup;
        continue;
      }
      rows_read_.fetch_add(1, std::memory_order_relaxed);
      if (!statuses[i].ok()) {
        // Neither new nor stored before can be said, so the send is refused rather than stored twice.
        if (is_damage(statuses[i])) damage_.found(*generation->dedup, statuses[i]);
        lookup->failed = rocks_error("dedup entry", statuses[i]);
      } else if (auto entry = decode_dedup(lookup->key, values[i].ToStringView())) {
        lookup->found = entry;
      } else {
        lookup->failed = Error(ErrorCode::Corrupt, "dedup entry");
      }
      values[i].Reset();
    }
    open.resize(left);
  }
}

}  // namespace dunlin::embedded
