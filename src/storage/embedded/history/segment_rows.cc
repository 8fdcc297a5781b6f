#include "storage/embedded/history/segment_rows.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace dunlin::embedded {

void write_timeline_rows(const SortedSegment& sorted, SortedFile& file) {
  std::string value;
  const auto timeline = sorted.timeline();
  for (std::size_t i = 0; i < timeline.size(); ++i) {
    sorted.prefetch(i + SortedSegment::kPrefetchAhead);
    const Message& message = sorted.record(timeline[i]);
    const TimelineKey key(message.place().conversation_number, message.seq());
    if (sorted.is_lost(timeline[i])) {
      encode_lost(key.view(), message.place().position, value);
    } else {
      encode_record(key.view(), message, value);
    }
    if (!file.put(key.view(), value)) return;
  }
}

void write_head_rows(const SortedSegment& sorted, SortedFile& file) {
  std::string key;
  std::string value;
  for (const std::uint32_t index : sorted.heads()) {
    const auto& conversation = sorted.conversations()[index];
    heads_key(conversation.id, key);
    encode_head(key, {conversation.number, conversation.last_seq, conversation.last_position, conversation.first_user_count, MessageSeq(1)},
                value);
    if (!file.put(key, value)) return;
  }
}

void write_list_rows(const SortedSegment& sorted, SortedFile& file) {
  for (const auto& row : sorted.list()) {
    if (!file.put(list_key(row.user, sorted.conversations()[row.conversation].id), {})) return;
  }
}

void write_order_rows(const SortedSegment& sorted, SortedFile& file) {
  const std::vector<std::uint32_t> order = sorted.in_log_order();
  std::string key;
  std::string value;
  std::size_t in_row = 0;
  LogPosition last;
  const auto end_row = [&] {
    if (value.empty()) return true;
    activity_key({}, last, key);
    const bool good = file.put(key, value);
    value.clear();
    in_row = 0;
    return good;
  };
  for (const std::uint32_t index : order) {
    const MessagePlace& place = sorted.record(index).place();
    // A lost record may share its position with another one: the feed has nothing of it.
    if (place.position == last) continue;
    if ((in_row == kOrderRowRecords || place.position != last.next()) && !end_row()) return;
    append_order(value, place.conversation_number, place.seq);
    last = place.position;
    ++in_row;
  }
  end_row();
}

namespace {

using Conversation = SortedSegment::Conversation;

// The rows of one group, whose entries come ascending by last position.
bool put_activity(std::string_view user, std::span<const Conversation> group, SortedFile& file) {
  std::string key;
  std::string value;
  for (std::size_t from = 0; from < group.size(); from += kActivityRowEntries) {
    const auto row = group.subspan(from, std::min(kActivityRowEntries, group.size() - from));
    const LogPosition row_position = row.back().last_position;
    value.clear();
    for (const Conversation& c : row) {
      append_activity(value, row_position, c.id, {{}, c.first_seq, c.last_seq, c.first_position, c.last_position});
    }
    activity_key(user, row_position, key);
    if (!file.put(key, value)) return false;
  }
  return true;
}

// What a user has in the segment, cut into stretches of positions in each of which at most kActivityGroupEntries conversations have
// something. So a reader who may take so much at a time gets each record once and in order, however the conversations interleave.
bool put_activity_groups(const SortedSegment& sorted, std::string_view user, std::span<const SortedSegment::UserRow> rows,
                         SortedFile& file) {
  struct Place {
    LogPosition position;
    MessageSeq seq;
    std::uint32_t conversation;
  };
  std::vector<Place> places;
  for (const auto& row : rows) {
    const Conversation& c = sorted.conversations()[row.conversation];
    const auto timeline = sorted.timeline().subspan(c.timeline);
    for (std::size_t i = 0; i < timeline.size(); ++i) {
      const Message& record = sorted.record(timeline[i]);
      if (record.place().conversation_number != c.number) break;
      places.push_back({record.place().position, record.seq(), row.conversation});
    }
  }
  std::ranges::sort(places, [](const Place& a, const Place& b) { return std::pair(a.position, a.seq) < std::pair(b.position, b.seq); });

  std::vector<Conversation> group;
  std::unordered_map<std::uint32_t, std::size_t> in_group;  // conversation -> index in group
  const auto end_group = [&] {
    std::ranges::sort(group, {}, &Conversation::last_position);
    const bool good = put_activity(user, group, file);
    group.clear();
    in_group.clear();
    return good;
  };
  LogPosition before;
  for (const Place& place : places) {
    const bool fits = group.size() < kActivityGroupEntries || in_group.contains(place.conversation);
    // A record that is lost may share its position with another one.
    if (!fits && place.position != before && !end_group()) return false;
    const auto [at, added] = in_group.emplace(place.conversation, group.size());
    if (added) {
      group.push_back(sorted.conversations()[place.conversation]);
      group.back().first_seq = place.seq;
      group.back().first_position = place.position;
    }
    Conversation& entry = group[at->second];
    entry.last_seq = place.seq;
    entry.last_position = place.position;
    before = place.position;
  }
  return end_group();
}

}  // namespace

void write_activity_rows(const SortedSegment& sorted, SortedFile& file) {
  const auto rows = sorted.activity();
  std::vector<Conversation> group;
  for (std::size_t from = 0; from < rows.size();) {
    std::size_t to = from + 1;
    while (to < rows.size() && rows[to].user == rows[from].user) ++to;
    const auto of_user = rows.subspan(from, to - from);
    from = to;
    if (of_user.size() > kActivityGroupEntries) {
      if (!put_activity_groups(sorted, of_user.front().user, of_user, file)) return;
      continue;
    }
    group.clear();
    for (const auto& row : of_user) group.push_back(sorted.conversations()[row.conversation]);
    if (!put_activity(of_user.front().user, group, file)) return;
  }
}

void write_dedup_rows(const SortedSegment& sorted, std::span<const DedupEntry> entries, SortedFile& file) {
  char key[kDedupKeyBytes];
  char value[kDedupValueBytes];
  const auto order = sorted.dedup();
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i + SortedSegment::kPrefetchAhead < order.size()) __builtin_prefetch(&entries[order[i + SortedSegment::kPrefetchAhead]]);
    const DedupEntry& entry = entries[order[i]];
    encode_dedup_key(entry.key, key);
    encode_dedup_value(entry, value);
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
