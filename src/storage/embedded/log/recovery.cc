#include "storage/embedded/log/recovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/log.h"

namespace dunlin::embedded {
namespace {

constexpr std::size_t kMostCopies = 64;  // torn-* files: a server that is killed again and again must not fill the disk with them

}  // namespace

Result<Recovered> Recovery::run(const std::string& data_folder, std::uint32_t secret, LogPosition passed) {
  Recovered out;
  last_number_ = history_.last_conversation_number();
  TRY_ASSIGN(out.scan, scan_log(fs_, pool_.folder(), secret, history_.position(), *this));
  LogScan& scan = out.scan;
  if (scan.tail) TRY(keep_tail(data_folder, *scan.tail));
  TRY(set_aside(data_folder, scan));
  TRY(make_durable(scan));
  end_part();
  out.kept = kept_of(scan, passed);
  give_free(scan, out.kept);
  report(scan);
  out.unused = unused_;
  out.unnamed = still_unnamed_;
  out.last_conversation_number = last_number_;
  return out;
}

std::vector<KeptSegment> Recovery::kept_of(const LogScan& scan, LogPosition passed) {
  std::vector<KeptSegment> kept;
  for (const PastSegment& past : scan.past) {
    const SegmentFile& file = scan.files[past.file];
    if (file.in_log) continue;
    if (past.first > past.last) {
      if (!kept.empty()) kept.back().files.push_back(file.name);
    } else if (past.last > passed) {
      kept.push_back({{file.name}, past.first, past.last});
    }
  }
  return kept;
}

void Recovery::give_free(const LogScan& scan, const std::vector<KeptSegment>& kept) {
  std::set<std::string_view> keep;
  for (const KeptSegment& segment : kept) keep.insert(segment.files.begin(), segment.files.end());
  for (const auto& file : scan.files) {
    pool_.know(file.name);
    if (file.in_log || keep.contains(file.name)) continue;
    if (file.void_news) {
      pool_.give_dirty(file.name);
    } else {
      pool_.give(file.name, file.bytes == pool_.segment_bytes());
    }
  }
}

void Recovery::report(const LogScan& scan) {
  for (const Lost& lost : unnamed_) {
    // A later record of the same conversation may have told its name.
    const auto named = names_.find(lost.number);
    if (named == names_.end()) ++still_unnamed_;
    log_error("store", "a record of the log is damaged",
              {{"conversation", named == names_.end() ? fmt::format("number {}", lost.number) : named->second},
               {"seq", lost.seq.value()},
               {"position", lost.position.value()}});
  }
  if (scan.unknown != 0) log_error("store", "records of the log are lost without a trace", {{"records", scan.unknown}});
  if (scan.damaged != 0)
    log_error("store", "batches of the log are damaged; their records are read one by one", {{"places", scan.damaged}});
  if (scan.stale != 0) log_error("store", "segments of the log contradict history and are void", {{"segments", scan.stale}});
}

// Whether history holds this very message at its place. What it cannot tell any more (trimmed, damaged) is no contradiction.
bool Recovery::agrees(const Message& message) {
  auto page = history_.feed(message.place().position.prev(), 1);
  if (!page.ok() || page->messages.empty() || page->messages.front()->place().position != message.place().position) return true;
  const Message& held = *page->messages.front();
  return held.conversation() == message.conversation() && held.seq() == message.seq() && held.sender() == message.sender() &&
         held.client_msg_id() == message.client_msg_id() && held.place().time_ms == message.place().time_ms;
}

// The first record of a conversation that the log tells. Looked at only when the log is in doubt: it costs a look-up each.
bool Recovery::is_older_than_history(const Conversation& c, const MessagePlace& place) {
  if (!doubt_ || c.given.last_seq != MessageSeq()) return false;
  const auto stored = history_.head(ConversationId(std::string_view(c.id)));
  return stored.ok() && *stored && (*stored)->last_seq >= place.seq;
}

void Recovery::on_segment(const std::string& file) {
  end_part();
  file_ = file;
}

void Recovery::end_part() {
  // An empty part: all of its records were repeats.
  if (!file_.empty() && !window_.seal(file_)) unused_.push_back(file_);
}

Conversation& Recovery::conversation(std::string_view name) {
  const std::size_t hash = Conversations::hash_of(name);
  Conversations::Shard& shard = conversations_.shard_of(hash);
  ConversationsLock lock(shard);
  Conversation& found = conversations_.find_or_add(shard, hash, name);
  found.loaded = true;
  return found;
}

void Recovery::on_record(MessagePtr message) {
  Conversation& c = conversation(message->conversation());
  const MessagePlace& place = message->place();
  if (c.given.last_seq >= place.seq || is_older_than_history(c, place)) {
    log_error("store", "a record of the log repeats a seq and is skipped",
              {{"conversation", c.id}, {"seq", place.seq.value()}, {"position", place.position.value()}});
    return;
  }
  names_.try_emplace(place.conversation_number, c.id);
  last_number_ = std::max(last_number_, place.conversation_number);
  if (c.given.last_seq != MessageSeq()) {
    // What is missing between two records was lost without a trace.
    for (MessageSeq seq = c.given.last_seq.next(); seq < place.seq; seq = seq.next()) {
      c.given.number = place.conversation_number;
      put_lost({place.position.prev(), place.conversation_number, seq, c.id});
    }
  }
  if (place.previous == LogPosition()) {
    ConversationsLock lock(conversations_.shard_of(c));
    c.readable_at = intake_.trimmed_through();
  }
  c.given.number = place.conversation_number;
  c.given.last_seq = place.seq;
  c.given.last_position = place.position;
  c.given.first_user_count = place.first_user_count;
  Window::Item item;
  item.dedup = intake_.dedup_of(*message);
  item.dedup.seq = place.seq;
  item.dedup.time_ms = place.time_ms;
  item.conversation = &c;
  item.message = std::move(message);
  window_.dedup().reserve(1);
  item.dedup_slot = window_.dedup().insert(item.dedup.key, {DedupPlace::kBatch, 0});
  window_.publish({&item, 1});
}

void Recovery::on_lost(LogPosition position, std::uint64_t number, MessageSeq seq, std::string_view name) {
  last_number_ = std::max(last_number_, number);
  Lost lost{position, number, seq, std::string(name)};
  if (lost.conversation.empty()) lost.conversation = name_of(number, seq);
  if (lost.conversation.empty()) {
    unnamed_.push_back(std::move(lost));
    return;
  }
  names_.try_emplace(number, lost.conversation);
  put_lost(lost);
}

bool Recovery::is_in_window(const Conversation& c) {
  ConversationsLock lock(conversations_.shard_of(c));
  return !c.run.empty();
}

void Recovery::put_lost(const Lost& lost) {
  Conversation& c = conversation(lost.conversation);
  if (c.given.last_seq >= lost.seq) return;
  if (c.given.last_seq == MessageSeq()) {
    // No record tells the count of the first user's messages, so it goes on from history's.
    const auto stored = history_.head(ConversationId(std::string_view(c.id)));
    if (stored.ok() && *stored) {
      ConversationsLock lock(conversations_.shard_of(c));
      c.given.first_user_count = c.head.first_user_count = (*stored)->first_user_count;
    }
  }
  log_error("store", "a record of the log is damaged",
            {{"conversation", lost.conversation}, {"seq", lost.seq.value()}, {"position", lost.position.value()}});
  if (is_in_window(c)) {
    for (MessageSeq seq = c.given.last_seq.next(); seq < lost.seq; seq = seq.next()) {
      window_.publish_lost({ConversationId(std::string_view(c.id)), lost.number, seq, lost.position.prev()}, c);
    }
  }
  c.given.number = lost.number;
  c.given.last_seq = lost.seq;
  c.given.last_position = lost.position;
  window_.publish_lost({ConversationId(std::string_view(c.id)), lost.number, lost.seq, lost.position}, c);
}

// The conversation's name from any other record under its number.
std::string Recovery::name_of(std::uint64_t number, MessageSeq seq) {
  if (const auto found = names_.find(number); found != names_.end()) return found->second;
  if (seq.value() < 2) return {};
  ConversationHead head;
  head.number = number;
  head.last_seq = seq.prev();
  auto page = history_.range(head, {ConversationId(), MessageSeq(1), seq.prev(), 1, 1 << 20, true});
  if (!page.ok() || page->messages.empty()) return {};
  return std::string(page->messages.front()->conversation());
}

// What is served from here on must survive, and of what lies behind the last mark it is not known that it is on the disk: after kill -9 it
// may be in the kernel only, and if a sync of it had failed, the kernel may believe it clean. So it is written again, then synced.
Status Recovery::make_durable(const LogScan& scan) {
  for (const auto& file : scan.files) {
    if (!file.in_log || file.generation < scan.synced.generation) continue;
    const std::uint64_t from = file.generation == scan.synced.generation ? scan.synced.offset : 0;
    const std::uint64_t to = file.generation == scan.end.generation ? scan.end.offset : file.bytes;
    TRY_ASSIGN(const auto opened, fs_.open(pool_.path(file.name), OpenMode::Write));
    std::string bytes;
    if (from < to) TRY(opened->read(from, to - from, bytes));
    if (!bytes.empty()) TRY(opened->write(from, bytes));
    TRY(opened->sync_data());
  }
  return fs_.sync_folder(pool_.folder());
}

Status Recovery::set_aside(const std::string& data_folder, const LogScan& scan) {
  for (const auto& file : scan.files) {
    if (file.in_log || !file.set_aside || (scan.tail && scan.tail->file == file.name)) continue;
    TornTail whole{file.name, 0, {}};
    TRY_ASSIGN(whole.bytes, read_segment_file(fs_, pool_.path(file.name)));
    whole.bytes.resize(whole.bytes.find_last_not_of('\0') + 1);
    TRY(keep_tail(data_folder, whole));
  }
  return {};
}

Status Recovery::keep_tail(const std::string& data_folder, const TornTail& tail) {
  const std::string name = fmt::format("torn-{}-{}", tail.file, tail.offset);
  const std::string path = data_folder + "/" + name;
  TRY_ASSIGN(const auto names, fs_.list(data_folder));
  const auto copies = std::count_if(names.begin(), names.end(), [&](const std::string& n) { return n.starts_with("torn-") && n != name; });
  if (static_cast<std::size_t>(copies) >= kMostCopies) {
    log_warn("store", "the end of the log is torn and cut; it is not copied, since there are many copies already: remove torn-*",
             {{"file", tail.file}, {"offset", tail.offset}, {"bytes", tail.bytes.size()}, {"copies", copies}});
    return {};
  }
  log_warn("store", "the end of the log is torn: copied aside and cut",
           {{"file", tail.file}, {"offset", tail.offset}, {"bytes", tail.bytes.size()}, {"copy", path}});
  TRY_ASSIGN(const auto copy, fs_.open(path, OpenMode::Create));
  TRY(copy->truncate(0));
  TRY(copy->write(0, tail.bytes));
  return copy->sync_data();
}

}  // namespace dunlin::embedded
