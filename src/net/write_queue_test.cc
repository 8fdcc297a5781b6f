#include "net/write_queue.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace dunlin {
namespace {

std::string front_bytes(const WriteQueue& queue, int max = 64) {
  iovec pieces[64];
  std::string bytes;
  const int count = queue.front(pieces, max);
  for (int i = 0; i < count; ++i) bytes.append(static_cast<const char*>(pieces[i].iov_base), pieces[i].iov_len);
  return bytes;
}

TEST(WriteQueueTest, KeepsTheOrderOfSharedAndCopiedBytes) {
  WriteQueue queue;
  queue.push("one ");
  queue.push("two ");
  queue.push(SharedBytes("three "));
  queue.push("four");
  EXPECT_EQ(queue.bytes(), 18U);
  EXPECT_EQ(front_bytes(queue), "one two three four");
  iovec pieces[64];
  EXPECT_EQ(queue.front(pieces, 64), 3) << "neighbouring copies are one piece";
  queue.pop(6);
  EXPECT_EQ(front_bytes(queue), "o three four");
  queue.pop(12);
  EXPECT_TRUE(queue.empty());
}

TEST(WriteQueueTest, GivesTheSameStreamHoweverItIsWritten) {
  std::mt19937 random(5);
  WriteQueue queue;
  std::string expected, written;
  for (int round = 0; round < 20000; ++round) {
    const std::string bytes(random() % 300, static_cast<char>('a' + round % 26));
    if (random() % 2) {
      queue.push(bytes);
    } else {
      queue.push(SharedBytes(bytes));
    }
    expected += bytes;
    if (random() % 3 == 0) {
      const std::string front = front_bytes(queue);
      const std::size_t count = front.empty() ? 0 : random() % (front.size() + 1);
      written += front.substr(0, count);
      queue.pop(count);
    }
  }
  while (!queue.empty()) {
    const std::string front = front_bytes(queue);
    written += front;
    queue.pop(front.size());
  }
  EXPECT_EQ(written, expected);
}

}  // namespace
}  // namespace dunlin
