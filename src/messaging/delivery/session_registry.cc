#include "messaging/delivery/session_registry.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "base/check.h"

namespace dunlin {
namespace {

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
    for (std::size_t i = 0; i < stripe.users.slot_count(); ++i) std::free(stripe.users.slot(i));
  }
}

std::size_t SessionRegistry::Rule::hash(const User* user) {
  return static_cast<std::size_t>(user->hash);
}

SessionRegistry::User* const* SessionRegistry::find(const Stripe& stripe, std::uint64_t hash, std::string_view user) {
  return stripe.users.find(static_cast<std::size_t>(hash), [&](User* there) { return there->name() == user; });
}
SessionRegistry::User** SessionRegistry::find(Stripe& stripe, std::uint64_t hash, std::string_view user) {
  return stripe.users.find(static_cast<std::size_t>(hash), [&](User* there) { return there->name() == user; });
}

std::optional<std::vector<ConnectionRef>> SessionRegistry::add(std::string_view user, std::string_view device, ConnectionRef connection) {
  const std::uint64_t user_hash = hash(user);
  const std::uint64_t device_hash = siphash64(key_, device);
  Stripe& there = stripe(user_hash);
  MutexLock lock(there.mutex);
  User** slot = find(there, user_hash, user);
  if (slot == nullptr) {
    slot = &there.users.add(User::make(user_hash, user, 1));
    // Read under the lock: tell() of this user comes either before, and has raised it, or finds this session.
    (*slot)->told = InboxPosition(told_.load(std::memory_order_acquire));
    there.bytes += User::bytes(1, user.size());
  } else if ((*slot)->count >= kMaxSessions) {
    return std::nullopt;
  } else if ((*slot)->count == (*slot)->capacity) {
    there.bytes += (*slot)->capacity * sizeof(Session);
    *slot = (*slot)->grown();
  }
  User* const entry = *slot;
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
  User* const* const slot = find(there, user_hash, user);
  if (slot == nullptr) return;
  User* const entry = *slot;
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
  User** const slot = find(there, user_hash, user);
  if (slot == nullptr) return false;
  User* const entry = *slot;
  Session* end = entry->sessions() + entry->count;
  Session* at = std::find_if(entry->sessions(), end, [&](const Session& session) { return session.connection == connection; });
  if (at == end) return false;
  std::move(at + 1, end, at);
  if (--entry->count == 0) {
    there.bytes -= User::bytes(entry->capacity, entry->name_size);
    there.users.erase(*slot);
    std::free(entry);
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
  User** const slot = find(there, user_hash, user);
  if (slot == nullptr) return std::nullopt;
  User* const entry = *slot;
  for (std::uint16_t i = 0; i < entry->count; ++i) out.push_back(entry->sessions()[i].connection);
  const InboxPosition before = entry->told;
  entry->told = std::max(before, position);
  return before;
}

std::optional<InboxPosition> SessionRegistry::told(std::string_view user) const {
  const std::uint64_t user_hash = hash(user);
  const Stripe& there = stripe(user_hash);
  MutexLock lock(there.mutex);
  const User* const* const slot = find(there, user_hash, user);
  if (slot == nullptr) return std::nullopt;
  return (*slot)->told;
}

void SessionRegistry::sessions(std::string_view user, std::vector<ConnectionRef>& out) const {
  const std::uint64_t user_hash = hash(user);
  const Stripe& there = stripe(user_hash);
  MutexLock lock(there.mutex);
  User* const* const slot = find(there, user_hash, user);
  if (slot == nullptr) return;
  User* const entry = *slot;
  for (std::uint16_t i = 0; i < entry->count; ++i) out.push_back(entry->sessions()[i].connection);
}

bool SessionRegistry::online(std::string_view user) const {
  const std::uint64_t user_hash = hash(user);
  const Stripe& there = stripe(user_hash);
  MutexLock lock(there.mutex);
  return find(there, user_hash, user) != nullptr;
}

std::size_t SessionRegistry::users() const {
  std::size_t total = 0;
  for (const Stripe& stripe : stripes_) {
    MutexLock lock(stripe.mutex);
    total += stripe.users.size();
  }
  return total;
}

std::size_t SessionRegistry::memory_bytes() const {
  std::size_t total = sizeof(*this);
  for (const Stripe& stripe : stripes_) {
    MutexLock lock(stripe.mutex);
    total += stripe.bytes + stripe.users.bytes();
  }
  return total;
}

}  // namespace dunlin
