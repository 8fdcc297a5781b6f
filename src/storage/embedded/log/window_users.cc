#include "storage/embedded/log/window_users.h"

#include "storage/embedded/log/conversations.h"

namespace dunlin::embedded {
namespace {

std::size_t user_count(const Conversation& c) {
  if (!c.pair) return 0;
  return c.pair->first == c.pair->second ? 1 : 2;
}

}  // namespace

void WindowUsers::add(Conversation& conversation) {
  for (std::size_t i = 0; i < user_count(conversation); ++i) {
    const std::string_view id = i == 0 ? conversation.pair->first : conversation.pair->second;
    Shard& shard = shard_of(id);
    MutexLock lock(shard.mutex);
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
  }
}

void WindowUsers::remove(Conversation& conversation) {
  for (std::size_t i = 0; i < conversation.users.size(); ++i) {
    WindowUser* user = conversation.users[i];
    if (user == nullptr) continue;
    conversation.users[i] = nullptr;
    Shard& shard = shard_of(user->id);
    MutexLock lock(shard.mutex);
    const std::uint32_t slot = conversation.user_slots[i];
    Conversation* moved = user->conversations.back();
    user->conversations[slot] = moved;
    user->conversations.pop_back();
    if (moved != &conversation) moved->user_slots[moved->users[0] == user ? 0 : 1] = slot;
    if (user->conversations.empty()) shard.users.erase(shard.users.find(user->id));
  }
}

void WindowUsers::raise(Conversation& conversation, LogPosition position) {
  for (WindowUser* user : conversation.users) {
    if (user != nullptr) user->newest.store(position.value(), std::memory_order_release);
  }
}

std::optional<LogPosition> WindowUsers::newest(std::string_view user) {
  Shard& shard = shard_of(user);
  MutexLock lock(shard.mutex);
  const auto found = shard.users.find(user);
  if (found == shard.users.end()) return std::nullopt;
  return LogPosition(found->second->newest.load(std::memory_order_acquire));
}

}  // namespace dunlin::embedded
