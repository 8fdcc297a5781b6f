#include "messaging/delivery/session_registry.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "base/check.h"

namespace dunlin {
namespace {

constexpr std::size_t kFirstSlots = 8;

struct Session {
  ConnectionRef connection;
  std::uint64_t device;  // keyed hash of the device id
};

}  // namespace

// One allocation: this header, `capacity` sessions, the name.
struct SessionRegistry::User {
  InboxPosition told;
  std::uint64_t hash;
  std::uint16_t count;
  std::uint16_t capacity;
  std::uint16_t name_size;

  Session* sessions() { return reinterpret_cast<Session*>(this + 1); }
  char* name_bytes() { return reinterpret_cast<char*>(sessions() + capacity); }
  std::string_view name() { return {name_bytes(), name_size}; }
  static std::size_t bytes(std::size_t capacity, std::size_t name_size) { return sizeof(User) + capacity * sizeof(Session) + name_size; }

  static User* make(std::uint64_t hash, std::string_view name, std::uint16_t capacity) {
    void* memory = std::malloc(bytes(capacity, name.size()));
    CHECK(memory != nullptr);
    auto* user = new (memory) User{InboxPosition(0), hash, 0, capacity, static_cast<std::uint16_t>(name.size())};
    std::memcpy(user->name_bytes(), name.data(), name.size());
    return user;
  }
  User* grown() {
    CHECK(capacity <= UINT16_MAX / 2);
    User* larger = make(hash, name(), static_cast<std::uint16_t>(capacity * 2));
    larger->told = told;
    larger->count = count;
    std::copy_n(sessions(), count, larger->sessions());
    std::free(this);
    return larger;
  }
};

SessionRegistry::SessionRegistry() : key_(SipKey::random()) {}

SessionRegistry::~SessionRegistry() {
  for (Stripe& stripe : stripes_) {
    MutexLock lock(stripe.mutex);
    for (User* user : stripe.slots) std::free(user);
  }
}

// The slot of the user, or the free one in which he would stand. The table is never full.
std::size_t SessionRegistry::locate(const Stripe& stripe, std::uint64_t hash, std::string_view user) {
  const std::size_t mask = stripe.slots.size() - 1;
  for (std::size_t i = hash & mask;; i = (i + 1) & mask) {
    User* there = stripe.slots[i];
    if (there == nullptr || (there->hash == hash && there->name() == user)) return i;
  }
}

void SessionRegistry::grow(Stripe& stripe) {
  std::vector<User*> old(std::max(kFirstSlots, stripe.slots.size() * 2));
  old.swap(stripe.slots);
  for (User* user : old) {
    if (user != nullptr) stripe.slots[locate(stripe, user->hash, user->name())] = user;
  }
}

// Frees the user and moves up those behind him that may stand in his slot (Knuth, algorithm 6.4 R).
void SessionRegistry::erase(Stripe& stripe, std::size_t hole) {
  std::free(stripe.slots[hole]);
  stripe.slots[hole] = nullptr;
  --stripe.used;
  const std::size_t mask = stripe.slots.size() - 1;
  for (std::size_t i = (hole + 1) & mask; stripe.slots[i] != nullptr; i = (i + 1) & mask) {
    const std::size_t home = stripe.slots[i]->hash & mask;
    if (((i - home) & mask) < ((i - hole) & mask)) continue;
    stripe.slots[hole] = std::exchange(stripe.slots[i], nullptr);
    hole = i;
  }
}

std::optional<std::vector<ConnectionRef>> SessionRegistry::add(std::string_view user, std::string_view device, ConnectionRef connection) {
  const std::uint64_t user_hash = hash(user);
  const std::uint64_t device_hash = siphash64(key_, device);
  Stripe& there = stripe(user_hash);
  MutexLock lock(there.mutex);
  if ((there.used + 1) * 8 > there.slots.size() * 7) grow(there);
  User*& entry = there.slots[locate(there, user_hash, user)];
  if (entry == nullptr) {
    entry = User::make(user_hash, user, 1);
    // Read under the lock: tell() of this user comes either before, and has raised it, or finds this session.
    entry->told = InboxPosition(told_.load(std::memory_order_acquire));
    ++there.used;
    there.bytes += User::bytes(1, user.size());
  } else if (entry->count >= kMaxSessions) {
    return std::nullopt;
  } else if (entry->count == entry->capacity) {
    there.bytes += entry->capacity * sizeof(Session);
    entry = entry->grown();
  }
  std::vector<ConnectionRef> older;
  for (std::uint16_t i = 0; i < entry->count; ++i) {
    if (entry->sessions()[i].device == device_hash) older.push_back(entry->sessions()[i].connection);
  }
  entry->sessions()[entry->count++] = {connection, device_hash};
  return older;
}

template <class Use>
void SessionRegistry::each_session_of(std::string_view user, std::string_view device, Use use) const {
  const std::uint64_t user_hash = hash(user);
  const std::uint64_t device_hash = siphash64(key_, device);
  const Stripe& there = stripe(user_hash);
  MutexLock lock(there.mutex);
  if (there.slots.empty()) return;
  User* entry = there.slots[locate(there, user_hash, user)];
  if (entry == nullptr) return;
  for (std::uint16_t i = 0; i < entry->count; ++i) {
    if (entry->sessions()[i].device == device_hash) use(entry->sessions()[i].connection);
  }
}

bool SessionRegistry::online(std::string_view user, std::string_view device) const {
  bool found = false;
  each_session_of(user, device, [&](ConnectionRef) { found = true; });
  return found;
}

std::vector<ConnectionRef> SessionRegistry::sessions_of(std::string_view user, std::string_view device) const {
  std::vector<ConnectionRef> out;
  each_session_of(user, device, [&](ConnectionRef connection) { out.push_back(connection); });
  return out;
}

bool SessionRegistry::remove(std::string_view user, ConnectionRef connection) {
  const std::uint64_t user_hash = hash(user);
  Stripe& there = stripe(user_hash);
  MutexLock lock(there.mutex);
  if (there.slots.empty()) return false;
  const std::size_t slot = locate(there, user_hash, user);
  User* entry = there.slots[slot];
  if (entry == nullptr) return false;
  Session* end = entry->sessions() + entry->count;
  Session* at = std::find_if(entry->sessions(), end, [&](const Session& session) { return session.connection == connection; });
  if (at == end) return false;
  std::move(at + 1, end, at);
  if (--entry->count == 0) {
    there.bytes -= User::bytes(entry->capacity, entry->name_size);
    erase(there, slot);
  }
  return true;
}

std::optional<InboxPosition> SessionRegistry::tell(std::string_view user, InboxPosition position, std::vector<ConnectionRef>& out) {
  std::uint64_t told = told_.load(std::memory_order_relaxed);
  while (told < position.value() && !told_.compare_exchange_weak(told, position.value(), std::memory_order_acq_rel)) {
  }
  const std::uint64_t user_hash = hash(user);
  Stripe& there = stripe(user_hash);
  MutexLock lock(there.mutex);
  if (there.slots.empty()) return std::nullopt;
  User* entry = there.slots[locate(there, user_hash, user)];
  if (entry == nullptr) return std::nullopt;
  for (std::uint16_t i = 0; i < entry->count; ++i) out.push_back(entry->sessions()[i].connection);
  const InboxPosition before = entry->told;
  entry->told = std::max(before, position);
  return before;
}

std::optional<InboxPosition> SessionRegistry::told(std::string_view user) const {
  const std::uint64_t user_hash = hash(user);
  const Stripe& there = stripe(user_hash);
  MutexLock lock(there.mutex);
  if (there.slots.empty()) return std::nullopt;
  const User* entry = there.slots[locate(there, user_hash, user)];
  if (entry == nullptr) return std::nullopt;
  return entry->told;
}

void SessionRegistry::sessions(std::string_view user, std::vector<ConnectionRef>& out) const {
  const std::uint64_t user_hash = hash(user);
  const Stripe& there = stripe(user_hash);
  MutexLock lock(there.mutex);
  if (there.slots.empty()) return;
  User* entry = there.slots[locate(there, user_hash, user)];
  if (entry == nullptr) return;
  for (std::uint16_t i = 0; i < entry->count; ++i) out.push_back(entry->sessions()[i].connection);
}

bool SessionRegistry::online(std::string_view user) const {
  const std::uint64_t user_hash = hash(user);
  const Stripe& there = stripe(user_hash);
  MutexLock lock(there.mutex);
  return !there.slots.empty() && there.slots[locate(there, user_hash, user)] != nullptr;
}

std::size_t SessionRegistry::users() const {
  std::size_t total = 0;
  for (const Stripe& stripe : stripes_) {
    MutexLock lock(stripe.mutex);
    total += stripe.used;
  }
  return total;
}

std::size_t SessionRegistry::memory_bytes() const {
  std::size_t total = sizeof(*this);
  for (const Stripe& stripe : stripes_) {
    MutexLock lock(stripe.mutex);
    total += stripe.bytes + stripe.slots.capacity() * sizeof(User*);
  }
  return total;
}

}  // namespace dunlin
