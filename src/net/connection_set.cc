#include "net/connection_set.h"

#include <unistd.h>

#include <algorithm>
#include <new>

#include "base/check.h"
#include "net/admission.h"
#include "net/opening.h"
#include "net/tls.h"

namespace dunlin {
namespace {

constexpr std::size_t kSpareQueues = 128;
constexpr std::uint32_t kMaxSlots = 1U << 24;
constexpr std::uint32_t kMaxGeneration = (1U << 30) - 1;
constexpr int kRoundsPerTurn = 4;

}  // namespace

ConnectionSet::ConnectionSet(Worker& worker, NetShared& shared)
    : worker_(worker), shared_(shared), read_buffer_(new char[shared.options.read_buffer_bytes + kPayloadPadding]()) {
  timer_kind_ = worker_.timers().add_kind([](TimerNode& node) { static_cast<Connection&>(node).fire_timer(); });
  worker_.add_hook(*this);
}

ConnectionSet::~ConnectionSet() {
  for (std::uint32_t slot = 0; slot < slots(); ++slot) {
    Connection* connection = at(slot);
    if (connection == nullptr) continue;
    connection->die();
    connection->user_.reset();
  }
  for (Chunk& chunk : chunks_) drop(chunk);
  worker_.remove_hook(*this);
}

Connection* ConnectionSet::at(std::uint32_t slot) {
  Connection* const first = chunks_[slot / kChunk].slots;
  return first == nullptr ? nullptr : first + slot % kChunk;
}

void ConnectionSet::add_chunk() {
  auto chunk = std::find_if(chunks_.begin(), chunks_.end(), [](const Chunk& one) { return one.slots == nullptr; });
  if (chunk == chunks_.end()) chunk = chunks_.emplace(chunk);
  const auto first = static_cast<std::uint32_t>(chunk - chunks_.begin()) * kChunk;
  CHECK(first < kMaxSlots);
  chunk->slots = static_cast<Connection*>(::operator new(kChunk * sizeof(Connection), std::align_val_t(alignof(Connection))));
  for (std::uint32_t i = kChunk; i-- > 0;) {
    new (chunk->slots + i) Connection(timer_kind_, first + i, chunk->generation);
    free_slots_.push_back(first + i);
  }
}

// Its slots come back later than any generation that was given out.
void ConnectionSet::drop(Chunk& chunk) {
  if (chunk.slots == nullptr) return;
  for (std::uint32_t i = 0; i < kChunk; ++i) {
    chunk.generation = std::max(chunk.generation, chunk.slots[i].generation_);
    chunk.slots[i].~Connection();
  }
  ::operator delete(chunk.slots, std::align_val_t(alignof(Connection)));
  chunk.slots = nullptr;
}

void ConnectionSet::give_back() {
  for (Chunk& chunk : chunks_) {
    if (chunk.taken == 0) drop(chunk);
  }
  std::erase_if(free_slots_, [this](std::uint32_t slot) { return at(slot) == nullptr; });
  free_slots_.shrink_to_fit();
  spare_queues_.clear();
}

std::size_t ConnectionSet::slots_in_memory() const {
  return kChunk *
         static_cast<std::size_t>(std::count_if(chunks_.begin(), chunks_.end(), [](const Chunk& one) { return one.slots != nullptr; }));
}

Connection* ConnectionSet::find(ConnectionHandle handle) {
  Connection* connection = find_until_closed(handle);
  return connection != nullptr && connection->open() ? connection : nullptr;
}

Connection* ConnectionSet::find_until_closed(ConnectionHandle handle) {
  if (handle.worker() != worker_.index() || handle.slot() >= slots()) return nullptr;
  Connection* connection = at(handle.slot());
  return connection != nullptr && connection->generation_ == handle.generation() && connection->told_open_ ? connection : nullptr;
}

// Takes a place, unless there is none. Admission is asked either way: its limit of handshakes bounds what telling costs.
std::optional<Refusal> ConnectionSet::judge(const IpAddress& peer, Admission::Verdict& verdict) {
  // Taken before it is looked at: workers that accept at the same moment would each see the last place free.
  const std::uint64_t before = shared_.live.fetch_add(1, std::memory_order_relaxed);
  const bool full = before >= shared_.options.max_connections;
  if (before >= shared_.most_live.load(std::memory_order_relaxed)) shared_.most_live.store(before + 1, std::memory_order_relaxed);
  verdict = shared_.admission->admit(peer, worker_.now());
  if (!full && verdict.admitted) return std::nullopt;
  shared_.live.fetch_sub(1, std::memory_order_relaxed);
  return verdict.admitted ? Refusal::ServerFull : *verdict.refusal;
}

// Those who come too fast or with forged tokens are told nothing: it would cost what the limit saves.
bool ConnectionSet::take_surplus(Refusal refusal) {
  if (refusal != Refusal::ServerFull && refusal != Refusal::IpConnections) return false;
  if (shared_.surplus.fetch_add(1, std::memory_order_relaxed) < kMostSurplus) return true;
  shared_.surplus.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

Connection* ConnectionSet::adopt(int fd, const Listening& listening, const Endpoint& peer) {
  const bool probe = shared_.probes.contains(peer);
  Admission::Verdict verdict;
  std::optional<Refusal> refusal;
  if (!probe) {
    counters_.accepted.add();
    refusal = judge(peer.ip, verdict);
  }
  if (refusal) {
    counters_.refused[static_cast<std::size_t>(*refusal)].add();
    if (!take_surplus(*refusal)) {
      if (verdict.counted) shared_.admission->release(peer.ip);
      ::close(fd);
      return nullptr;
    }
  }
  if (verdict.admitted && verdict.refusal) counters_.would_have_refused[static_cast<std::size_t>(*verdict.refusal)].add();
  if (free_slots_.empty()) add_chunk();
  const std::uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  ++chunks_[slot / kChunk].taken;
  Connection& connection = *at(slot);
  counters_.live.add();
  connection.probe_ = probe;
  connection.surplus_ = refusal.has_value();
  connection.begin(*this, fd, listening, peer, verdict.counted);
  return &connection;
}

void ConnectionSet::release(Connection& connection) {
  if (connection.surplus_) {
    shared_.surplus.fetch_sub(1, std::memory_order_relaxed);
  } else if (!connection.probe_) {
    shared_.live.fetch_sub(1, std::memory_order_relaxed);
  }
  const std::uint32_t slot = connection.slot_;
  const std::uint32_t generation = connection.generation_ == kMaxGeneration ? 1 : connection.generation_ + 1;
  connection.~Connection();
  new (&connection) Connection(timer_kind_, slot, generation);
  free_slots_.push_back(slot);
  --chunks_[slot / kChunk].taken;
  counters_.live.sub();
}

std::unique_ptr<WriteQueue> ConnectionSet::take_queue() {
  if (spare_queues_.empty()) return std::make_unique<WriteQueue>();
  auto queue = std::move(spare_queues_.back());
  spare_queues_.pop_back();
  return queue;
}

void ConnectionSet::give_queue(std::unique_ptr<WriteQueue> queue) {
  if (spare_queues_.size() >= kSpareQueues) return;
  queue->recycle();
  spare_queues_.push_back(std::move(queue));
}

void ConnectionSet::close_all(ErrorCode code) {
  for_each_open([&](Connection& connection) { connection.close(code); });
}

// Writes what was gathered, then tells of ends; callbacks may gather and end more, so a few rounds, and the rest in the next turn.
void ConnectionSet::end_of_turn() {
  for (int round = 0; round < kRoundsPerTurn && (!dirty_.empty() || !ending_.empty()); ++round) {
    dirty_batch_.swap(dirty_);
    for (Connection* connection : dirty_batch_) connection->end_turn();
    dirty_batch_.clear();
    end_connections();
  }
  if (!dirty_.empty() || !ending_.empty()) worker_.wake();
}

void ConnectionSet::end_connections() {
  std::vector<Connection*> batch;
  batch.swap(ending_);
  for (Connection* connection : batch) {
    connection->ending_ = false;
    connection->tell_close();
    if (connection->state_ != Connection::State::Dead || connection->ending_) continue;
    // It may stand in the list of dirty ones once more: that entry must not outlive it.
    if (connection->dirty_) std::erase(dirty_, connection);
    release(*connection);
  }
}

}  // namespace dunlin
