#include "storage/embedded/history/testing/faulty_rocks_files.h"

#include <rocksdb/file_system.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/thread_annotations.h"

namespace dunlin::embedded {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

class FaultyRocksFiles::Files final : public rocksdb::FileSystemWrapper {
 public:
  Files() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "FaultyRocksFiles"; }

  void fail(std::vector<Call> calls, std::uint64_t skip, ErrorCode code, Effect effect, std::uint64_t times) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    fault_ = {std::move(calls), skip, code, effect, times, false};
  }
  void heal() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    fault_.times = 0;
  }
  bool reached() const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return fault_.reached;
  }
  void only(std::function<bool(std::string_view path)> meant) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    meant_ = std::move(meant);
  }

  IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options, std::unique_ptr<rocksdb::FSWritableFile>* file,
                           IODebugContext* debug) override {
    return open<Writable>(Call::NewFile, path, file, [&] { return FileSystemWrapper::NewWritableFile(path, options, file, debug); });
  }
  IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options, std::unique_ptr<rocksdb::FSWritableFile>* file,
                              IODebugContext* debug) override {
    return open<Writable>(Call::Reopen, path, file, [&] { return FileSystemWrapper::ReopenWritableFile(path, options, file, debug); });
  }
  IOStatus NewRandomAccessFile(const std::string& path, const rocksdb::FileOptions& options,
                               std::unique_ptr<rocksdb::FSRandomAccessFile>* file, IODebugContext* debug) override {
    return open<Reader>(Call::NewReader, path, file, [&] { return FileSystemWrapper::NewRandomAccessFile(path, options, file, debug); });
  }
  IOStatus NewSequentialFile(const std::string& path, const rocksdb::FileOptions& options, std::unique_ptr<rocksdb::FSSequentialFile>* file,
                             IODebugContext* debug) override {
    return open<Stream>(Call::NewStream, path, file, [&] { return FileSystemWrapper::NewSequentialFile(path, options, file, debug); });
  }
  IOStatus NewDirectory(const std::string& path, const IOOptions& options, std::unique_ptr<rocksdb::FSDirectory>* folder,
                        IODebugContext* debug) override {
    IOStatus status = FileSystemWrapper::NewDirectory(path, options, folder, debug);
    if (status.ok()) *folder = std::make_unique<Folder>(*this, path, std::move(*folder));
    return status;
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options, IODebugContext* debug) override {
    return call(Call::Rename, to, [&] { return FileSystemWrapper::RenameFile(from, to, options, debug); });
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions& options, IODebugContext* debug) override {
    return call(Call::Link, to, [&] { return FileSystemWrapper::LinkFile(from, to, options, debug); });
  }
  IOStatus DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* debug) override {
    return call(Call::Delete, path, [&] { return FileSystemWrapper::DeleteFile(path, options, debug); });
  }
  IOStatus GetChildren(const std::string& path, const IOOptions& options, std::vector<std::string>* names, IODebugContext* debug) override {
    return call(Call::List, path, [&] { return FileSystemWrapper::GetChildren(path, options, names, debug); });
  }
  IOStatus CreateDir(const std::string& path, const IOOptions& options, IODebugContext* debug) override {
    return call(Call::MakeFolder, path, [&] { return FileSystemWrapper::CreateDir(path, options, debug); });
  }
  IOStatus CreateDirIfMissing(const std::string& path, const IOOptions& options, IODebugContext* debug) override {
    return call(Call::MakeFolder, path, [&] { return FileSystemWrapper::CreateDirIfMissing(path, options, debug); });
  }

 private:
  struct Fault {
    std::vector<Call> calls;
    std::uint64_t skip = 0;
    ErrorCode code = ErrorCode::Io;
    Effect effect = Effect::None;
    std::uint64_t times = 0;
    bool reached = false;
  };

  // Makes the call, unless it fails without effect.
  template <class F>
  IOStatus call(Call kind, const std::string& path, F effect) EXCLUDES(mutex_) {
    const std::optional<Fault> fault = admit(kind, path);
    if (!fault) return effect();
    if (fault->effect == Effect::Done) effect().PermitUncheckedError();
    if (fault->code != ErrorCode::NoSpace) return IOStatus::IOError("injected");
    IOStatus status = IOStatus::NoSpace("injected");
    status.SetRetryable(true);  // as RocksDB makes one of ENOSPC
    return status;
  }
  std::optional<Fault> admit(Call kind, const std::string& path) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (fault_.times == 0 || std::ranges::find(fault_.calls, kind) == fault_.calls.end() || (meant_ && !meant_(path))) return std::nullopt;
    if (fault_.skip > 0) {
      --fault_.skip;
      return std::nullopt;
    }
    --fault_.times;
    fault_.reached = true;
    return fault_;
  }
  template <class Wrapper, class T, class F>
  IOStatus open(Call kind, const std::string& path, std::unique_ptr<T>* file, F effect) {
    IOStatus status = call(kind, path, effect);
    if (status.ok()) {
      *file = std::make_unique<Wrapper>(*this, path, std::move(*file));
    } else {
      file->reset();
    }
    return status;
  }

  class Writable final : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    Writable(Files& files, std::string path, std::unique_ptr<rocksdb::FSWritableFile> file)
        : FSWritableFileOwnerWrapper(std::move(file)), files_(files), path_(std::move(path)) {}
    IOStatus Append(const rocksdb::Slice& data, const IOOptions& options, IODebugContext* debug) override {
      return files_.call(Call::Append, path_, [&] { return target()->Append(data, options, debug); });
    }
    IOStatus Append(const rocksdb::Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo& checksum,
                    IODebugContext* debug) override {
      return files_.call(Call::Append, path_, [&] { return target()->Append(data, options, checksum, debug); });
    }
    IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
      return files_.call(Call::Sync, path_, [&] { return target()->Sync(options, debug); });
    }
    IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
      return files_.call(Call::Sync, path_, [&] { return target()->Fsync(options, debug); });
    }
    IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
      return files_.call(Call::Close, path_, [&] { return target()->Close(options, debug); });
    }

   private:
    Files& files_;
    const std::string path_;
  };

  class Reader final : public rocksdb::FSRandomAccessFileOwnerWrapper {
   public:
    Reader(Files& files, std::string path, std::unique_ptr<rocksdb::FSRandomAccessFile> file)
        : FSRandomAccessFileOwnerWrapper(std::move(file)), files_(files), path_(std::move(path)) {}
    IOStatus Read(std::uint64_t offset, std::size_t bytes, const IOOptions& options, rocksdb::Slice* result, char* scratch,
                  IODebugContext* debug) const override {
      return files_.call(Call::Read, path_, [&] { return target()->Read(offset, bytes, options, result, scratch, debug); });
    }
    IOStatus MultiRead(rocksdb::FSReadRequest* requests, std::size_t count, const IOOptions& options, IODebugContext* debug) override {
      return files_.call(Call::Read, path_, [&] { return target()->MultiRead(requests, count, options, debug); });
    }

   private:
    Files& files_;
    const std::string path_;
  };

  class Stream final : public rocksdb::FSSequentialFileOwnerWrapper {
   public:
    Stream(Files& files, std::string path, std::unique_ptr<rocksdb::FSSequentialFile> file)
        : FSSequentialFileOwnerWrapper(std::move(file)), files_(files), path_(std::move(path)) {}
    IOStatus Read(std::size_t bytes, const IOOptions& options, rocksdb::Slice* result, char* scratch, IODebugContext* debug) override {
      return files_.call(Call::Read, path_, [&] { return target()->Read(bytes, options, result, scratch, debug); });
    }

   private:
    Files& files_;
    const std::string path_;
  };

  class Folder final : public rocksdb::FSDirectoryWrapper {
   public:
    Folder(Files& files, std::string path, std::unique_ptr<rocksdb::FSDirectory> folder)
        : FSDirectoryWrapper(std::move(folder)), files_(files), path_(std::move(path)) {}
    IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
      return files_.call(Call::SyncFolder, path_, [&] { return FSDirectoryWrapper::Fsync(options, debug); });
    }
    IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug, const rocksdb::DirFsyncOptions& why) override {
      return files_.call(Call::SyncFolder, path_, [&] { return FSDirectoryWrapper::FsyncWithDirOptions(options, debug, why); });
    }

   private:
    Files& files_;
    const std::string path_;
  };

  mutable Mutex mutex_;
  Fault fault_ GUARDED_BY(mutex_);
  std::function<bool(std::string_view path)> meant_ GUARDED_BY(mutex_);
};

FaultyRocksFiles::FaultyRocksFiles() : files_(std::make_shared<Files>()) {}
FaultyRocksFiles::~FaultyRocksFiles() = default;

std::shared_ptr<rocksdb::FileSystem> FaultyRocksFiles::file_system() const {
  return files_;
}

std::vector<FaultyRocksFiles::Call> FaultyRocksFiles::all_calls() {
  std::vector<Call> calls(kReading.size() + kChanging.size());
  std::copy(kChanging.begin(), kChanging.end(), std::copy(kReading.begin(), kReading.end(), calls.begin()));
  return calls;
}

void FaultyRocksFiles::fail(std::vector<Call> calls, std::uint64_t skip, ErrorCode code, Effect effect, std::uint64_t times) {
  files_->fail(std::move(calls), skip, code, effect, times);
}

void FaultyRocksFiles::heal() {
  files_->heal();
}

bool FaultyRocksFiles::reached() const {
  return files_->reached();
}

void FaultyRocksFiles::only(std::function<bool(std::string_view path)> meant) {
  files_->only(std::move(meant));
}

}  // namespace dunlin::embedded
