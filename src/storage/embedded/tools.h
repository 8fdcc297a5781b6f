#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace dunlin::embedded {

struct VerifyReport {
  struct Corrupt {
    std::string conversation;  // "" when only its number is left; then `number` tells it
    std::uint64_t number = 0;
    std::uint64_t from_seq = 0;
    std::uint64_t to_seq = 0;
  };
  std::uint64_t records = 0;     // readable ones, history and log together
  std::vector<Corrupt> corrupt;  // merged into intervals
  std::uint64_t cut_bytes = 0;   // torn tail that a start would cut
  std::uint64_t state_rows = 0;  // cursors, read positions and recalls
  // Files and folders, named from the data folder, that a start would refuse or set aside. What depends on them is not checked.
  struct Problem {
    std::string file;
    std::string reason;
  };
  std::vector<Problem> problems;
  bool healthy() const { return corrupt.empty() && problems.empty(); }
};

// How many bytes are done of how many; called on the caller's thread.
using ToolProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

// Checks every record of a data folder or backup, and all else that a start of the store reads, changing nothing. Busy while a server has
// it open; NotFound when it is no data folder. Damage that concerns no one conversation is an entry with number 0, whose seqs tell how many
// records it cost, as far as that is known.
Result<VerifyReport> verify_data(const std::string& folder, const ToolProgress& progress = nullptr);

// One line of JSON as docs and scripts know it:
// {"records":N,"corrupt":[{"conversation":…,"from_seq":…,"to_seq":…}],"cut_bytes":N,"problems":[{"file":…,"reason":…}]}
std::string to_json(const VerifyReport& report);

// Copies a data folder that no server has open (Busy otherwise: ask the server, EmbeddedStore::backup_to). `target` must be empty or
// missing.
Status backup_offline(const std::string& folder, const std::string& target, const ToolProgress& progress = nullptr);

// Makes `into` (empty or missing) a data folder with the content of `backup` and a new epoch, so that every client resets. Busy if `backup`
// is a folder that a server has open: a copy of that would be torn.
Status restore(const std::string& backup, const std::string& into, const ToolProgress& progress = nullptr);

}  // namespace dunlin::embedded
