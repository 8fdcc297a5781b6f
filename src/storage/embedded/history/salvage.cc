#include "storage/embedded/history/salvage.h"

#include <rocksdb/iterator.h>

namespace dunlin::embedded {

Salvage::Salvage(std::span<const ColumnPtr> timelines, std::uint64_t number)
    : number_(number), files_(timelines, TimelineKey(number, MessageSeq(0)).view(), TimelineKey(number, MessageSeq(UINT64_MAX)).view()) {}

std::optional<std::string> Salvage::row(MessageSeq seq) {
  const TimelineKey key(number_, seq);
  const rocksdb::Slice wanted(key.view().data(), key.view().size());
  for (const auto& file : files_.files()) {
    if (!file->rows) continue;
    file->rows->Seek(wanted);
    if (file->rows->Valid() && file->rows->key() == wanted) return file->rows->value().ToString();
  }
  return std::nullopt;
}

}  // namespace dunlin::embedded
