#include "storage/memory/testing/shared_rows.h"

#include <algorithm>

#include "messaging/ports/inbox_cut.h"
#include "messaging/ports/news_ranges.h"

namespace dunlin {
SharedRows::SharedRows(Durability durability) : digest_key_(SipKey::random()), durability_(durability) {}

const SharedRows::User* SharedRows::find(std::string_view user) const {
  const auto at = users_.find(user);
  return at == users_.end() ? nullptr : &at->second;
}

// -- steps

std::vector<shared::Appended> SharedRows::append(const shared::Append& batch, std::uint64_t now_ms) {
  using Kind = shared::Appended::Kind;
  clear_due(batch.bucket, batch.noted);
  std::vector<shared::Appended> out;
  for (std::size_t i = 0; i < batch.sends.size(); ++i) {
    const Message* const message = batch.sends[i].message.get();
    std::string key = dedup_key(*message);
    const std::uint64_t digest = dedup_digest(digest_key_, *message);
    if (const auto at = ids_.find(key); at != ids_.end()) {
      const Original& original = at->second;
      // The same batch again: what it has stored is stored now. A second one of an id within the batch was a duplicate then.
      const bool mine = original.node_epoch == batch.node_epoch && original.number == batch.number && original.index == i;
      out.push_back({original.digest != digest ? Kind::Conflict : mine ? Kind::Stored : Kind::Duplicate, original.place, durability_});
      continue;
    }
    const ConversationId conversation(message->conversation());
    Timeline& timeline = timelines_[conversation];
    timeline.bucket = batch.bucket;
    if (timeline.head.number == 0) timeline.head.number = ++conversations_;
    const MessagePlace place = timeline.take_place(*message, now_ms);
    // The rows' own: the sender's is on another machine.
    timeline.messages.push_back(Message::copy(*message));
    timeline.messages.back()->set_place(place);
    ids_by_time_.emplace_back(now_ms, key);
    ids_.emplace(std::move(key), Original{place, digest, batch.node_epoch, batch.number, i});
    DueRow& due = due_[batch.bucket][conversation];
    if (due.seq == MessageSeq(0)) due.since_ms = now_ms;
    due.seq = place.seq;
    due.generation = generation_;
    out.push_back({Kind::Stored, place, durability_});
    if (on_stored) on_stored(*timeline.messages.back());
  }
  return out;
}

shared::Noted SharedRows::note(const shared::Note& note) {
  User& user = users_[note.user.str()];
  MessageSeq& noted = user.noted[note.conversation];
  shared::Noted out;
  out.generation = generation_;
  out.previous = out.newest = std::max(user.newest, floor_);
  if (note.seq <= noted) return out;
  if (user.generation != generation_) {
    out.previous = InboxPosition(out.previous.value() + kJump * (generation_ - user.generation));
    user.generation = generation_;
  }
  out.added = true;
  out.first_seq = noted.next();
  out.newest = InboxPosition(out.previous.value() + note.seq.value() - noted.value());
  InboxEntry entry{note.conversation, out.first_seq, note.seq, out.previous.next(), out.newest};
  const auto before = user.entries.find(user.newest);
  if (before != user.entries.end() && before->second.conversation == note.conversation && user.newest == out.previous) {
    entry.first_seq = before->second.first_seq;
    entry.first_position = before->second.first_position;
    user.entries.erase(before);
  }
  user.entries.emplace(entry.last_position, std::move(entry));
  noted = note.seq;
  user.newest = out.newest;
  user.highest = std::max(user.highest, out.newest);
  return out;
}

std::vector<shared::Due> SharedRows::due(std::uint32_t bucket, std::uint64_t before_ms, const ConversationId& after,
                                         std::size_t limit) const {
  std::vector<shared::Due> out;
  const auto rows = due_.find(bucket);
  if (rows == due_.end()) return out;
  for (auto at = rows->second.upper_bound(after); at != rows->second.end() && out.size() < limit; ++at) {
    if (at->second.since_ms <= before_ms) out.push_back({at->first, at->second.seq, at->second.generation});
  }
  return out;
}

void SharedRows::clear_due(std::uint32_t bucket, const std::vector<shared::Due>& noted) {
  auto& rows = due_[bucket];
  for (const shared::Due& one : noted) {
    const auto at = rows.find(one.conversation);
    if (at == rows.end() || at->second.generation > one.generation) continue;
    if (at->second.seq <= one.seq) {
      rows.erase(at);
      continue;
    }
    // What is left has been due since it was stored. Trimmed already: since the other was.
    const Timeline& timeline = timelines_[one.conversation];
    if (one.seq.next() < timeline.head.first_readable) continue;
    const MessagePtr& next = timeline.messages[one.seq.next().value() - timeline.head.first_readable.value()];
    at->second.since_ms = std::max(at->second.since_ms, next->place().time_ms);
  }
}

void SharedRows::forget_old_ids(std::uint64_t before_ms) {
  while (!ids_by_time_.empty() && ids_by_time_.front().first < before_ms) {
    ids_.erase(ids_by_time_.front().second);
    ids_by_time_.pop_front();
  }
}

// -- reads

ConversationHead SharedRows::head(const ConversationId& conversation) const {
  const auto at = timelines_.find(conversation);
  return at == timelines_.end() ? ConversationHead{} : at->second.head;
}

RangePage SharedRows::range(const RangeQuery& query) const {
  const auto at = timelines_.find(query.conversation);
  if (at == timelines_.end()) return {};
  const Timeline& timeline = at->second;
  MessageSeq to = std::min(query.to, timeline.head.last_seq);
  if (query.within) to = std::min(to, seq_at(query.within->user, query.conversation, query.within->position));
  RangePage page = timeline.read(query, to);
  timeline.hide(page, query.newest_first);
  return page;
}

MessageSeq SharedRows::seq_at(const UserId& name, const ConversationId& conversation, InboxPosition position) const {
  const User* user = find(name.view());
  if (user == nullptr) return MessageSeq(0);
  const auto noted = user->noted.find(conversation);
  if (noted == user->noted.end()) return MessageSeq(0);
  if (position >= user->newest) return noted->second;
  MessageSeq found;
  for (const auto& [last, entry] : user->entries) {
    if (entry.conversation != conversation) continue;
    // Of what lies below the first entry nobody knows more than that it was before it.
    if (entry.first_position > position) return std::max(found, position >= user->trimmed ? entry.first_seq.prev() : found);
    found = last <= position ? entry.last_seq : MessageSeq(entry.first_seq.value() + (position.value() - entry.first_position.value()));
    if (last > position) return found;
  }
  return position >= user->trimmed ? noted->second : found;
}

InboxPage SharedRows::entries_since(const UserId& name, InboxPosition after, std::size_t limit) const {
  InboxPage page;
  const User* user = find(name.view());
  page.scanned_to = std::max(after, newest(name.view()));
  if (user == nullptr) return page;
  page.truncated = after < user->trimmed;
  for (auto at = user->entries.upper_bound(after); at != user->entries.end(); ++at) page.entries.push_back(at->second);
  cut_entries(page, after, std::max<std::size_t>(limit, 1));
  return page;
}

NewsPage SharedRows::news_since(const NewsQuery& query) const {
  NewsPage out;
  out.inbox = entries_since(query.user, query.after, query.max_entries);
  read_news_ranges(
      out.inbox.entries, query.after, query, out.ranges,
      [&](const ConversationId& conversation) { return std::optional(seq_at(query.user, conversation, query.after)); },
      [&](const InboxEntry&, RangeQuery part, bool) {
        part.within = InboxPlace{query.user, out.inbox.scanned_to};
        return std::optional(range(part));
      });
  return out;
}

InboxPage SharedRows::newest_entries(const UserId& name, InboxPosition from, std::size_t limit) const {
  InboxPage page;
  const User* user = find(name.view());
  if (user == nullptr) return page;
  auto at = user->entries.upper_bound(from);
  while (at != user->entries.begin() && page.entries.size() < std::max<std::size_t>(limit, 1)) page.entries.push_back((--at)->second);
  page.more = at != user->entries.begin();
  return page;
}

ConversationsPage SharedRows::conversations(const UserId& name, const ConversationId& after, std::size_t limit) const {
  ConversationsPage page;
  const User* user = find(name.view());
  if (user == nullptr) return page;
  auto at = after.empty() ? user->noted.begin() : user->noted.upper_bound(after);
  for (; at != user->noted.end() && page.conversations.size() < limit; ++at) page.conversations.push_back(at->first);
  page.more = at != user->noted.end();
  return page;
}

InboxPosition SharedRows::newest(std::string_view name) const {
  const User* user = find(name);
  return user == nullptr ? floor_ : std::max(user->newest, floor_);
}

InboxPosition SharedRows::highest_given(std::string_view name) const {
  const User* user = find(name);
  return user == nullptr ? floor_ : std::max(user->highest, floor_);
}

InboxPosition SharedRows::trimmed_through(std::string_view name) const {
  const User* user = find(name);
  return user == nullptr ? InboxPosition() : user->trimmed;
}

bool SharedRows::recall(const ConversationId& conversation, MessageSeq seq) {
  const auto at = timelines_.find(conversation);
  MessagePtr gone;
  return at != timelines_.end() && at->second.recall(seq, gone);
}

// -- for tests

bool SharedRows::any_due() const {
  return std::ranges::any_of(due_, [](const auto& rows) { return !rows.second.empty(); });
}

void SharedRows::trim() {
  for (auto& [id, timeline] : timelines_) {
    timeline.messages.clear();
    timeline.recalled.clear();
    timeline.head.first_readable = timeline.head.last_seq.next();
  }
  for (auto& [name, user] : users_) {
    user.entries.clear();
    user.trimmed = user.newest;
  }
}

void SharedRows::lose_tail(User& user, std::uint64_t most) {
  const InboxPosition keep(std::max(user.trimmed.value(), user.newest.value() - std::min(user.newest.value(), most)));
  while (!user.entries.empty() && user.entries.rbegin()->first > keep) {
    InboxEntry entry = std::move(user.entries.rbegin()->second);
    user.entries.erase(std::prev(user.entries.end()));
    MessageSeq left = entry.first_seq.prev();
    if (entry.first_position <= keep) {
      entry.last_seq = left = MessageSeq(entry.first_seq.value() + (keep.value() - entry.first_position.value()));
      entry.last_position = keep;
      user.entries.emplace(keep, entry);
    }
    MessageSeq& noted = user.noted[entry.conversation];
    noted = std::min(noted, left);
    // The timelines of the last minute are noted again (here: those that are concerned).
    const Timeline& timeline = timelines_[entry.conversation];
    DueRow& due = due_[timeline.bucket][entry.conversation];
    due = {timeline.head.last_seq, 0, generation_};
  }
  user.newest = std::min(user.newest, keep);
}

}  // namespace dunlin
