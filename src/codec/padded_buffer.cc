#include "codec/padded_buffer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/check.h"

namespace dunlin {

PaddedBuffer::~PaddedBuffer() {
  std::free(data_);
}

MutableBytes PaddedBuffer::append(std::string_view bytes, std::size_t final_size) {
  const std::size_t needed = size_ + bytes.size();
  if (needed + kPayloadPadding > capacity_) {
    constexpr std::size_t kSmallest = 256;
    const std::size_t grown = std::min(std::max(needed, final_size), std::max(needed, 2 * size_ + kSmallest));
    char* data = static_cast<char*>(std::realloc(data_, grown + kPayloadPadding));
    CHECK(data != nullptr);
    data_ = data;
    capacity_ = grown + kPayloadPadding;
  }
  if (!bytes.empty()) std::memcpy(data_ + size_, bytes.data(), bytes.size());
  std::memset(data_ + needed, 0, kPayloadPadding);
  MutableBytes added{data_ + size_, bytes.size()};
  size_ = needed;
  return added;
}

void PaddedBuffer::clear() {
  std::free(data_);
  data_ = nullptr;
  size_ = capacity_ = 0;
}

}  // namespace dunlin
