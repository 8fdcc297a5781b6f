#include <rocksdb/db.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <vector>

#include "storage/embedded/history/newest_position.h"
#include "storage/embedded/history/rocks_history.h"

namespace dunlin::embedded {
namespace {

// One page of the feed inside one catalog. Timelines are sorted by conversation; the order rows say which record stands at each position,
// so that a page is a walk over these and one look-up of all its records. Where they do not lead on (damage, or a position that holds
// nothing), the volumes are scanned, which takes as long as they are large.
class FeedRead {
 public:
  FeedRead(rocksdb::DB& db, const Catalog& catalog, LogPosition after, std::size_t max_messages, std::atomic<std::uint64_t>& rows_read,
           Damage& damage)
      : db_(db), catalog_(catalog), after_(after), max_(max_messages), rows_read_(rows_read), damage_(damage) {}

  Result<FeedPage> by_order() {
    FeedPage page;
    page.next = after_;
    for (const Volume& volume : catalog_.volumes) {
      if (volume.span.last <= page.next) continue;
      const auto found = entries(volume, page.next, max_ - page.messages.size());
      if (found.empty()) break;
      TRY(look_up(volume, found, page));
      page.next = found.back().position;
      if (page.messages.size() >= max_ || page.next < volume.span.last) break;
    }
    return page;
  }

  Result<FeedPage> by_scan() {
    FeedPage page;
    std::vector<Found> lowest;  // a heap with the highest position in front
    for (const Volume& volume : catalog_.volumes) {
      if (volume.span.last <= after_) continue;
      if (lowest.size() >= max_ && volume.span.first > lowest.front().position) break;
      TRY(scan(volume, lowest));
    }
    std::sort_heap(lowest.begin(), lowest.end());
    for (const Found& found : lowest) {
      MessagePtr message = decode_record(found.key, found.value);
      if (message && !message->is_recalled()) page.messages.push_back(std::move(message));
    }
    page.next = lowest.size() >= max_ ? lowest.back().position : catalog_.newest.position;
    return page;
  }

 private:
  struct Found {
    LogPosition position;
    std::string key;
    std::string value;
    bool operator<(const Found& other) const { return position < other.position; }
  };

  rocksdb::ReadOptions options() const {
    rocksdb::ReadOptions options;
    options.snapshot = catalog_.view.get();
    options.fill_cache = false;
    return options;
  }

  // What stands behind `after`, without a hole.
  std::vector<OrderEntry> entries(const Volume& volume, LogPosition after, std::size_t limit) {
    std::vector<OrderEntry> out;
    std::vector<OrderEntry> row;
    rocksdb::ReadOptions in_order = options();
    in_order.prefix_same_as_start = true;
    in_order.table_filter = files_newer_than(after);
    const std::unique_ptr<rocksdb::Iterator> rows(db_.NewIterator(in_order, volume.activity->handle()));
    for (rows->Seek(activity_key({}, after.next())); rows->Valid() && out.size() < limit; rows->Next()) {
      rows_read_.fetch_add(1, std::memory_order_relaxed);
      row.clear();
      if (!decode_order(rows->key().ToStringView(), rows->value().ToStringView(), row)) {
        damage_.row_found(*volume.activity, "order");
        break;
      }
      for (const OrderEntry& entry : row) {
        if (entry.position <= after || out.size() >= limit) continue;
        if (entry.position != after.next()) return out;
        after = entry.position;
        out.push_back(entry);
      }
    }
    if (!rows->status().ok()) damage_.found(*volume.activity, rows->status());
    return out;
  }

  // The messages of the entries, in their order. A record that is lost, damaged or recalled is left out.
  Status look_up(const Volume& volume, const std::vector<OrderEntry>& entries, FeedPage& page) {
    std::vector<std::uint32_t> by_key(entries.size());
    std::iota(by_key.begin(), by_key.end(), 0U);
    std::ranges::sort(by_key, {}, [&](std::uint32_t i) { return std::pair(entries[i].number, entries[i].seq); });
    std::vector<TimelineKey> bytes;
    std::vector<rocksdb::Slice> keys;
    bytes.reserve(entries.size());
    keys.reserve(entries.size());
    for (const std::uint32_t i : by_key) {
      bytes.emplace_back(entries[i].number, entries[i].seq);
      keys.emplace_back(bytes.back().view().data(), bytes.back().view().size());
    }
    std::vector<rocksdb::PinnableSlice> values(entries.size());
    std::vector<rocksdb::Status> statuses(entries.size());
    constexpr bool kSorted = true;
    db_.MultiGet(options(), volume.timeline->handle(), keys.size(), keys.data(), values.data(), statuses.data(), kSorted);
    rows_read_.fetch_add(entries.size(), std::memory_order_relaxed);
    std::vector<MessagePtr> messages(entries.size());
    for (std::size_t i = 0; i < by_key.size(); ++i) {
      if (statuses[i].ok()) {
        messages[by_key[i]] = decode_record(bytes[i].view(), values[i].ToStringView());
      } else if (is_damage(statuses[i])) {
        damage_.found(*volume.timeline, statuses[i]);
      } else if (!statuses[i].IsNotFound()) {
        return rocks_error("feed", statuses[i]);
      }
    }
    for (MessagePtr& message : messages) {
      if (message && !message->is_recalled()) page.messages.push_back(std::move(message));
    }
    return {};
  }

  Status scan(const Volume& volume, std::vector<Found>& lowest) {
    rocksdb::ReadOptions all = options();
    all.total_order_seek = true;
    all.table_filter = files_newer_than(after_);
    const std::unique_ptr<rocksdb::Iterator> rows(db_.NewIterator(all, volume.timeline->handle()));
    for (rows->SeekToFirst(); rows->Valid(); rows->Next()) {
      rows_read_.fetch_add(1, std::memory_order_relaxed);
      const auto positions = peek_record(rows->value().ToStringView());
      if (!positions || positions->position <= after_ || positions->position > catalog_.newest.position) continue;
      if (lowest.size() >= max_) {
        if (positions->position >= lowest.front().position) continue;
        std::pop_heap(lowest.begin(), lowest.end());
        lowest.pop_back();
      }
      lowest.push_back({positions->position, rows->key().ToString(), rows->value().ToString()});
      std::push_heap(lowest.begin(), lowest.end());
    }
    if (rows->status().ok()) return {};
    if (is_damage(rows->status())) damage_.found(*volume.timeline, rows->status());
    return rocks_error("feed", rows->status());
  }

  rocksdb::DB& db_;
  const Catalog& catalog_;
  const LogPosition after_;
  const std::size_t max_;
  std::atomic<std::uint64_t>& rows_read_;
  Damage& damage_;
};

}  // namespace

Result<FeedPage> RocksHistory::feed(LogPosition after, std::size_t max_messages) {
  const CatalogPtr now = catalog();
  FeedPage page;
  page.next = after;
  page.reset = after < now->watermark;
  if (page.reset || max_messages == 0 || after >= now->newest.position) return page;
  FeedRead read(*db_, *now, after, max_messages, rows_read_, damage_);
  TRY_ASSIGN(page, read.by_order());
  if (page.next > after) return page;
  return read.by_scan();
}

}  // namespace dunlin::embedded
