#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "messaging/model/conversation.h"
#include "storage/embedded/history/history.h"

namespace dunlin::embedded {

// For tests of history: a folder of its own, and a scribe that plays the log. It gives places as the committer does, remembers
// every message, and hands sealed segments to history.
class HistoryScribe {
 public:
  HistoryScribe() {
    static int next = 0;
    // Every ingest syncs a dozen files; what is tested here does not depend on a disk.
    const std::filesystem::path memory = "/dev/shm";
    folder = (std::filesystem::exists(memory) ? memory : std::filesystem::temp_directory_path()) /
             ("dunlin-history-" + std::to_string(getpid()) + "-" + std::to_string(next++));
    std::filesystem::create_directories(folder);
    options.path = path();
    options.clock = &clock;
  }
  ~HistoryScribe() { std::filesystem::remove_all(folder); }
  HistoryScribe(const HistoryScribe&) = delete;
  HistoryScribe& operator=(const HistoryScribe&) = delete;

  std::string path() const { return (folder / "history").string(); }
  std::unique_ptr<History> open() {
    auto history = History::open(options);
    if (!history.ok()) {
      last_error = history.error();
      return nullptr;
    }
    return std::move(*history);
  }

  MessagePtr write(const std::string& sender, const std::string& to, const std::string& body) {
    const ConversationId id = private_conversation(sender, to);
    ConversationHead& head = heads[id];
    if (head.number == 0) head.number = ++numbers;
    MessageDraft draft;
    draft.conversation = id.view();
    draft.sender = sender;
    const std::string client_msg_id = "c" + std::to_string(position + 1);
    draft.client_msg_id = client_msg_id;
    draft.body = body;
    MessagePtr message = Message::create(draft);
    MessagePlace place;
    place.seq = head.last_seq.next();
    place.position = LogPosition(++position);
    place.previous = head.last_position;
    place.time_ms = static_cast<std::uint64_t>(to_ms(clock.wall()));
    place.conversation_number = head.number;
    if (parse_private(id.view())->first == sender) ++head.first_user_count;
    place.first_user_count = head.first_user_count;
    head.last_seq = place.seq;
    head.last_position = place.position;
    message->set_place(place);
    messages[id].push_back(message);
    pending.push_back(message);
    return message;
  }

  // What has been written since the last segment.
  SealedSegment seal() {
    sealed = std::move(pending);
    pending.clear();
    dedup.clear();
    SealedSegment segment;
    segment.id = ++segments;
    segment.first = LogPosition(sealed_through + 1);
    segment.last = LogPosition(position);
    sealed_through = position;
    for (const auto& message : sealed) dedup.push_back(dedup_of(*message));
    if (!sealed.empty()) {
      segment.first_time_ms = sealed.front()->place().time_ms;
      segment.last_time_ms = sealed.back()->place().time_ms;
    }
    segment.records = sealed;
    segment.dedup = dedup;
    return segment;
  }
  Status ingest(History& history) { return history.ingest(seal()); }

  // To play on from an earlier state of the folder.
  struct Mark {
    std::uint64_t numbers, position, sealed_through, segments;
    std::map<ConversationId, ConversationHead> heads;
    std::map<ConversationId, std::vector<MessagePtr>> messages;
  };
  Mark mark() const { return {numbers, position, sealed_through, segments, heads, messages}; }
  void back_to(const Mark& mark) {
    numbers = mark.numbers;
    position = mark.position;
    sealed_through = mark.sealed_through;
    segments = mark.segments;
    heads = mark.heads;
    messages = mark.messages;
    pending.clear();
  }

  static DedupEntry dedup_of(const Message& message) {
    DedupEntry entry;
    entry.key.high = std::hash<std::string_view>{}(message.conversation()) ^ message.place().position.value() * 0x9E3779B97F4A7C15ULL;
    entry.key.low = message.place().position.value();
    entry.body_digest = std::hash<std::string_view>{}(message.body());
    entry.seq = message.seq();
    entry.time_ms = message.place().time_ms;
    return entry;
  }

  static RangeQuery all_of(const ConversationId& id) {
    RangeQuery query;
    query.conversation = id;
    query.from = MessageSeq(1);
    query.to = MessageSeq(UINT64_MAX);
    query.max_messages = 1 << 20;
    query.max_bytes = 1 << 30;
    return query;
  }

  std::filesystem::path folder;
  ManualClock clock;
  HistoryOptions options;
  Error last_error{ErrorCode::Internal};
  std::uint64_t numbers = 0;
  std::uint64_t position = 0;
  std::uint64_t sealed_through = 0;
  std::uint64_t segments = 0;
  std::map<ConversationId, ConversationHead> heads;
  std::map<ConversationId, std::vector<MessagePtr>> messages;
  std::vector<MessagePtr> pending;
  std::vector<MessagePtr> sealed;
  std::vector<DedupEntry> dedup;
};

// While it lives, no file of the process grows beyond `bytes`: writes fail as on a full disk.
class SmallFiles {
 public:
  explicit SmallFiles(rlim_t bytes) {
    before_ = std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit_);
    const rlimit small{bytes, limit_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
  }
  ~SmallFiles() {
    setrlimit(RLIMIT_FSIZE, &limit_);
    std::signal(SIGXFSZ, before_);
  }
  SmallFiles(const SmallFiles&) = delete;
  SmallFiles& operator=(const SmallFiles&) = delete;

 private:
  rlimit limit_{};
  void (*before_)(int) = nullptr;
};

inline bool same_message(const Message& a, const Message& b) {
  return a.conversation() == b.conversation() && a.sender() == b.sender() && a.client_msg_id() == b.client_msg_id() &&
         a.content_type() == b.content_type() && a.body() == b.body() && a.seq() == b.seq() && a.place().position == b.place().position &&
         a.place().previous == b.place().previous && a.place().time_ms == b.place().time_ms &&
         a.place().conversation_number == b.place().conversation_number && a.place().first_user_count == b.place().first_user_count;
}

}  // namespace dunlin::embedded
