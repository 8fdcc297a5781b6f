#pragma once

#include <memory>

#include "storage/embedded/history/rocks.h"

namespace dunlin::embedded {

// The files of history's RocksDB, with one rule of ours: while it is not known which files the manifest on the disk names, none is deleted.
//
// A manifest whose write or sync failed may have its new entry all the same. RocksDB 7.8 keeps obsolete files then, but an ingest that
// failed in this way deletes what it had linked (ExternalSstFileIngestionJob::Cleanup); after a kill -9 the manifest would name files that
// are gone, and the store could not be opened any more. Here such deletions are put off (and reported as done) until a new manifest is in
// use, which RocksDB begins with the next entry. A start needs nothing: it deletes what its manifest does not name.
// Any thread; outlives the instance.
class ManifestGuard {
 public:
  // Over `base`, or the machine's files.
  explicit ManifestGuard(std::shared_ptr<rocksdb::FileSystem> base);
  ~ManifestGuard();
  ManifestGuard(const ManifestGuard&) = delete;
  ManifestGuard& operator=(const ManifestGuard&) = delete;

  rocksdb::Env* env() const;
  // Whether a manifest that failed has been replaced since the last call. If so, what was put off is deleted.
  bool take_renewed();

 private:
  class Files;
  std::shared_ptr<Files> files_;
  std::unique_ptr<rocksdb::Env> env_;
};

}  // namespace dunlin::embedded
