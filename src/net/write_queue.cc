#include "net/write_queue.h"

#include <algorithm>

#include "base/check.h"

namespace dunlin {

void WriteQueue::push(const SharedBytes& bytes) {
  if (bytes.empty()) return;
  pieces_.push_back({bytes, 0});
  bytes_ += bytes.size();
}

void WriteQueue::push(std::string_view bytes) {
  append([&](std::string& copied) { copied.append(bytes); });
}

void WriteQueue::note_copied(std::size_t count) {
  if (count == 0) return;
  if (first_piece_ == pieces_.size() || !pieces_.back().shared.empty()) pieces_.push_back({});
  pieces_.back().copied += count;
  bytes_ += count;
}

int WriteQueue::front(iovec* pieces, int max) const {
  int count = 0;
  std::size_t copied_at = copied_offset_;
  for (std::size_t i = first_piece_; i < pieces_.size() && count < max; ++i, ++count) {
    const Piece& piece = pieces_[i];
    const std::size_t skip = i == first_piece_ ? piece_offset_ : 0;
    const bool shared = !piece.shared.empty();
    const char* begin = shared ? piece.shared.view().data() + skip : copied_.data() + copied_at;
    const std::size_t size = (shared ? piece.shared.size() : piece.copied) - skip;
    if (!shared) copied_at += size;
    pieces[count] = {const_cast<char*>(begin), size};
  }
  return count;
}

void WriteQueue::pop(std::size_t bytes) {
  CHECK(bytes <= bytes_);
  bytes_ -= bytes;
  while (bytes > 0) {
    Piece& piece = pieces_[first_piece_];
    const bool shared = !piece.shared.empty();
    const std::size_t left = (shared ? piece.shared.size() : piece.copied) - piece_offset_;
    const std::size_t taken = std::min(left, bytes);
    if (!shared) copied_offset_ += taken;
    bytes -= taken;
    piece_offset_ += taken;
    if (taken < left) break;
    piece = {};  // gives its share of the bytes back at once
    piece_offset_ = 0;
    ++first_piece_;
  }
  if (bytes_ == 0) {
    pieces_.clear();
    copied_.clear();
    first_piece_ = copied_offset_ = piece_offset_ = 0;
    return;
  }
  // What is written moves out of the way once it is more than what waits, so that each byte moves at most once on average.
  if (copied_offset_ > kKeptBytes && copied_offset_ * 2 > copied_.size()) {
    copied_.erase(0, copied_offset_);
    copied_offset_ = 0;
  }
  if (first_piece_ > 64 && first_piece_ * 2 > pieces_.size()) {
    pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(first_piece_));
    first_piece_ = 0;
  }
}

void WriteQueue::recycle() {
  pieces_.clear();
  copied_.clear();
  first_piece_ = piece_offset_ = copied_offset_ = bytes_ = 0;
  if (copied_.capacity() > kKeptBytes) std::string().swap(copied_);
  if (pieces_.capacity() * sizeof(Piece) > kKeptBytes) std::vector<Piece>().swap(pieces_);
}

}  // namespace dunlin
