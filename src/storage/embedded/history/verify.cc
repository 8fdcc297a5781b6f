#include <rocksdb/db.h>

#include <algorithm>
#include <memory>

#include "base/log.h"
#include "storage/embedded/history/rocks_history.h"

namespace dunlin::embedded {
namespace {

constexpr std::size_t kPageMessages = 1000;

// Every row of every timeline, conversation by conversation, against the heads.
class Verification {
 public:
  using Corrupt = std::function<void(const CorruptInterval&)>;
  using Progress = std::function<void(std::uint64_t, std::uint64_t)>;
  Verification(RocksHistory& history, const Corrupt& corrupt, const Progress& progress)
      : history_(history), corrupt_(corrupt), progress_(progress) {}

  Result<HistoryReport> run() {
    const CatalogPtr catalog = history_.catalog();
    rocksdb::ReadOptions options;
    options.fill_cache = false;
    options.snapshot = catalog->view.get();
    const std::unique_ptr<rocksdb::Iterator> heads(history_.db().NewIterator(options, catalog->heads->handle()));
    std::uint64_t numbers = 0;
    for (heads->SeekToFirst(); heads->Valid(); heads->Next()) {
      const std::string_view key(heads->key().data(), heads->key().size());
      const ConversationId id(key.substr(std::min(key.size(), kTenantBytes)));
      const auto head = decode_head(key, {heads->value().data(), heads->value().size()});
      ++numbers;
      if (head) {
        TRY(timeline(id, *head));
      } else {
        corrupt_({id, MessageSeq(0), MessageSeq(0)});
      }
      if (progress_) progress_(numbers, std::max(numbers, catalog->newest.last_number));
    }
    if (!heads->status().ok()) {
      log_error("history", "heads cannot be read to their end", {{"error", heads->status().ToString()}});
      corrupt_({ConversationId(), MessageSeq(0), MessageSeq(0)});
    } else if (numbers != catalog->newest.last_number) {
      log_error("history", "heads are missing", {{"found", numbers}, {"expected", catalog->newest.last_number}});
      corrupt_({ConversationId(), MessageSeq(0), MessageSeq(0)});
    }
    other_files(*catalog);
    return HistoryReport{records_, catalog->newest.position};
  }

 private:
  Status timeline(const ConversationId& id, const ConversationHead& head) {
    RangeQuery query;
    query.conversation = id;
    query.from = MessageSeq(1);
    query.to = head.last_seq;
    query.max_messages = kPageMessages;
    query.max_bytes = 4 << 20;
    CorruptInterval open{id, MessageSeq(0), MessageSeq(0)};
    for (bool more = true; more;) {
      TRY_ASSIGN(const RangePage page, history_.range(head, query));
      records_ += page.messages.size();
      MessageSeq covered = query.from.prev();
      if (!page.messages.empty()) covered = page.messages.back()->seq();
      for (const SeqGap& gap : page.gaps) {
        covered = std::max(covered, gap.to);
        if (gap.reason == GapReason::NotVisible) records_ += gap.to.value() - gap.from.value() + 1;  // recalled: records without content
        if (gap.reason != GapReason::Corrupt) continue;
        if (open.from == MessageSeq(0) || open.to.next() != gap.from) {
          report(open);
          open.from = gap.from;
        }
        open.to = gap.to;
      }
      more = page.more && covered >= query.from;
      query.from = covered.next();
    }
    report(open);
    return {};
  }

  void report(const CorruptInterval& interval) {
    if (interval.from > MessageSeq(0)) corrupt_(interval);
  }

  // Damage in rows that belong to no timeline: reported without a conversation, named in the log.
  void other_files(const Catalog& catalog) {
    std::vector<ColumnPtr> columns{catalog.list};
    for (const auto& volume : catalog.volumes) columns.push_back(volume.activity);
    for (const auto& generation : catalog.generations) columns.push_back(generation.dedup);
    for (const auto& column : columns) {
      rocksdb::ReadOptions options;
      options.fill_cache = false;
      options.total_order_seek = true;
      const std::unique_ptr<rocksdb::Iterator> rows(history_.db().NewIterator(options, column->handle()));
      for (rows->SeekToFirst(); rows->Valid(); rows->Next()) continue;
      if (rows->status().ok()) continue;
      log_error("history", "rows cannot be read", {{"family", column->name()}, {"error", rows->status().ToString()}});
      corrupt_({ConversationId(), MessageSeq(0), MessageSeq(0)});
    }
  }

  RocksHistory& history_;
  const Corrupt& corrupt_;
  const Progress& progress_;
  std::uint64_t records_ = 0;
};

}  // namespace

Result<HistoryReport> verify_history(const std::string& path, const std::function<void(const CorruptInterval&)>& corrupt,
                                     const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  HistoryOptions options;
  options.path = path;
  TRY_ASSIGN(const auto history, RocksHistory::open(std::move(options), RocksHistory::Access::ReadOnly));
  return Verification(*history, corrupt, progress).run();
}

}  // namespace dunlin::embedded
