#include "server/memory_engine.h"

#include "storage/memory/memory_message_store.h"
#include "storage/memory/memory_state_store.h"

namespace dunlin {
namespace {

class MemoryEngine final : public Engine {
 public:
  explicit MemoryEngine(MemoryStoreOptions options) : messages_(options) {}
  Timelines& timelines() override { return messages_; }
  Inboxes& inboxes() override { return messages_; }
  DeviceStates& devices() override { return state_; }
  void close() override {}
  Status probe() override { return {}; }
  Status backup(const std::string&, const std::function<bool(std::uint64_t, std::uint64_t)>&) override {
    return Error(ErrorCode::Config, "store.engine memory has nothing to back up");
  }
  Result<SipKey> token_key() override { return SipKey::random(); }

 private:
  MemoryMessageStore messages_;
  MemoryStateStore state_{messages_};
};

}  // namespace

Result<std::unique_ptr<Engine>> open_memory_engine(const EngineParts& parts) {
  MemoryStoreOptions options;
  options.clock = &parts.clock;
  options.metrics = &parts.metrics;
  options.durability = Durability::Memory;
  return std::unique_ptr<Engine>(std::make_unique<MemoryEngine>(options));
}

}  // namespace dunlin
