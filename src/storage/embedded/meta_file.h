#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "base/siphash.h"
#include "messaging/model/epoch.h"
#include "storage/embedded/file/file_system.h"

namespace dunlin::embedded {

// What a data folder is: 128 bytes in <data>/meta, replaced as a whole by rename. Read before anything else is opened.
struct Meta {
  // Features of the format that the folder uses. A program that does not know a bit may: ignore it / only read / not open at all.
  std::uint64_t compatible = 0;
  std::uint64_t read_only_compatible = 0;
  std::uint64_t incompatible = 0;

  Epoch epoch;
  SipKey dedup_secret;                // keys of dedup entries
  std::uint32_t log_secret = 0;       // begins every checksum of the log
  bool clean = false;                 // the last stop wrote the end mark
  bool weak_acks = false;             // records were acked below fsync since the last clean start
  std::optional<CacheLife> acked_in;  // with `weak_acks`: what holds all of them (weak_acks.h)
  LogPosition end;                    // with `clean`: of the last record; 0 in folders of before this was noted

  static Meta create();
};

std::string encode_meta(const Meta& meta);
Result<Meta> decode_meta(std::string_view bytes);

// Nothing when there is no file.
Result<std::optional<Meta>> read_meta(FileSystem& files, const std::string& folder);
Status write_meta(FileSystem& files, const std::string& folder, const Meta& meta);

}  // namespace dunlin::embedded
