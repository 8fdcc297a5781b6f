#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace dunlin::embedded {

// Space for a start on a full disk. A start has to write a little (new manifests of the two databases, the meta file), and without that
// the store could not be read until somebody frees space. So a file `reserve` in the data folder holds kReserveBytes while the store is
// closed or running, and kReserveFiles empty files beside it hold as many inodes; a start that finds less free than that gives them back
// first, and takes them again when it is through.
// The owner of the data folder's lock calls both, on one thread; failures only mean that there is less space.
inline constexpr std::size_t kReserveFiles = 32;
inline constexpr std::uint64_t kReserveBytes = 16ULL << 20;  // on a disk of 1 GiB or more; else a 64th of it, 1 MiB at least

void give_reserve(const std::string& data_folder);
void take_reserve(const std::string& data_folder);

}  // namespace dunlin::embedded
