#include "storage/embedded/history/covered_rows.h"

#include <rocksdb/table_properties.h>

#include <string>

#include "storage/embedded/history/rows.h"

namespace dunlin::embedded {
namespace {

constexpr const char* kName = "dunlin.covered";

class Collector final : public rocksdb::TablePropertiesCollector {
 public:
  const char* Name() const override { return kName; }

  // Of one key the newest row comes first.
  rocksdb::Status AddUserKey(const rocksdb::Slice& key, const rocksdb::Slice& value, rocksdb::EntryType, rocksdb::SequenceNumber,
                             std::uint64_t) override {
    if (!recalled_.empty() && key == recalled_) {
      covered_ = true;
    } else if (is_recalled_value({value.data(), value.size()})) {
      recalled_.assign(key.data(), key.size());
    } else {
      recalled_.clear();
    }
    return rocksdb::Status::OK();
  }
  rocksdb::Status Finish(rocksdb::UserCollectedProperties* properties) override {
    *properties = GetReadableProperties();
    return rocksdb::Status::OK();
  }
  rocksdb::UserCollectedProperties GetReadableProperties() const override {
    if (!covered_) return {};
    return {{kName, "1"}};
  }

 private:
  std::string recalled_;  // the last key, if its newest row is that of a recalled message
  bool covered_ = false;
};

class CollectorFactory final : public rocksdb::TablePropertiesCollectorFactory {
 public:
  const char* Name() const override { return kName; }
  rocksdb::TablePropertiesCollector* CreateTablePropertiesCollector(Context) override { return new Collector; }
};

}  // namespace

std::shared_ptr<rocksdb::TablePropertiesCollectorFactory> covered_rows_collector() {
  return std::make_shared<CollectorFactory>();
}

bool has_covered_rows(const rocksdb::TableProperties& properties) {
  return properties.user_collected_properties.contains(kName);
}

}  // namespace dunlin::embedded
