#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/thread_annotations.h"
#include "storage/embedded/followers.h"
#include "storage/embedded/history/history.h"
#include "storage/embedded/log/commit_queue.h"
#include "storage/embedded/log/committer.h"
#include "storage/embedded/log/kept_log.h"
#include "storage/embedded/log/segment_pool.h"
#include "storage/embedded/log/window.h"
#include "storage/embedded/recall_rounds.h"

namespace dunlin::embedded {

struct IndexerOptions {
  const Clock* clock = nullptr;
  std::string data_folder;
  std::uint64_t window_bytes = 0;         // the priority rises above half of it
  std::uint64_t kept_bytes = 1ULL << 30;  // of the log, for followers that are behind history
  std::chrono::milliseconds retain_every{60000};
  double reserve_fraction = 0.05;
  std::uint64_t reserve_bytes_max = 4ULL << 30;
  bool ingest = true;
  std::function<Status()> sync_state;  // before a segment is recycled
  // Before a segment that ends at that position enters history: then no start reads the cursors in it any more.
  std::function<Status(LogPosition)> keep_cursors;
  std::function<void(std::string_view)> fault_point;
};

// Brings sealed parts of the window into history, then recycles their files once all followers have them; keeps spares ready, watches the
// disk's free space, lets history retain, and has recalled content leave the files (recall_rounds.h). One thread, SCHED_IDLE where it may
// come back from that (root or LimitNICE), else SCHED_BATCH; raised while the backlog is above half its bound, or many files. What fails is
// tried again every 200 ms; the window's bound is what stops sends then.
//
// Order for one segment: the cursors that ride in it are kept in the state → ingest (atomic, durable) → state sync → the part may leave the
// window → every follower has passed it, or those that have not are marked reset (durable) → the file is free. After a crash between the
// first of them the part is read again from its file, and an ingest at or below history's position is refused without effect.
class Indexer {
 public:
  // What belongs to the log, and outlives the indexer.
  struct Log {
    Window& window;
    SegmentPool& pool;
    KeptLog& kept;
    Followers& followers;
    CommitQueue& queue;
    Committer& committer;
    RecallRounds& recalls;
  };
  Indexer(IndexerOptions options, FileSystem& files, History& history, const Log& log);
  ~Indexer();

  void start();
  void stop();
  // One round on the calling thread; for tests, without start().
  void work();
  void notify();  // a part was sealed
  void check_space();
  // While held, files are not recycled: a backup copies them.
  void hold_files(bool hold);
  // Files of segments that history holds and that are not free yet; of those kept for followers, what history did not hold when
  // hold_files() was called.
  std::vector<std::string> held_files();
  // A segment that holds nothing of the window is free as soon as no backup reads it.
  void recycle(const std::string& file);
  bool idle() const { return !working_.load(std::memory_order_acquire); }

 private:
  void run();
  bool ingest_one();
  void tend_files();
  void tend_recalls();
  void free_passed();
  bool leave_behind(LogPosition needed, std::string_view why);
  void give_held();
  void retain();
  void set_priority();  // any thread

  const IndexerOptions options_;
  FileSystem& fs_;
  History& history_;
  Window& window_;
  SegmentPool& pool_;
  KeptLog& kept_;
  Followers& followers_;
  CommitQueue& queue_;
  Committer& committer_;
  RecallRounds& recalls_;
  std::atomic<bool> working_{false};
  std::atomic<int> thread_id_{0};  // the kernel's; 0 while there is no thread
  std::atomic<bool> may_be_idle_{false};
  std::atomic<bool> raised_{true};
  std::atomic<bool> ending_{false};
  LogPosition retained_;  // what the window was trimmed through

  Mutex mutex_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool notified_ GUARDED_BY(mutex_) = false;
  bool holding_ GUARDED_BY(mutex_) = false;
  LogPosition held_from_ GUARDED_BY(mutex_);  // history's position when the holding began
  std::vector<std::string> held_ GUARDED_BY(mutex_);

  // indexer's thread only
  MonotonicTime next_retain_{};
  bool ingest_alarm_ = false;
  bool spare_alarm_ = false;
  bool follower_alarm_ = false;
  std::thread thread_;
};

}  // namespace dunlin::embedded
