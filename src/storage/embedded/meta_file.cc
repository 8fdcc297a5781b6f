#include "storage/embedded/meta_file.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "base/crc32c.h"
#include "storage/embedded/file/small_file.h"

namespace dunlin::embedded {
namespace {

constexpr std::string_view kMagic = "DUNLIN-1";
constexpr std::size_t kBytes = 128;
constexpr std::uint64_t kKnownReadOnly = 0;
constexpr std::uint64_t kKnownIncompatible = 0;

template <class T>
void put(std::string& out, std::size_t at, T value) {
  std::memcpy(out.data() + at, &value, sizeof value);
}
template <class T>
T get(std::string_view in, std::size_t at) {
  T value;
  std::memcpy(&value, in.data() + at, sizeof value);
  return value;
}

// "incompatible feature bit 3, …"
void name_bits(std::string& out, std::string_view kind, std::uint64_t bits) {
  for (; bits != 0; bits &= bits - 1) {
    out += fmt::format("{}{} feature bit {}", out.empty() ? "" : ", ", kind, std::countr_zero(bits));
  }
}

}  // namespace

Meta Meta::create() {
  Meta meta;
  meta.epoch = Epoch{SipKey::random().low};
  meta.dedup_secret = SipKey::random();
  meta.log_secret = static_cast<std::uint32_t>(SipKey::random().low);
  return meta;
}

std::string encode_meta(const Meta& meta) {
  std::string out(kBytes, '\0');
  std::memcpy(out.data(), kMagic.data(), kMagic.size());
  put(out, 8, meta.compatible);
  put(out, 16, meta.read_only_compatible);
  put(out, 24, meta.incompatible);
  put(out, 32, meta.epoch.value);
  put(out, 40, meta.dedup_secret.low);
  put(out, 48, meta.dedup_secret.high);
  put(out, 56, meta.log_secret);
  put(out, 60, static_cast<std::uint8_t>(meta.clean));
  put(out, 61, static_cast<std::uint8_t>(meta.weak_acks));
  put(out, 64, meta.end.value());
  if (meta.acked_in) {
    put(out, 72, meta.acked_in->boot[0]);
    put(out, 80, meta.acked_in->boot[1]);
    put(out, 88, meta.acked_in->device);
    put(out, 96, meta.acked_in->inode);
  }
  put(out, kBytes - 4, crc32c(std::string_view(out).substr(0, kBytes - 4)));
  return out;
}

Result<Meta> decode_meta(std::string_view bytes) {
  if (bytes.size() != kBytes || !bytes.starts_with(kMagic) ||
      get<std::uint32_t>(bytes, kBytes - 4) != crc32c(bytes.substr(0, kBytes - 4))) {
    return Error(ErrorCode::Corrupt, "the meta file is damaged; `dunlin restore` makes a data folder from a backup");
  }
  Meta meta;
  meta.compatible = get<std::uint64_t>(bytes, 8);
  meta.read_only_compatible = get<std::uint64_t>(bytes, 16);
  meta.incompatible = get<std::uint64_t>(bytes, 24);
  meta.epoch = Epoch{get<std::uint64_t>(bytes, 32)};
  meta.dedup_secret = {get<std::uint64_t>(bytes, 40), get<std::uint64_t>(bytes, 48)};
  meta.log_secret = get<std::uint32_t>(bytes, 56);
  meta.clean = bytes[60] != 0;
  meta.weak_acks = bytes[61] != 0;
  meta.end = LogPosition(get<std::uint64_t>(bytes, 64));
  const CacheLife life{
      {get<std::uint64_t>(bytes, 72), get<std::uint64_t>(bytes, 80)}, get<std::uint64_t>(bytes, 88), get<std::uint64_t>(bytes, 96)};
  if (life != CacheLife{}) meta.acked_in = life;
  std::string unknown;
  name_bits(unknown, "incompatible", meta.incompatible & ~kKnownIncompatible);
  name_bits(unknown, "read-only compatible", meta.read_only_compatible & ~kKnownReadOnly);
  if (!unknown.empty()) {
    return Error(
        ErrorCode::Config,
        fmt::format("the data folder was written by a newer version of dunlin: its meta file has {}, which this version does not know; "
                    "start that version, or `dunlin restore` a backup of before into another folder",
                    unknown));
  }
  return meta;
}

Result<std::optional<Meta>> read_meta(FileSystem& files, const std::string& folder) {
  TRY_ASSIGN(const auto bytes, read_small_file(files, folder, "meta", kBytes + 1));
  if (!bytes) return std::optional<Meta>();
  TRY_ASSIGN(Meta meta, decode_meta(*bytes));
  return std::optional<Meta>(meta);
}

Status write_meta(FileSystem& files, const std::string& folder, const Meta& meta) {
  return replace_small_file(files, folder, "meta", encode_meta(meta));
}

}  // namespace dunlin::embedded
