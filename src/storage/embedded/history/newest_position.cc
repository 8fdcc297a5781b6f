#include "storage/embedded/history/newest_position.h"

#include <rocksdb/table_properties.h>

#include <algorithm>
#include <charconv>

namespace dunlin::embedded {
namespace {

constexpr const char* kName = "dunlin.newest";

class Collector final : public rocksdb::TablePropertiesCollector {
 public:
  explicit Collector(Family family) : family_(family) {}
  const char* Name() const override { return kName; }

  rocksdb::Status AddUserKey(const rocksdb::Slice& key, const rocksdb::Slice& value, rocksdb::EntryType, rocksdb::SequenceNumber,
                             std::uint64_t) override {
    std::optional<LogPosition> position;
    if (family_ == Family::Activity) {
      position = activity_row_position({key.data(), key.size()});
    } else if (const auto positions = peek_record({value.data(), value.size()})) {
      position = positions->position;
    }
    newest_ = std::max(newest_, position.value_or(LogPosition(UINT64_MAX)));
    return rocksdb::Status::OK();
  }
  rocksdb::Status Finish(rocksdb::UserCollectedProperties* properties) override {
    *properties = GetReadableProperties();
    return rocksdb::Status::OK();
  }
  rocksdb::UserCollectedProperties GetReadableProperties() const override { return {{kName, std::to_string(newest_.value())}}; }

 private:
  const Family family_;
  LogPosition newest_;
};

class CollectorFactory final : public rocksdb::TablePropertiesCollectorFactory {
 public:
  explicit CollectorFactory(Family family) : family_(family) {}
  const char* Name() const override { return kName; }
  rocksdb::TablePropertiesCollector* CreateTablePropertiesCollector(Context) override { return new Collector(family_); }

 private:
  const Family family_;
};

}  // namespace

std::shared_ptr<rocksdb::TablePropertiesCollectorFactory> newest_position_collector(Family family) {
  return std::make_shared<CollectorFactory>(family);
}

std::function<bool(const rocksdb::TableProperties&)> files_newer_than(LogPosition position) {
  return [position](const rocksdb::TableProperties& properties) {
    const auto at = properties.user_collected_properties.find(kName);
    if (at == properties.user_collected_properties.end()) return true;
    const std::string& text = at->second;
    std::uint64_t newest = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), newest);
    return error != std::errc() || end != text.data() + text.size() || newest > position.value();
  };
}

}  // namespace dunlin::embedded
