#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "bench/load/sockets.h"
#include "bench/scratch.h"

namespace dunlin::bench {

// A file of zeros that are really on disk: its blocks exist, so fdatasync has data to write and no metadata.
class ZeroedFile {
 public:
  static Result<ZeroedFile> create();

  // Writes at the next place, round and round, and makes it durable.
  Status append(std::string_view bytes);

 private:
  static constexpr std::size_t kBytes = 64U << 20;

  ZeroedFile(ScratchFolder folder, Fd fd) : folder_(std::move(folder)), fd_(std::move(fd)) {}

  ScratchFolder folder_;
  Fd fd_;
  std::size_t at_ = 0;
};

// The least that a message log can do for a record: lay out its bytes with a checksum, remember in memory where it is (by conversation) and
// that its id was used, and make batches of 512 durable with one write and one fdatasync. One thread.
class RawLog {
 public:
  static constexpr std::size_t kBatch = 512;
  static constexpr std::uint32_t kConversations = 50'000;

  static Result<RawLog> create();
  Status append_batch();
  std::uint64_t records() const { return records_; }

 private:
  explicit RawLog(ZeroedFile file) : file_(std::move(file)), index_(kConversations) {}

  ZeroedFile file_;
  std::vector<std::vector<std::uint64_t>> index_;
  std::unordered_map<std::uint64_t, std::uint64_t> ids_;
  std::minstd_rand random_;
  std::string batch_;
  std::uint64_t records_ = 0;
  std::uint64_t offset_ = 0;
};

}  // namespace dunlin::bench
