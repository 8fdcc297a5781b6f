#include "storage/embedded/log/log_chain.h"

#include <algorithm>
#include <set>

namespace dunlin::embedded {
namespace {

constexpr std::uint64_t kLargestSegment = 1ULL << 31;
constexpr std::uint64_t kSector = 4096;
// How far a generation that nothing names may lie above the newest known: attempts that failed use some up.
constexpr std::uint64_t kGenerationsAhead = 16;

bool is_segment_name(std::string_view name) {
  return name.size() > 4 && name.starts_with("p") && name.ends_with(".seg");
}

Result<std::uint64_t> size_of(File& file, const std::string& path) {
  TRY_ASSIGN(const std::uint64_t size, file.size());
  if (size > kLargestSegment) return Error(ErrorCode::Corrupt, path + " is larger than any segment");
  return size;
}

class ChainSearch {
 public:
  ChainSearch(FileSystem& files, const std::string& folder, std::uint32_t secret, LogPosition history)
      : fs_(files), folder_(folder), secret_(secret), history_(history) {}

  Result<LogChain> run() {
    TRY(index_files());
    TRY(name_headless());
    TRY(walk());
    judge_the_rest();
    return std::move(out_);
  }

 private:
  // What is known of a file beside what others may know.
  struct Found {
    std::vector<BatchHead> batches;
    bool headless = false;  // something was written to its beginning that is no good batch
    bool begun = false;     // and it looks like the head of one
    std::uint64_t claimed = 0;
    bool used = false;
  };

  Result<std::string> read(std::size_t file) const { return read_segment_file(fs_, folder_ + "/" + out_.files[file].name); }

  // The file with zeros for what cannot be read (a bad sector), which may be a free one. Its beginning must be there: without it nobody can
  // say that the file is not the newest segment.
  Result<std::string> read_around(const std::string& path, std::optional<Error>& unread) const {
    TRY_ASSIGN(const auto file, fs_.open(path, OpenMode::Read));
    TRY_ASSIGN(const std::uint64_t size, size_of(*file, path));
    std::string bytes;
    auto whole = file->read(0, size, bytes);
    if (whole.ok()) return bytes;
    bytes.clear();
    std::string piece;
    for (std::uint64_t at = 0; at < size; at += kSector) {
      const std::uint64_t count = std::min(kSector, size - at);
      piece.clear();
      if (auto done = file->read(at, count, piece); !done.ok()) {
        if (at == 0) return std::move(done).error();
        unread = std::move(done).error();
        piece.clear();
      }
      piece.resize(count, '\0');
      bytes += piece;
    }
    return bytes;
  }

  Status index_files() {
    TRY_ASSIGN(const auto names, fs_.list(folder_));
    for (const auto& name : names) {
      if (!is_segment_name(name)) continue;
      SegmentFile file;
      file.name = name;
      out_.files.push_back(std::move(file));
      std::optional<Error> unread;
      TRY_ASSIGN(const std::string bytes, read_around(folder_ + "/" + name, unread));
      SegmentIndex index = index_segment(bytes, secret_);
      SegmentFile& added = out_.files.back();
      added.bytes = bytes.size();
      added.generation = index.generation;
      out_.last_generation = std::max(out_.last_generation, index.generation);
      if (!index.batches.empty()) {
        added.first = index.batches.front().first;
        added.last = index.batches.back().last();
      }
      Found found;
      found.headless = (index.batches.empty() || index.batches.front().place.offset != 0) && bytes.find_first_not_of('\0') != bytes.npos;
      const UnprovenHead head = unproven_batch_head(bytes, 0);
      found.begun = found.headless && head.begun;
      found.claimed = head.generation;
      found.batches = std::move(index.batches);
      if (unread && found.headless) return *std::move(unread);
      added.unread = std::move(unread);
      found_.push_back(std::move(found));
    }
    return {};
  }

  // Which segment stands in a file whose first batch has no good head? Its later batches tell, or its records.
  Status name_headless() {
    std::set<std::uint64_t> candidates;
    for (const Found& found : found_) {
      for (const BatchHead& batch : found.batches) candidates.insert({batch.previous.generation, batch.synced.generation});
      if (found.begun) candidates.insert(found.claimed);
    }
    for (std::uint64_t i = 1; i <= kGenerationsAhead; ++i) candidates.insert(out_.last_generation + i);
    for (const SegmentFile& file : out_.files) candidates.erase(file.generation);
    std::uint64_t newest = out_.last_generation;
    bool unnamed = false;
    for (std::size_t i = 0; i < found_.size(); ++i) {
      if (!found_[i].headless) continue;
      TRY_ASSIGN(const std::string bytes, read(i));
      name_by_records(i, bytes, candidates);
      newest = std::max(newest, out_.files[i].generation);
      unnamed = unnamed || found_[i].headless || out_.files[i].set_aside;
    }
    // What could not be named may be the newest of all.
    out_.last_generation = unnamed ? newest + kGenerationsAhead : newest;
    return {};
  }

  void name_by_records(std::size_t i, const std::string& bytes, const std::set<std::uint64_t>& candidates) {
    SegmentFile& file = out_.files[i];
    const auto size = static_cast<std::uint32_t>(bytes.size());
    // From the newest down: an older life of the file may show behind a newer one.
    for (auto generation = candidates.rbegin(); generation != candidates.rend() && *generation > file.generation; ++generation) {
      auto at = find_record(bytes, {*generation, 0}, size, secret_);
      if (!at) continue;
      file.generation = *generation;
      file.first = decode_record(bytes, {*generation, *at}, size, secret_).position;
      for (; at; at = find_record(bytes, {*generation, *at + 8}, size, secret_)) {
        file.last = std::max(file.last, decode_record(bytes, {*generation, *at}, size, secret_).position);
      }
      found_[i].batches.clear();
      found_[i].headless = false;
      return;
    }
    // A segment was begun here, of which nothing can be read.
    file.set_aside = found_[i].begun && found_[i].claimed > out_.last_generation;
    if (found_[i].batches.empty()) return;
    // The first batch alone is damaged. Some of its records may still tell where the segment begins.
    found_[i].headless = false;
    const std::uint32_t end = found_[i].batches.front().place.offset;
    if (const auto at = find_record(bytes, {file.generation, 0}, end, secret_)) {
      file.first = std::min(file.first, decode_record(bytes, {file.generation, *at}, end, secret_).position);
    }
  }

  // Of two files of one generation (a copy that somebody has put there) the longer one.
  std::optional<std::size_t> file_of(std::uint64_t generation) const {
    std::optional<std::size_t> best;
    for (std::size_t i = 0; i < out_.files.size(); ++i) {
      if (generation == 0 || out_.files[i].generation != generation || found_[i].used) continue;
      if (!best || out_.files[i].last > out_.files[*best].last) best = i;
    }
    return best;
  }

  // The newest one before `generation` with positions that neither history has nor the links found so far.
  std::optional<std::size_t> older_news(std::uint64_t generation, LogPosition until) const {
    std::optional<std::size_t> best;
    if (until <= history_.next()) return best;
    for (std::size_t i = 0; i < out_.files.size(); ++i) {
      const SegmentFile& file = out_.files[i];
      if (file.generation == 0 || file.generation >= generation || found_[i].used) continue;
      if (file.last <= history_ || file.first >= until) continue;
      if (!best || file.generation > out_.files[*best].generation) best = i;
    }
    return best;
  }

  Status walk() {
    std::optional<std::size_t> next;
    for (std::size_t i = 0; i < out_.files.size(); ++i) {
      if (out_.files[i].generation != 0 && (!next || out_.files[i].generation > out_.files[*next].generation)) next = i;
    }
    if (next) next = file_of(out_.files[*next].generation);
    Link link;
    while (next) {
      const SegmentFile& file = out_.files[*next];
      link.file = *next;
      link.generation = file.generation;
      link.batches = found_[*next].batches;
      if (link.end) std::erase_if(link.batches, [&](const BatchHead& b) { return b.place.offset >= *link.end; });
      found_[*next].used = true;
      std::uint64_t before = link.generation;
      std::uint32_t end = 0;
      if (!link.batches.empty()) {
        const LogPlace previous = link.batches.front().previous;
        if (previous.generation < before) {
          before = previous.generation;
          end = previous.offset;
          next = file_of(before);
        } else {
          next = std::nullopt;  // never written by us
        }
      } else {
        next = std::nullopt;
        out_.doubtful = true;
      }
      const LogPosition first = file.first;
      out_.links.push_back(std::move(link));
      link = {};
      if (next) {
        link.end = end;
      } else {
        link.until = first;
        next = older_news(before, first);
        out_.doubtful = out_.doubtful || next.has_value();
      }
    }
    std::reverse(out_.links.begin(), out_.links.end());
    return {};
  }

  // Files that are not part of the log are free, but what looks like news in them must not come back.
  void judge_the_rest() {
    for (std::size_t i = 0; i < out_.files.size(); ++i) {
      SegmentFile& file = out_.files[i];
      file.void_news = file.last > history_ || file.set_aside || found_[i].headless || file.unread;
    }
  }

  FileSystem& fs_;
  const std::string& folder_;
  const std::uint32_t secret_;
  const LogPosition history_;
  LogChain out_;
  std::vector<Found> found_;
};

}  // namespace

Result<std::string> read_segment_file(FileSystem& files, const std::string& path) {
  TRY_ASSIGN(const auto file, files.open(path, OpenMode::Read));
  TRY_ASSIGN(const std::uint64_t size, size_of(*file, path));
  std::string bytes;
  TRY(file->read(0, size, bytes));
  return bytes;
}

SegmentIndex index_segment(std::string_view file, std::uint32_t secret) {
  SegmentIndex index;
  if (file.size() > kLargestSegment) return index;
  const auto size = static_cast<std::uint32_t>(file.size());
  for (std::uint32_t at = 0; at + kBatchHeadBytes <= size;) {
    const auto batch = decode_batch_head(file, at, secret);
    if (!batch) {
      at += 8;
      continue;
    }
    if (batch->place.generation > index.generation) {
      index.generation = batch->place.generation;
      index.batches.clear();
    }
    if (batch->place.generation < index.generation) {
      at += 8;  // of an earlier life: its length may reach over a new batch
      continue;
    }
    index.batches.push_back(*batch);
    at += batch->bytes;
  }
  return index;
}

Result<LogChain> find_chain(FileSystem& files, const std::string& folder, std::uint32_t secret, LogPosition history) {
  return ChainSearch(files, folder, secret, history).run();
}

}  // namespace dunlin::embedded
