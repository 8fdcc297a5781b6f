#pragma once

#include <string>

#include "base/protocol_terms.h"
#include "storage/embedded/meta_file.h"

namespace dunlin::embedded {

// Acks below fsync, and whether an unclean end may have taken some of them: then seqs may be given again, and a new epoch must begin.
//
// At level os a record is acked when write(2) has succeeded: it is in the kernel's cache, which outlives every process. So nothing is
// missing as long as that cache has lived on, and that can be known: the meta file notes, synced before the first such ack, which kernel
// and which folder it was (CacheLife). Another value at the start, or none: the machine was started anew, or the folder is a copy, a
// snapshot or on another machine; what the disk holds of the last acks is not known. At level memory a record is acked before its write:
// no cache proves it, so none is noted.
//
// Two things can take written bytes out of a cache that lives on. The kernel drops what it fails to write back: it tells the next sync of
// the file, by whichever process, but once. And a start that fails half-way may have been the one that was told. So a start takes the note
// away before it looks, syncs the files, and only one that comes to its end keeps the epoch. What the cache holds is then written again
// and synced before it is served (Recovery). A running committer that meets an error takes the note away for the rest of its life, as far
// as the disk lets it. The log itself is asked too: behind a torn end stands nothing, since a write that was cut short was the last one,
// and it did not replace an older segment's end (LogScan::broken_off).
//
// docs/storage.md has the cases. Called by the store at its start, and on the committer's thread.

// Before the first ack of that level in this life of the process, and again before the first of a lower one.
Status note_weak_acks(FileSystem& files, const std::string& folder, Durability level, Meta& meta);

// After an unclean end, before the log is read. False: as far as the kernel is concerned all that was acked is there. An error: the start
// cannot go on.
Result<bool> weak_acks_may_be_gone(FileSystem& files, const std::string& folder, Meta& meta);

}  // namespace dunlin::embedded
