#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "storage/embedded/log/intake.h"
#include "storage/embedded/log/kept_log.h"
#include "storage/embedded/log/log_scan.h"
#include "storage/embedded/log/segment_pool.h"
#include "storage/embedded/log/window.h"

namespace dunlin::embedded {

struct Recovered {
  LogScan scan;
  std::uint64_t last_conversation_number = 0;
  std::uint64_t unnamed = 0;        // lost records whose conversation could not be found out
  std::vector<std::string> unused;  // files of the log of which nothing is news: free once everything has started
  std::vector<KeptSegment> kept;    // of history's part, what holds something above the position that all followers have
};

// Puts the log that history does not hold back into the window: each segment file becomes a sealed part. Free files go to the pool; those
// whose content could be taken for news are written anew before they are used. The torn tail, and files that were begun and cannot be
// read, are copied to <data>/torn-<file>-<offset> and logged; lost records are named and become gaps. Before any thread starts.
class Recovery final : public LogScanSink {
 public:
  Recovery(FileSystem& files, Conversations& conversations, Window& window, Intake& intake, History& history, SegmentPool& pool)
      : fs_(files), conversations_(conversations), window_(window), intake_(intake), history_(history), pool_(pool) {}

  // `passed`: what no follower needs any more.
  Result<Recovered> run(const std::string& data_folder, std::uint32_t secret, LogPosition passed = LogPosition(UINT64_MAX));

  void on_doubt() override { doubt_ = true; }
  bool agrees(const Message& message) override;
  void on_segment(const std::string& file) override;
  void on_record(MessagePtr message) override;
  void on_cursors(std::string_view bytes) override {
    if (take_cursors) take_cursors(bytes);
  }
  void on_lost(LogPosition position, std::uint64_t number, MessageSeq seq, std::string_view conversation) override;

  std::function<void(std::string_view)> take_cursors;  // gets the batches of cursors

 private:
  struct Lost {
    LogPosition position;
    std::uint64_t number = 0;
    MessageSeq seq;
    std::string conversation;
  };
  Conversation& conversation(std::string_view name);
  bool is_in_window(const Conversation& c);
  void put_lost(const Lost& lost);
  std::string name_of(std::uint64_t number, MessageSeq seq);
  void end_part();
  Status make_durable(const LogScan& scan);
  Status keep_tail(const std::string& data_folder, const TornTail& tail);
  Status set_aside(const std::string& data_folder, const LogScan& scan);
  static std::vector<KeptSegment> kept_of(const LogScan& scan, LogPosition passed);
  void give_free(const LogScan& scan, const std::vector<KeptSegment>& kept);
  void report(const LogScan& scan);
  bool is_older_than_history(const Conversation& c, const MessagePlace& place);

  FileSystem& fs_;
  Conversations& conversations_;
  Window& window_;
  Intake& intake_;
  History& history_;
  SegmentPool& pool_;
  std::unordered_map<std::uint64_t, std::string> names_;  // conversation number → id, of the records read
  std::vector<std::string> unused_;
  std::string file_;  // that is being read; empty before the first
  std::vector<Lost> unnamed_;
  bool doubt_ = false;  // records may be older than what history holds: each conversation's first one is compared
  std::uint64_t last_number_ = 0;
  std::uint64_t still_unnamed_ = 0;
};

}  // namespace dunlin::embedded
