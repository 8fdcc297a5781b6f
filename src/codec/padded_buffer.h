#pragma once

#include <cstddef>
#include <string_view>

#include "codec/bytes.h"

namespace dunlin {

// Bytes that grow at the end, with kPayloadPadding readable ones behind them. It grows with what has arrived, never with what a header
// promises.
class PaddedBuffer {
 public:
  PaddedBuffer() = default;
  ~PaddedBuffer();
  PaddedBuffer(const PaddedBuffer&) = delete;
  PaddedBuffer& operator=(const PaddedBuffer&) = delete;

  // Appends and returns the place where the new bytes lie. `final_size` is the largest size that this buffer can still reach; growth stops
  // there.
  MutableBytes append(std::string_view bytes, std::size_t final_size);
  MutableBytes bytes() { return {data_, size_}; }
  std::size_t size() const { return size_; }
  std::size_t capacity() const { return capacity_; }
  void clear();  // gives the memory back

 private:
  char* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;  // with padding
};

}  // namespace dunlin
