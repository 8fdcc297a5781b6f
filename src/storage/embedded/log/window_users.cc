#include "storage/embedded/log/window_users.h"

#include <algorithm>

#include "storage/embedded/log/conversations.h"

namespace dunlin::embedded {
namespace {

std::size_t user_count(const Conversation& c) {
  if (!c.pair) return 0;
  return c.pair->first == c.pair->second ? 1 : 2;
}

std::uint32_t& slot_of(const WindowUser& user, Conversation& c) {
  return c.user_slots[c.users[0] == &user ? 0 : 1];
}

constexpr std::size_t kOrderedFrom = 64;

void close_up(WindowUser& user) REQUIRES(window_users_shard) {
  std::erase(user.conversations, nullptr);
  for (std::size_t slot = 0; slot < user.conversations.size(); ++slot) {
    slot_of(user, *user.conversations[slot]) = static_cast<std::uint32_t>(slot);
  }
  if (user.conversations.capacity() > 8 * user.conversations.size()) user.conversations.shrink_to_fit();
  user.nulls = 0;
}

// Keeps the empty slots fewer than the others and a few: each close-up is paid for by those that made the slots empty.
void slot_emptied(WindowUser& user, std::uint32_t slot) REQUIRES(window_users_shard) {
  constexpr std::size_t kFew = 6;
  user.conversations[slot] = nullptr;
  ++user.nulls;
  if (user.nulls > user.conversations.size() - user.nulls + kFew) close_up(user);
}

// The committer alone changes it.
LogPosition last_position(const Conversation* c) LOOKS_WITHOUT_LOCK {
  return c != nullptr ? c->head.last_position : LogPosition();
}

void begin_order(WindowUser& user) REQUIRES(window_users_shard) {
  std::ranges::sort(user.conversations, {}, last_position);
  close_up(user);
  user.ordered = true;
}

}  // namespace

void WindowUsers::add(Conversation& conversation) {
  for (std::size_t i = 0; i < user_count(conversation); ++i) {
    const std::string_view id = i == 0 ? conversation.pair->first : conversation.pair->second;
    Shard& shard = shard_of(id);
    WindowUsersLock lock(shard);
    auto found = shard.users.find(id);
    if (found == shard.users.end()) {
      auto user = std::make_unique<WindowUser>(id);
      const std::string_view key = user->id;
      found = shard.users.emplace(key, std::move(user)).first;
    }
    WindowUser& user = *found->second;
    conversation.users[i] = &user;
    conversation.user_slots[i] = static_cast<std::uint32_t>(user.conversations.size());
    user.conversations.push_back(&conversation);
    if (!user.ordered && user.conversations.size() - user.nulls >= kOrderedFrom) begin_order(user);
  }
}

void WindowUsers::remove(Conversation& conversation) {
  for (std::size_t i = 0; i < conversation.users.size(); ++i) {
    WindowUser* user = conversation.users[i];
    if (user == nullptr) continue;
    conversation.users[i] = nullptr;
    Shard& shard = shard_of(user->id);
    WindowUsersLock lock(shard);
    slot_emptied(*user, conversation.user_slots[i]);
    const std::size_t left = user->conversations.size() - user->nulls;
    if (left < kOrderedFrom / 2) user->ordered = false;
    if (left == 0) shard.users.erase(shard.users.find(user->id));
  }
}

// The committer alone changes it.
bool WindowUsers::out_of_order(const WindowUser& user, const Conversation& newest) {
  return user.ordered && user.conversations.back() != &newest;
}

void WindowUsers::raise(Conversation& conversation, LogPosition position) {
  for (WindowUser* user : conversation.users) {
    if (user == nullptr) continue;
    if (out_of_order(*user, conversation)) move_to_end(*user, conversation);
    user->newest.store(position.value(), std::memory_order_release);
  }
}

void WindowUsers::move_to_end(WindowUser& user, Conversation& conversation) {
  WindowUsersLock lock(shard_of(user.id));
  const std::uint32_t before = slot_of(user, conversation);
  slot_of(user, conversation) = static_cast<std::uint32_t>(user.conversations.size());
  user.conversations.push_back(&conversation);
  slot_emptied(user, before);
}

std::optional<LogPosition> WindowUsers::newest(std::string_view user) {
  Shard& shard = shard_of(user);
  WindowUsersLock lock(shard);
  const auto found = shard.users.find(user);
  if (found == shard.users.end()) return std::nullopt;
  return LogPosition(found->second->newest.load(std::memory_order_acquire));
}

}  // namespace dunlin::embedded
