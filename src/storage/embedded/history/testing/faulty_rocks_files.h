#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "storage/embedded/history/rocks.h"

namespace dunlin::embedded {

// The machine's files as RocksDB uses them, failing as told: for tests of history and state. Any thread.
class FaultyRocksFiles {
 public:
  enum class Call : std::uint8_t {
    NewFile,
    NewReader,
    NewStream,
    Reopen,
    Read,
    Append,
    Sync,
    Close,
    Rename,
    Link,
    Delete,
    List,
    MakeFolder,
    SyncFolder
  };
  static constexpr std::array kReading{Call::NewReader, Call::NewStream, Call::Read, Call::List};
  static constexpr std::array kChanging{Call::NewFile, Call::Reopen, Call::Append, Call::Sync,       Call::Close,
                                        Call::Rename,  Call::Link,   Call::Delete, Call::MakeFolder, Call::SyncFolder};
  static std::vector<Call> all_calls();
  // Whether a call that fails has had its effect, as a failed sync may have.
  enum class Effect : std::uint8_t { None, Done };

  FaultyRocksFiles();
  ~FaultyRocksFiles();
  FaultyRocksFiles(const FaultyRocksFiles&) = delete;
  FaultyRocksFiles& operator=(const FaultyRocksFiles&) = delete;

  std::shared_ptr<rocksdb::FileSystem> file_system() const;
  // The skip + 1-th of these calls fails, and times - 1 behind it.
  void fail(std::vector<Call> calls, std::uint64_t skip, ErrorCode code, Effect effect, std::uint64_t times = 1);
  void heal();
  // Whether a call has failed since fail().
  bool reached() const;
  // Calls on other files neither fail nor count.
  void only(std::function<bool(std::string_view path)> meant);

 private:
  class Files;
  const std::shared_ptr<Files> files_;
};

}  // namespace dunlin::embedded
