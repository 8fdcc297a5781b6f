#include "storage/embedded/followers.h"

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "base/log.h"
#include "storage/embedded/file/small_file.h"

namespace dunlin::embedded {
namespace {

constexpr std::string_view kMagic = "DUNLINF1";
constexpr const char* kFile = "followers";
constexpr std::size_t kMostBytes = 4096;

bool is_name(std::string_view name) {
  const auto good = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  return !name.empty() && name.size() <= kMaxFollowerName && std::all_of(name.begin(), name.end(), good);
}

template <class T>
void put(std::string& out, T value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof bytes);
}
template <class T>
bool take(std::string_view& in, T& value) {
  if (in.size() < sizeof value) return false;
  in.copy(reinterpret_cast<char*>(&value), sizeof value);
  in.remove_prefix(sizeof value);
  return true;
}

}  // namespace

Result<std::unique_ptr<Followers>> Followers::open(FileSystem& files, std::string data_folder, Epoch epoch) {
  std::unique_ptr<Followers> followers(new Followers(files, std::move(data_folder), epoch));
  TRY(followers->load());
  return followers;
}

Status Followers::check(FileSystem& files, const std::string& data_folder) {
  TRY_ASSIGN(const auto bytes, read_small_file(files, data_folder, kFile, kMostBytes));
  bool other_epoch = false;
  if (bytes && !decode(*bytes, Epoch(), &other_epoch)) {
    return Error(ErrorCode::Corrupt, "the table of followers is damaged: a start moves it aside, and they begin anew");
  }
  return {};
}

Status Followers::load() {
  MutexLock changing(changing_);
  TRY_ASSIGN(const auto bytes, read_small_file(fs_, folder_, kFile, kMostBytes));
  if (!bytes) return {};
  bool other_epoch = false;
  auto found = decode(*bytes, epoch_, &other_epoch);
  if (!found) {
    const std::string path = folder_ + "/" + kFile;
    log_error("store", "the table of followers is damaged and moved aside: they begin anew", {{"copy", path + ".damaged"}});
    TRY(fs_.rename(path, path + ".damaged"));
    return fs_.sync_folder(folder_);
  }
  if (!other_epoch) {
    MutexLock lock(mutex_);
    rows_ = *std::move(found);
    return {};
  }
  mark_reset(*found);
  return replace(*std::move(found));
}

void Followers::mark_reset(Rows& rows) {
  for (auto& [name, follower] : rows) {
    if (follower.reset) continue;
    follower.reset = true;
    log_warn("store", "a follower of another epoch is reset", {{"follower", name}, {"position", follower.position.value()}});
  }
}

Status Followers::begin_epoch(Epoch epoch) {
  MutexLock changing(changing_);
  epoch_ = epoch;
  Rows next = rows();
  mark_reset(next);
  {
    MutexLock lock(mutex_);
    rows_ = next;
  }
  return replace(std::move(next));
}

std::string Followers::encode(const Rows& rows, Epoch epoch) {
  std::string out(kMagic);
  put(out, epoch.value);
  put(out, static_cast<std::uint32_t>(rows.size()));
  for (const auto& [name, follower] : rows) {
    put(out, follower.position.value());
    put(out, static_cast<std::uint8_t>(follower.reset));
    put(out, static_cast<std::uint8_t>(name.size()));
    out += name;
  }
  put(out, crc32c(out));
  return out;
}

std::optional<Followers::Rows> Followers::decode(std::string_view bytes, Epoch epoch, bool* other_epoch) {
  if (!bytes.starts_with(kMagic) || bytes.size() < kMagic.size() + 4) return std::nullopt;
  std::string_view sum = bytes.substr(bytes.size() - 4);
  bytes.remove_suffix(4);
  std::uint32_t checksum = 0;
  if (!take(sum, checksum) || checksum != crc32c(bytes)) return std::nullopt;
  bytes.remove_prefix(kMagic.size());
  std::uint64_t of = 0;
  std::uint32_t count = 0;
  if (!take(bytes, of) || !take(bytes, count)) return std::nullopt;
  *other_epoch = of != epoch.value;
  Rows rows;
  for (; count > 0; --count) {
    std::uint64_t position = 0;
    std::uint8_t reset = 0;
    std::uint8_t size = 0;
    if (!take(bytes, position) || !take(bytes, reset) || !take(bytes, size) || bytes.size() < size) return std::nullopt;
    const std::string name(bytes.substr(0, size));
    bytes.remove_prefix(size);
    rows[name] = {name, LogPosition(position), reset != 0};
  }
  return rows;
}

Followers::Rows Followers::rows() const {
  MutexLock lock(mutex_);
  return rows_;
}

Status Followers::replace(Rows rows) {
  TRY(replace_small_file(fs_, folder_, kFile, encode(rows, epoch_)));
  MutexLock lock(mutex_);
  rows_ = std::move(rows);
  return {};
}

Result<Follower> Followers::add(const std::string& name, LogPosition from) {
  if (!is_name(name)) return Error(ErrorCode::BadRequest, "a follower's name is 1 to 32 of a-z, 0-9 and '-'");
  MutexLock changing(changing_);
  Rows next = rows();
  if (const auto known = next.find(name); known != next.end()) return known->second;
  if (next.size() >= kMaxFollowers) return Error(ErrorCode::Overloaded, "there are as many followers as there may be");
  const Follower added{name, from, false};
  next[name] = added;
  TRY(replace(std::move(next)));
  log_info("store", "a follower is registered", {{"follower", name}, {"position", from.value()}});
  return added;
}

Status Followers::advance(const std::string& name, LogPosition position, LogPosition settled) {
  MutexLock changing(changing_);
  Rows next = rows();
  const auto known = next.find(name);
  if (known == next.end()) return Error(ErrorCode::NotFound, "follower " + name);
  if (known->second.reset) return Error(ErrorCode::WrongState, "follower " + name + " was left behind: it has to begin anew");
  if (position < known->second.position || position > settled) {
    return Error(ErrorCode::BadRequest, "a follower moves forwards, as far as the log is settled");
  }
  if (position == known->second.position) return {};
  known->second.position = position;
  return replace(std::move(next));
}

Status Followers::remove(const std::string& name) {
  MutexLock changing(changing_);
  Rows next = rows();
  if (next.erase(name) == 0) return Error(ErrorCode::NotFound, "follower " + name);
  TRY(replace(std::move(next)));
  log_info("store", "a follower is gone", {{"follower", name}});
  return {};
}

Result<std::vector<std::string>> Followers::leave_behind(LogPosition needed) {
  MutexLock changing(changing_);
  Rows next = rows();
  std::vector<std::string> left;
  for (auto& [name, follower] : next) {
    if (follower.reset || follower.position >= needed) continue;
    follower.reset = true;
    left.push_back(name);
  }
  if (!left.empty()) TRY(replace(std::move(next)));
  return left;
}

std::vector<Follower> Followers::all() const {
  std::vector<Follower> out;
  MutexLock lock(mutex_);
  for (const auto& [name, follower] : rows_) out.push_back(follower);
  return out;
}

LogPosition Followers::farthest() const {
  LogPosition highest;
  MutexLock lock(mutex_);
  for (const auto& [name, follower] : rows_) {
    if (!follower.reset) highest = std::max(highest, follower.position);
  }
  return highest;
}

LogPosition Followers::passed() const {
  LogPosition lowest(UINT64_MAX);
  MutexLock lock(mutex_);
  for (const auto& [name, follower] : rows_) {
    if (!follower.reset) lowest = std::min(lowest, follower.position);
  }
  return lowest;
}

}  // namespace dunlin::embedded
