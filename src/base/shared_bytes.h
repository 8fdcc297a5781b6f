#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace dunlin {

// Immutable bytes shared by many owners on any threads: one allocation, one atomic count. A message is encoded into one of these
// once for each encoding, and all its recipients' write queues hold it.
class SharedBytes {
 public:
  SharedBytes() = default;
  explicit SharedBytes(std::string_view bytes) : block_(allocate(bytes.size())) {
    if (!bytes.empty()) std::memcpy(data_of(block_), bytes.data(), bytes.size());
  }
  // Both parts one behind the other: a frame's header and its payload.
  SharedBytes(std::string_view first, std::string_view second) : block_(allocate(first.size() + second.size())) {
    if (!first.empty()) std::memcpy(data_of(block_), first.data(), first.size());
    if (!second.empty()) std::memcpy(data_of(block_) + first.size(), second.data(), second.size());
  }
  SharedBytes(const SharedBytes& other) : block_(other.block_) {
    if (block_) block_->count.fetch_add(1, std::memory_order_relaxed);
  }
  SharedBytes(SharedBytes&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  SharedBytes& operator=(SharedBytes other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~SharedBytes() {
    if (block_ && block_->count.fetch_sub(1, std::memory_order_acq_rel) == 1) std::free(block_);
  }

  std::string_view view() const { return block_ ? std::string_view(data_of(block_), block_->size) : std::string_view(); }
  std::size_t size() const { return block_ ? block_->size : 0; }
  bool empty() const { return size() == 0; }

 private:
  struct Block {
    std::atomic<std::uint32_t> count{1};
    std::uint32_t size = 0;
  };
  static char* data_of(Block* block) { return reinterpret_cast<char*>(block + 1); }
  static Block* allocate(std::size_t size) {
    CHECK(size <= UINT32_MAX);
    void* memory = std::malloc(sizeof(Block) + size);
    CHECK(memory != nullptr);
    auto* block = new (memory) Block;
    block->size = static_cast<std::uint32_t>(size);
    return block;
  }

  Block* block_ = nullptr;
};

}  // namespace dunlin
