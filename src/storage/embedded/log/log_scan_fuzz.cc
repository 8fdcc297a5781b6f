#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "storage/embedded/file/testing/faulty_file_system.h"
#include "storage/embedded/log/log_scan.h"
#include "storage/embedded/state/cursor_riders.h"
#include "storage/embedded/state/state_rows.h"

// Whatever the bytes of two segment files are, the scan ends, stays inside them, and tells records in ascending order. The log secret is
// that of log/testdata/one_record_batch.hex, which makes a good first seed.
namespace {

class Sink final : public dunlin::embedded::LogScanSink {
 public:
  void on_segment(const std::string&) override {}
  void on_record(dunlin::MessagePtr message) override {
    CHECK(message->place().position > last_);
    last_ = message->place().position;
    bytes_ += message->footprint();
  }
  void on_lost(dunlin::LogPosition position, std::uint64_t, dunlin::MessageSeq, std::string_view conversation) override {
    CHECK(position > last_);
    last_ = position;
    bytes_ += conversation.size();
  }
  void on_cursors(std::string_view bytes) override { riders_.read_back(bytes); }
  void end() {
    dunlin::ignore(riders_.keep_read_back([](std::span<const dunlin::embedded::RidingCursor> some) {
      for (const auto& one : some) CHECK(dunlin::embedded::cursor_order(one.row) == one.order);
      return dunlin::Status();
    }));
  }

 private:
  const dunlin::ManualClock clock_;
  dunlin::embedded::CursorRiders riders_{clock_};
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
  sink.end();
  return 0;
}
