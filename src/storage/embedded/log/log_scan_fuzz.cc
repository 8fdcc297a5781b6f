#include <cstddef>
#include <cstdint>
#include <string>

#include "storage/embedded/file/testing/faulty_file_system.h"
#include "storage/embedded/log/log_scan.h"

// Whatever the bytes of two segment files are, the scan ends, stays inside them, and tells records in ascending order. The log secret is
// that of log/testdata/one_record_batch.hex, which makes a good first seed.
namespace {

class Sink final : public dunlin::embedded::LogScanSink {
 public:
  void on_segment(const std::string&) override {}
  void on_record(dunlin::MessagePtr message) override {
    CHECK(message->position() > last_);
    last_ = message->position();
    bytes_ += message->footprint();
  }
  void on_lost(dunlin::LogPosition position, std::uint64_t, dunlin::MessageSeq, std::string_view conversation) override {
    CHECK(position > last_);
    last_ = position;
    bytes_ += conversation.size();
  }

 private:
  dunlin::LogPosition last_;
  std::size_t bytes_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::size_t middle = size / 2;
  dunlin::embedded::FaultyFileSystem files(1);
  files.set_content("log/p0-00000001.seg", std::string(bytes.substr(0, middle)));
  files.set_content("log/p0-00000002.seg", std::string(bytes.substr(middle)));
  Sink sink;
  dunlin::ignore(dunlin::embedded::scan_log(files, "log", 0x01020304, dunlin::LogPosition(0), sink));
  return 0;
}
