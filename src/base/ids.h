#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace dunlin {

// A string that identifies one kind of thing. Two ids of different kinds cannot be swapped in a call.
// `view()` gives the bytes; a StringId owns them.
template <class Tag>
class StringId {
 public:
  StringId() = default;
  explicit StringId(std::string_view value) : value_(value) {}
  explicit StringId(const char* value) : value_(value) {}
  explicit StringId(std::string&& value) : value_(std::move(value)) {}

  std::string_view view() const { return value_; }
  const std::string& str() const { return value_; }
  bool empty() const { return value_.empty(); }
  auto operator<=>(const StringId&) const = default;

 private:
  std::string value_;
};

// A number that identifies or orders one kind of thing.
template <class Tag>
class NumberId {
 public:
  constexpr NumberId() = default;
  constexpr explicit NumberId(std::uint64_t value) : value_(value) {}
  constexpr std::uint64_t value() const { return value_; }
  constexpr NumberId next() const { return NumberId(value_ + 1); }
  constexpr NumberId prev() const { return NumberId(value_ - 1); }
  constexpr auto operator<=>(const NumberId&) const = default;

 private:
  std::uint64_t value_ = 0;
};

using UserId = StringId<struct UserTag>;                  // 1 to 64 bytes of UTF-8, from the token's sub
using DeviceId = StringId<struct DeviceTag>;              // 1 to 64 bytes of UTF-8, from connect
using ConversationId = StringId<struct ConversationTag>;  // opaque to clients; see messaging/model/conversation.h

using MessageSeq = NumberId<struct SeqTag>;  // 1, 2, 3, ... in a conversation; 0 = before the first
// A place in one user's inbox (messaging/ports/inboxes.h): comparable with others of the same user and epoch, and with nothing else.
using InboxPosition = NumberId<struct InboxPositionTag>;
// 1, 2, 3, ... over all records of one epoch's log; 0 = before the first. Of a store that has one log, and of its feed.
using LogPosition = NumberId<struct PositionTag>;

inline constexpr std::size_t kMaxIdBytes = 64;

}  // namespace dunlin

template <class Tag>
struct std::hash<dunlin::StringId<Tag>> {
  using is_transparent = void;
  std::size_t operator()(const dunlin::StringId<Tag>& id) const noexcept { return std::hash<std::string_view>{}(id.view()); }
};
template <class Tag>
struct std::hash<dunlin::NumberId<Tag>> {
  std::size_t operator()(const dunlin::NumberId<Tag>& id) const noexcept { return std::hash<std::uint64_t>{}(id.value()); }
};
