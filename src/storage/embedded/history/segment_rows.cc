#include "storage/embedded/history/segment_rows.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace dunlin::embedded {

void write_timeline_rows(const SortedSegment& sorted, SortedFile& file) {
  std::string value;
  for (const std::uint32_t index : sorted.timeline()) {
    const Message& message = sorted.record(index);
    const TimelineKey key(message.place().conversation_number, message.seq());
    if (sorted.is_lost(index)) {
      encode_lost(key.view(), message.position(), value);
    } else {
      encode_record(key.view(), message, value);
    }
    if (!file.put(key.view(), value)) return;
  }
}

void write_head_rows(const SortedSegment& sorted, SortedFile& file) {
  std::string value;
  for (const std::uint32_t index : sorted.heads()) {
    const Message& last = sorted.last_of(sorted.conversations()[index]);
    const MessagePlace& place = last.place();
    const std::string key = heads_key(last.conversation());
    encode_head(key, {place.conversation_number, place.seq, place.position, place.first_user_count, MessageSeq(1)}, value);
    if (!file.put(key, value)) return;
  }
}

void write_list_rows(const SortedSegment& sorted, SortedFile& file) {
  for (const auto& row : sorted.list()) {
    const Message& first = sorted.first_of(sorted.conversations()[row.conversation]);
    std::string key = list_key(row.user, first.conversation());
    if (!file.put(key, {})) return;
  }
}

void write_activity_rows(const SortedSegment& sorted, SortedFile& file) {
  const auto rows = sorted.activity();
  const auto conversation = [&](std::size_t i) -> const SortedSegment::Conversation& {
    return sorted.conversations()[rows[i].conversation];
  };
  std::string value;
  for (std::size_t from = 0; from < rows.size();) {
    std::size_t to = from + 1;
    while (to < rows.size() && to - from < kActivityRowEntries && rows[to].user == rows[from].user) ++to;
    const LogPosition row_position = sorted.last_of(conversation(to - 1)).position();
    value.clear();
    for (; from < to; ++from) {
      const Message& first = sorted.first_of(conversation(from));
      const Message& last = sorted.last_of(conversation(from));
      append_activity(value, row_position, last.conversation(), {{}, first.seq(), last.seq(), first.position(), last.position()});
    }
    if (!file.put(activity_key(rows[to - 1].user, row_position), value)) return;
  }
}

void write_dedup_rows(const SortedSegment& sorted, std::span<const DedupEntry> entries, SortedFile& file) {
  char key[kDedupKeyBytes];
  char value[kDedupValueBytes];
  for (const std::uint32_t index : sorted.dedup()) {
    encode_dedup_key(entries[index].key, key);
    encode_dedup_value(entries[index], value);
    if (!file.put({key, sizeof key}, {value, sizeof value})) return;
  }
}

void write_meta_rows(const Catalog& next, SortedFile& file) {
  std::vector<std::pair<std::string, std::string>> rows;
  rows.emplace_back(position_key(), encode_position(next.newest));
  if (!next.volumes.empty()) {
    const std::string key = volume_key(next.volumes.back().number);
    rows.emplace_back(key, encode_span(key, next.volumes.back().span));
  }
  if (!next.generations.empty()) {
    const std::string key = generation_key(next.generations.back().number);
    rows.emplace_back(key, encode_span(key, next.generations.back().span));
  }
  std::sort(rows.begin(), rows.end());
  for (const auto& [key, value] : rows) {
    if (!file.put(key, value)) return;
  }
}

}  // namespace dunlin::embedded
