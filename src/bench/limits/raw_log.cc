#include "bench/limits/raw_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "bench/limits/limits.h"

namespace dunlin::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::size_t kRecord = 240;

}  // namespace

Result<ZeroedFile> ZeroedFile::create() {
  TRY_ASSIGN(ScratchFolder folder, ScratchFolder::create());
  const std::string path = folder.file("log");
  Fd fd(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  if (!fd.valid()) return errno_error("opening " + path, errno);
  const std::vector<char> zeros(1U << 20);
  for (std::size_t done = 0; done < kBytes; done += zeros.size()) {
    if (::write(fd.get(), zeros.data(), zeros.size()) != static_cast<ssize_t>(zeros.size())) return errno_error("writing " + path, errno);
  }
  if (::fsync(fd.get()) != 0) return errno_error("fsync of " + path, errno);
  return ZeroedFile(std::move(folder), std::move(fd));
}

Status ZeroedFile::append(std::string_view bytes) {
  if (at_ + bytes.size() > kBytes) at_ = 0;
  if (::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(at_)) != static_cast<ssize_t>(bytes.size())) {
    return errno_error("writing the log", errno);
  }
  if (::fdatasync(fd_.get()) != 0) return errno_error("fdatasync of the log", errno);
  at_ += bytes.size();
  return {};
}

Result<RawLog> RawLog::create() {
  TRY_ASSIGN(ZeroedFile file, ZeroedFile::create());
  return RawLog(std::move(file));
}

Status RawLog::append_batch() {
  batch_.clear();
  for (std::size_t i = 0; i < kBatch; ++i) {
    const auto conversation = static_cast<std::uint32_t>(random_() % kConversations);
    const std::size_t start = batch_.size();
    fmt::format_to(std::back_inserter(batch_), "u{:06}u{:06}{:012}user{:06}/{:016x}", conversation, conversation + 1, records_,
                   conversation, records_ * 2654435761U);
    const std::size_t id_start = start + 26;
    if (!ids_.emplace(std::hash<std::string_view>{}(std::string_view(batch_).substr(id_start)), records_).second) continue;
    batch_.resize(start + kRecord - sizeof(std::uint64_t), 'x');
    const std::uint64_t checksum = std::hash<std::string_view>{}(std::string_view(batch_).substr(start));
    batch_.append(reinterpret_cast<const char*>(&checksum), sizeof checksum);
    index_[conversation].push_back(offset_ + start);
    ++records_;
  }
  offset_ += batch_.size();
  return file_.append(batch_);
}

Result<double> log_appends_per_s(std::chrono::milliseconds duration) {
  TRY_ASSIGN(RawLog log, RawLog::create());
  const auto start = SteadyClock::now();
  while (SteadyClock::now() < start + duration) TRY(log.append_batch());
  return static_cast<double>(log.records()) / std::chrono::duration<double>(SteadyClock::now() - start).count();
}

Result<double> fsync_ms(std::chrono::milliseconds duration) {
  TRY_ASSIGN(ZeroedFile file, ZeroedFile::create());
  std::vector<double> times;
  const auto start = SteadyClock::now();
  while (SteadyClock::now() < start + duration) {
    const std::string record = fmt::format("{:0{}}", times.size(), kRecord);  // never the same bytes
    const auto before = SteadyClock::now();
    TRY(file.append(record));
    times.push_back(std::chrono::duration<double, std::milli>(SteadyClock::now() - before).count());
  }
  if (times.empty()) return Error(ErrorCode::Io, "no fdatasync finished in time");
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

}  // namespace dunlin::bench
