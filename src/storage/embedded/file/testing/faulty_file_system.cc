#include "storage/embedded/file/testing/faulty_file_system.h"

#include <algorithm>
#include <set>

namespace dunlin::embedded {
namespace {

constexpr std::size_t kSector = 512;

std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

}  // namespace

class FaultyFile final : public File {
 public:
  using Call = FaultyFileSystem::Call;
  FaultyFile(FaultyFileSystem& fs, FaultyFileSystem::InodePtr inode, std::uint64_t life) : fs_(fs), inode_(std::move(inode)), life_(life) {}

  Status read(std::uint64_t offset, std::size_t bytes, std::string& out) override {
    MutexLock lock(fs_.mutex_);
    TRY(admit(Call::Read, nullptr));
    if (inode_->spoilt && *inode_->spoilt >= offset && *inode_->spoilt - offset < bytes) return Error(ErrorCode::Io, "a bad sector");
    if (offset < inode_->content.size()) out.append(inode_->content, offset, bytes);
    return {};
  }

  Status write(std::uint64_t offset, std::string_view bytes) override {
    MutexLock lock(fs_.mutex_);
    bool half_done = false;
    const Status admitted = admit(Call::Write, &half_done);
    if (!admitted.ok() && !half_done) return admitted;
    if (half_done) bytes = bytes.substr(0, fs_.random(bytes.size() + 1));
    FaultyFileSystem::Change change{offset, std::string(bytes)};
    FaultyFileSystem::apply(inode_->content, change);
    inode_->changes.push_back(std::move(change));
    return admitted;
  }

  Status sync_data() override {
    MutexLock lock(fs_.mutex_);
    bool half_done = false;
    const Status admitted = admit(Call::Sync, &half_done);
    for (auto& change : inode_->changes) {
      if (change.state != FaultyFileSystem::State::Pending) continue;
      change.state = admitted.ok() ? FaultyFileSystem::State::Durable : FaultyFileSystem::State::Uncertain;
    }
    if (admitted.ok()) fs_.settle(*inode_);
    return admitted;
  }

  Status truncate(std::uint64_t size) override {
    MutexLock lock(fs_.mutex_);
    TRY(admit(Call::Truncate, nullptr));
    FaultyFileSystem::Change change{size, {}, true};
    FaultyFileSystem::apply(inode_->content, change);
    inode_->changes.push_back(std::move(change));
    return {};
  }

  Result<std::uint64_t> size() override {
    MutexLock lock(fs_.mutex_);
    return static_cast<std::uint64_t>(inode_->content.size());
  }

 private:
  Status admit(Call call, bool* half_done) REQUIRES(fs_.mutex_) {
    if (life_ != fs_.life_) return Error(ErrorCode::Io, "a file of before the restart");
    return fs_.admit(call, half_done);
  }

  FaultyFileSystem& fs_;
  FaultyFileSystem::InodePtr inode_;
  const std::uint64_t life_;
};

Status FaultyFileSystem::admit(Call call, bool* half_done) {
  if (cut_) return Error(ErrorCode::Io, "the power is cut");
  ++calls_[static_cast<std::size_t>(call)];
  const bool changing = call != Call::Read && call != Call::List && call != Call::Open;
  const bool counted = changing && changes_left_ != UINT64_MAX;
  const bool last = counted && changes_left_ == 0;
  if (counted) --changes_left_;
  if (last) {
    cut_ = true;
    if (half_done != nullptr) *half_done = true;
    return Error(ErrorCode::Io, "the power is cut");
  }
  Fault& fault = faults_[static_cast<std::size_t>(call)];
  if (fault.times == 0) return {};
  if (fault.skip > 0) {
    --fault.skip;
    return {};
  }
  --fault.times;
  if (half_done != nullptr) *half_done = true;
  return Error(fault.code, "injected");
}

void FaultyFileSystem::fail(Call call, std::uint64_t skip, ErrorCode code, std::uint64_t times) {
  MutexLock lock(mutex_);
  faults_[static_cast<std::size_t>(call)] = {skip, times, code};
}

void FaultyFileSystem::heal() {
  MutexLock lock(mutex_);
  faults_.fill({});
  for (auto& [name, inode] : names_) inode->spoilt.reset();
}

void FaultyFileSystem::spoil(const std::string& path, std::uint64_t offset) {
  MutexLock lock(mutex_);
  const auto found = names_.find(path);
  if (found != names_.end()) found->second->spoilt = offset;
}

void FaultyFileSystem::cut_power_after(std::uint64_t changes) {
  MutexLock lock(mutex_);
  changes_left_ = changes;
}

bool FaultyFileSystem::power_is_cut() const {
  MutexLock lock(mutex_);
  return cut_;
}

void FaultyFileSystem::apply(std::string& content, const Change& change) {
  if (change.truncate) {
    content.resize(change.offset, '\0');
    return;
  }
  if (content.size() < change.offset + change.bytes.size()) content.resize(change.offset + change.bytes.size(), '\0');
  content.replace(change.offset, change.bytes.size(), change.bytes);
}

// Any sectors of it, none and all included.
void FaultyFileSystem::apply_torn(std::string& content, const Change& change) {
  const std::uint64_t fate = random(4);
  if (fate == 0) return;
  if (fate == 1 || change.truncate) return apply(content, change);
  for (std::size_t at = 0; at < change.bytes.size();) {
    const std::size_t end = std::min(change.bytes.size(), ((change.offset + at) / kSector + 1) * kSector - change.offset);
    if (random(2) == 0) apply(content, {change.offset + at, change.bytes.substr(at, end - at)});
    at = end;
  }
}

// What is certain goes into the base, as long as nothing uncertain lies before it.
void FaultyFileSystem::settle(Inode& inode) {
  std::size_t done = 0;
  while (done < inode.changes.size() && inode.changes[done].state == State::Durable) apply(inode.base, inode.changes[done++]);
  inode.changes.erase(inode.changes.begin(), inode.changes.begin() + static_cast<std::ptrdiff_t>(done));
}

void FaultyFileSystem::restart() {
  MutexLock lock(mutex_);
  for (const NameChange& change : name_changes_) {
    if (random(2) == 0) continue;
    if (!change.removed.empty()) durable_names_.erase(change.removed);
    if (!change.added.empty()) durable_names_[change.added] = change.inode;
  }
  name_changes_.clear();
  names_ = durable_names_;
  std::set<Inode*> seen;
  for (auto& [name, inode] : names_) {
    if (!seen.insert(inode.get()).second) continue;
    std::string content = inode->base;
    for (const Change& change : inode->changes) {
      if (change.state == State::Durable) {
        apply(content, change);
      } else {
        apply_torn(content, change);
      }
    }
    inode->content = inode->base = std::move(content);
    inode->changes.clear();
  }
  faults_.fill({});
  changes_left_ = UINT64_MAX;
  cut_ = false;
  ++boots_;
  ++life_;
}

void FaultyFileSystem::kill() {
  MutexLock lock(mutex_);
  faults_.fill({});
  changes_left_ = UINT64_MAX;
  cut_ = false;
  ++life_;
}

void FaultyFileSystem::set_space(DiskSpace space) {
  MutexLock lock(mutex_);
  space_ = space;
}

std::string FaultyFileSystem::content(const std::string& path) {
  MutexLock lock(mutex_);
  const auto found = names_.find(path);
  return found == names_.end() ? std::string() : found->second->content;
}

void FaultyFileSystem::set_content(const std::string& path, std::string content) {
  MutexLock lock(mutex_);
  auto inode = std::make_shared<Inode>();
  inode->content = inode->base = std::move(content);
  names_[path] = durable_names_[path] = inode;
}

std::uint64_t FaultyFileSystem::calls(Call call) const {
  MutexLock lock(mutex_);
  return calls_[static_cast<std::size_t>(call)];
}

void FaultyFileSystem::change_names(NameChange change) {
  if (!change.removed.empty()) names_.erase(change.removed);
  if (!change.added.empty()) names_[change.added] = change.inode;
  name_changes_.push_back(std::move(change));
}

Result<std::unique_ptr<File>> FaultyFileSystem::open(const std::string& path, OpenMode mode) {
  MutexLock lock(mutex_);
  TRY(admit(Call::Open, nullptr));
  auto found = names_.find(path);
  if (found == names_.end()) {
    if (mode != OpenMode::Create) return Error(ErrorCode::Io, "no file " + path);
    change_names({folder_of(path), {}, path, std::make_shared<Inode>()});
    found = names_.find(path);
  }
  return std::unique_ptr<File>(std::make_unique<FaultyFile>(*this, found->second, life_));
}

Status FaultyFileSystem::rename(const std::string& from, const std::string& to) {
  MutexLock lock(mutex_);
  TRY(admit(Call::Rename, nullptr));
  const auto found = names_.find(from);
  if (found == names_.end()) return Error(ErrorCode::Io, "no file " + from);
  change_names({folder_of(to), from, to, found->second});
  return {};
}

Status FaultyFileSystem::remove(const std::string& path) {
  MutexLock lock(mutex_);
  TRY(admit(Call::Remove, nullptr));
  if (!names_.contains(path)) return Error(ErrorCode::Io, "no file " + path);
  change_names({folder_of(path), path, {}, nullptr});
  return {};
}

Status FaultyFileSystem::make_folder(const std::string&) {
  MutexLock lock(mutex_);
  return admit(Call::MakeFolder, nullptr);
}

Status FaultyFileSystem::sync_folder(const std::string& path) {
  MutexLock lock(mutex_);
  TRY(admit(Call::SyncFolder, nullptr));
  std::vector<NameChange> others;
  for (NameChange& change : name_changes_) {
    if (change.folder != path) {
      others.push_back(std::move(change));
      continue;
    }
    if (!change.removed.empty()) durable_names_.erase(change.removed);
    if (!change.added.empty()) durable_names_[change.added] = change.inode;
  }
  name_changes_ = std::move(others);
  return {};
}

Result<std::vector<std::string>> FaultyFileSystem::list(const std::string& folder) {
  MutexLock lock(mutex_);
  TRY(admit(Call::List, nullptr));
  std::vector<std::string> out;
  for (const auto& [path, inode] : names_) {
    if (folder_of(path) == folder) out.push_back(path.substr(folder.size() + 1));
  }
  return out;
}

Result<DiskSpace> FaultyFileSystem::space(const std::string&) {
  MutexLock lock(mutex_);
  return space_;
}

std::optional<CacheLife> FaultyFileSystem::cache_life(const std::string&) {
  MutexLock lock(mutex_);
  return CacheLife{{boots_, boots_}, 1, 1};
}

}  // namespace dunlin::embedded
