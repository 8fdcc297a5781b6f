#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "base/shared_bytes.h"

namespace dunlin {

// Bytes that wait for a socket, in order: shared frames by reference, small ones copied. Kept by a connection only while not empty, then
// recycled by its worker. No bound of its own: the connection decides what it takes.
class WriteQueue {
 public:
  std::size_t bytes() const { return bytes_; }
  bool empty() const { return bytes_ == 0; }

  void push(const SharedBytes& bytes);
  void push(std::string_view bytes);
  // Lets `fill(std::string&)` append to the copied bytes directly.
  template <class F>
  void append(F&& fill) {
    const std::size_t before = copied_.size();
    fill(copied_);
    note_copied(copied_.size() - before);
  }

  // The first bytes as at most `max` pieces; returns how many. Valid until the next change.
  int front(iovec* pieces, int max) const;
  void pop(std::size_t bytes);

  // Empty, and without memory beyond a small kept part.
  void recycle();

 private:
  struct Piece {
    SharedBytes shared;      // or, when empty:
    std::size_t copied = 0;  // that many of copied_
  };
  static constexpr std::size_t kKeptBytes = 16 * 1024;

  void note_copied(std::size_t count);

  std::vector<Piece> pieces_;
  std::string copied_;
  std::size_t first_piece_ = 0;
  std::size_t piece_offset_ = 0;   // consumed of the first piece
  std::size_t copied_offset_ = 0;  // consumed of copied_
  std::size_t bytes_ = 0;
};

}  // namespace dunlin
