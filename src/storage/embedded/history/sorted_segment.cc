#include "storage/embedded/history/sorted_segment.h"

#include <algorithm>
#include <numeric>

#include "messaging/model/conversation.h"
#include "storage/embedded/history/bytes.h"

namespace dunlin::embedded {
namespace {

// Length of what all the strings begin with.
template <class Items, class View>
std::size_t common_prefix(const Items& items, const View& view) {
  if (items.empty()) return 0;
  const std::string_view first = view(items.front());
  std::size_t common = first.size();
  for (const auto& item : items) {
    const std::string_view text = view(item);
    common = std::min(common, text.size());
    while (common > 0 && text.compare(0, common, first, 0, common) != 0) --common;
    if (common == 0) break;
  }
  return common;
}

// Eight bytes behind the common part as a number that orders as the bytes do; short strings are filled with zeros, so equal
// numbers say nothing and the strings must be compared.
std::uint64_t rank_of(std::string_view text, std::size_t common) {
  text.remove_prefix(common);
  if (text.size() >= 8) return get_be64(text.data());
  char bytes[8] = {};
  std::copy(text.begin(), text.end(), bytes);
  return get_be64(bytes);
}

}  // namespace

SortedSegment::SortedSegment(const SealedSegment& segment, const std::function<std::uint64_t(const ConversationId&)>& first_user_count)
    : segment_(segment) {
  place_lost();
  sort_timeline();
  if (!lost_.empty()) count_lost(first_user_count);
  collect_conversations();
  sort_heads();
  sort_dedup();
  sort_users();
}

void SortedSegment::place_lost() {
  for (const LostRecord& record : segment_.lost) {
    MessageDraft draft;
    draft.conversation = record.conversation.view();
    MessagePtr stand_in = Message::create(draft);
    MessagePlace place;
    place.seq = record.seq;
    place.position = record.position;
    place.conversation_number = record.conversation_number;
    stand_in->set_place(place);
    lost_.push_back(std::move(stand_in));
  }
}

// Who sent a lost record is unknown: it counts as the peer's.
void SortedSegment::count_lost(const std::function<std::uint64_t(const ConversationId&)>& first_user_count) {
  for (std::size_t i = 0; i < timeline_.size(); ++i) {
    if (!is_lost(timeline_[i])) continue;
    Message& stand_in = *lost_[timeline_[i] - segment_.records.size()];
    MessagePlace place = stand_in.place();
    const Message* before = i > 0 ? &record(timeline_[i - 1]) : nullptr;
    const bool known = before && before->place().conversation_number == place.conversation_number;
    place.first_user_count = known ? before->place().first_user_count : first_user_count(ConversationId(stand_in.conversation()));
    stand_in.set_place(place);
  }
}

void SortedSegment::prefetch(std::size_t place) const {
  if (place >= timeline_.size()) return;
  const char* lines = reinterpret_cast<const char*>(&record(timeline_[place]));
  for (std::size_t line = 0; line < 4; ++line) __builtin_prefetch(lines + line * 64);
}

void SortedSegment::collect_conversations() {
  std::vector<std::uint32_t> id_sizes;
  for (std::size_t i = 0; i < timeline_.size(); ++i) {
    prefetch(i + kPrefetchAhead);
    const Message& message = record(timeline_[i]);
    const MessagePlace& place = message.place();
    if (conversations_.empty() || conversations_.back().number != place.conversation_number) {
      conversations_.push_back({{}, place.conversation_number, place.seq, place.position, {}, {}, 0, static_cast<std::uint32_t>(i)});
      ids_.append(message.conversation());
      id_sizes.push_back(static_cast<std::uint32_t>(message.conversation().size()));
    }
    Conversation& conversation = conversations_.back();
    conversation.last_seq = place.seq;
    conversation.last_position = place.position;
    conversation.first_user_count = place.first_user_count;
  }
  std::size_t at = 0;
  for (std::size_t i = 0; i < conversations_.size(); at += id_sizes[i++])
    conversations_[i].id = std::string_view(ids_).substr(at, id_sizes[i]);
}

std::vector<std::uint32_t> SortedSegment::in_log_order() const {
  std::vector<std::uint32_t> order(timeline_.size());
  std::iota(order.begin(), order.end(), 0U);
  // One that is lost without a trace has the position of another one, which comes first.
  const auto by_position = [&](std::uint32_t a, std::uint32_t b) {
    return std::pair(record(a).place().position, is_lost(a)) < std::pair(record(b).place().position, is_lost(b));
  };
  if (!lost_.empty()) std::sort(order.begin(), order.end(), by_position);
  return order;
}

void SortedSegment::sort_timeline() {
  struct Place {
    std::uint64_t number;
    MessageSeq seq;
    std::uint32_t index;
  };
  std::vector<Place> places;
  const std::size_t count = segment_.records.size() + lost_.size();
  places.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) places.push_back({record(i).place().conversation_number, record(i).seq(), i});
  std::sort(places.begin(), places.end(),
            [](const Place& a, const Place& b) { return a.number != b.number ? a.number < b.number : a.seq < b.seq; });
  timeline_.reserve(places.size());
  for (const Place& place : places) timeline_.push_back(place.index);
}

void SortedSegment::sort_heads() {
  struct Entry {
    std::uint64_t rank;
    std::string_view id;
    std::uint32_t conversation;
  };
  std::vector<Entry> entries;
  entries.reserve(conversations_.size());
  for (std::uint32_t i = 0; i < conversations_.size(); ++i) entries.push_back({0, conversations_[i].id, i});
  const std::size_t common = common_prefix(entries, [](const Entry& e) { return e.id; });
  for (auto& entry : entries) entry.rank = rank_of(entry.id, common);
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.rank != b.rank ? a.rank < b.rank : a.id < b.id; });
  heads_.reserve(entries.size());
  for (const auto& entry : entries) heads_.push_back(entry.conversation);
}

void SortedSegment::sort_dedup() {
  struct Entry {
    DedupKey key;
    std::uint32_t index;
  };
  std::vector<Entry> entries;
  entries.reserve(segment_.dedup.size());
  for (std::uint32_t i = 0; i < segment_.dedup.size(); ++i) entries.push_back({segment_.dedup[i].key, i});
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.key != b.key ? a.key < b.key : a.index < b.index; });
  dedup_.reserve(entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (i + 1 < entries.size() && entries[i + 1].key == entries[i].key) continue;
    dedup_.push_back(entries[i].index);
  }
}

void SortedSegment::sort_users() {
  struct Entry {
    std::uint64_t rank;
    std::string_view user;
    std::uint32_t conversation;
    LogPosition last;
  };
  std::vector<Entry> entries;
  entries.reserve(conversations_.size() * 2);
  for (std::uint32_t i = 0; i < conversations_.size(); ++i) {
    const LogPosition last = conversations_[i].last_position;
    const auto pair = parse_private(conversations_[i].id);
    if (!pair) continue;
    entries.push_back({0, pair->first, i, last});
    if (pair->second != pair->first) entries.push_back({0, pair->second, i, last});
  }
  const std::size_t common = common_prefix(entries, [](const Entry& e) { return e.user; });
  for (auto& entry : entries) entry.rank = rank_of(entry.user, common);
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    // Keys hold the size before the user, so shorter names come first.
    if (a.user.size() != b.user.size()) return a.user.size() < b.user.size();
    if (a.rank != b.rank) return a.rank < b.rank;
    if (const int order = a.user.compare(b.user); order != 0) return order < 0;
    return a.last < b.last;
  });
  activity_.reserve(entries.size());
  for (const auto& entry : entries) {
    activity_.push_back({entry.user, entry.conversation});
    if (conversations_[entry.conversation].first_seq == MessageSeq(1)) list_.push_back({entry.user, entry.conversation});
  }
  // Already by user; within one user by conversation id now.
  const auto id = [&](const UserRow& row) { return conversations_[row.conversation].id; };
  for (auto from = list_.begin(); from != list_.end();) {
    auto to = std::find_if(from, list_.end(), [&](const UserRow& row) { return row.user != from->user; });
    std::sort(from, to, [&](const UserRow& a, const UserRow& b) { return id(a) < id(b); });
    from = to;
  }
}

}  // namespace dunlin::embedded
