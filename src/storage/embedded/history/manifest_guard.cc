#include "storage/embedded/history/manifest_guard.h"

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "base/thread_annotations.h"

namespace dunlin::embedded {
namespace {

using rocksdb::FSDirectory;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

std::string_view name_of(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

bool is_manifest(std::string_view path) {
  return name_of(path).starts_with("MANIFEST-");
}

bool is_current(std::string_view path) {
  return name_of(path) == "CURRENT";
}

}  // namespace

class ManifestGuard::Files final : public rocksdb::FileSystemWrapper {
 public:
  using FileSystemWrapper::FileSystemWrapper;

  const char* Name() const override { return "dunlin.ManifestGuard"; }

  IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options, std::unique_ptr<FSWritableFile>* file,
                           IODebugContext* debug) override {
    IOStatus status = FileSystemWrapper::NewWritableFile(path, options, file, debug);
    if (status.ok() && is_manifest(path)) *file = std::make_unique<Manifest>(*this, std::move(*file));
    return status;
  }
  IOStatus NewDirectory(const std::string& path, const IOOptions& options, std::unique_ptr<FSDirectory>* folder,
                        IODebugContext* debug) override {
    IOStatus status = FileSystemWrapper::NewDirectory(path, options, folder, debug);
    if (status.ok()) *folder = std::make_unique<Folder>(*this, std::move(*folder));
    return status;
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = FileSystemWrapper::RenameFile(from, to, options, debug);
    return is_current(to) ? checked(std::move(status)) : std::move(status);
  }
  IOStatus DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* debug) override {
    const std::string_view name = name_of(path);
    if ((name.ends_with(".sst") || is_manifest(path)) && put_off(path)) return IOStatus::OK();
    return FileSystemWrapper::DeleteFile(path, options, debug);
  }

  bool take_renewed() EXCLUDES(mutex_) {
    std::set<std::string> files;
    {
      MutexLock lock(mutex_);
      if (!renewed_) return false;
      doubt_ = false;
      renewed_ = false;
      files.swap(put_off_);
    }
    // One that cannot be deleted goes at the next start.
    for (const std::string& file : files) FileSystemWrapper::DeleteFile(file, {}, nullptr).PermitUncheckedError();
    return true;
  }

 private:
  // Passes a result on, and notes a failure. None is "retryable": for such RocksDB stops all writes without asking its listener.
  IOStatus checked(IOStatus status) EXCLUDES(mutex_) {
    if (status.ok()) return status;
    MutexLock lock(mutex_);
    if (!doubt_) log_warn("history", "what the manifest on the disk names is not known: no file is deleted until there is a new one");
    doubt_ = true;
    renewed_ = false;
    status.SetRetryable(false);
    return status;
  }
  // CURRENT names a manifest that was written whole after the doubt arose, and that is durable.
  void current_is_durable() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    renewed_ = doubt_;
  }
  bool put_off(const std::string& path) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (doubt_) put_off_.insert(path);
    return doubt_;
  }

  class Manifest final : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    Manifest(Files& files, std::unique_ptr<FSWritableFile> file) : FSWritableFileOwnerWrapper(std::move(file)), files_(files) {}
    using FSWritableFileOwnerWrapper::Append;
    IOStatus Append(const rocksdb::Slice& data, const IOOptions& options, IODebugContext* debug) override {
      return files_.checked(FSWritableFileOwnerWrapper::Append(data, options, debug));
    }
    IOStatus Append(const rocksdb::Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo& checksum,
                    IODebugContext* debug) override {
      return files_.checked(FSWritableFileOwnerWrapper::Append(data, options, checksum, debug));
    }
    IOStatus Flush(const IOOptions& options, IODebugContext* debug) override {
      return files_.checked(FSWritableFileOwnerWrapper::Flush(options, debug));
    }
    IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
      return files_.checked(FSWritableFileOwnerWrapper::Sync(options, debug));
    }
    IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
      return files_.checked(FSWritableFileOwnerWrapper::Fsync(options, debug));
    }

   private:
    Files& files_;
  };

  class Folder final : public rocksdb::FSDirectoryWrapper {
   public:
    Folder(Files& files, std::unique_ptr<FSDirectory> folder) : FSDirectoryWrapper(std::move(folder)), files_(files) {}
    IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug, const rocksdb::DirFsyncOptions& why) override {
      IOStatus status = FSDirectoryWrapper::FsyncWithDirOptions(options, debug, why);
      if (why.reason != rocksdb::DirFsyncOptions::kFileRenamed || !is_current(why.renamed_new_name)) return status;
      if (status.ok()) files_.current_is_durable();
      return files_.checked(std::move(status));
    }

   private:
    Files& files_;
  };

  Mutex mutex_;
  bool doubt_ GUARDED_BY(mutex_) = false;
  bool renewed_ GUARDED_BY(mutex_) = false;  // since the doubt arose
  std::set<std::string> put_off_ GUARDED_BY(mutex_);
};

ManifestGuard::ManifestGuard(std::shared_ptr<rocksdb::FileSystem> base)
    : files_(std::make_shared<Files>(base ? std::move(base) : machine_files())), env_(rocksdb::NewCompositeEnv(files_)) {}
ManifestGuard::~ManifestGuard() = default;

rocksdb::Env* ManifestGuard::env() const {
  return env_.get();
}

bool ManifestGuard::take_renewed() {
  return files_->take_renewed();
}

}  // namespace dunlin::embedded
