#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "storage/embedded/file/testing/faulty_file_system.h"
#include "storage/embedded/followers.h"
#include "storage/embedded/meta_file.h"

// The data folder's two small files with any content, and with any content whose checksum is right: a meta file is refused with an error or
// read as something that is written as it was; followers that cannot be read are moved aside, and the store opens.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dunlin;
  using namespace dunlin::embedded;
  set_log_level(LogLevel::Off);
  const std::string any(reinterpret_cast<const char*>(data), size);
  std::string meta = any;
  meta.resize(124);
  meta.replace(0, 8, "DUNLIN-1");
  std::string sealed = any;
  for (std::string* text : {&meta, &sealed}) {
    const std::uint32_t sum = crc32c(*text);
    text->append(reinterpret_cast<const char*>(&sum), sizeof sum);
  }
  for (const std::string& text : {any, meta}) {
    const auto read = decode_meta(text);
    if (!read.ok()) continue;
    const auto same = decode_meta(encode_meta(*read));
    CHECK(same.ok() && same->epoch == read->epoch && same->end == read->end && same->clean == read->clean);
  }
  for (const std::string& text : {any, sealed}) {
    FaultyFileSystem files(1);
    files.set_content("data/followers", text);
    const auto followers = Followers::open(files, "data", Epoch{1});
    CHECK(followers.ok() || followers.error().code() != ErrorCode::Internal);
    if (!followers.ok()) continue;
    static_cast<void>((*followers)->add("feed", LogPosition(3)));
    static_cast<void>((*followers)->passed());
  }
  return 0;
}
