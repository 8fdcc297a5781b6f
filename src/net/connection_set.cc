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

// Closes connections at a pace, a slot after the other.
class ConnectionSet::PacedClose final : public Timer {
 public:
  PacedClose(ConnectionSet& set, ErrorCode code, std::uint32_t per_second) : set_(set), code_(code), per_second_(per_second) {}
  ~PacedClose() { set_.worker_.timers().cancel(*this); }

  void on_timer() override {
    const std::uint32_t share = std::max<std::uint32_t>(1, per_second_ * static_cast<std::uint32_t>(kPause.count()) / 1000);
    for (std::uint32_t closed = 0; closed < share && next_ < set_.slots_used_; ++next_) {
      Connection& connection = set_.at(next_);
      if (!connection.open()) continue;
      connection.close(code_);
      ++closed;
    }
    const Milliseconds pause = std::max(kPause, Milliseconds(1000 / per_second_));
    if (next_ < set_.slots_used_) set_.worker_.timers().arm(*this, set_.worker_.now() + pause);
  }

 private:
  static constexpr Milliseconds kPause{20};
  ConnectionSet& set_;
  const ErrorCode code_;
  const std::uint32_t per_second_;
  std::uint32_t next_ = 0;
};

ConnectionSet::ConnectionSet(Worker& worker, NetShared& shared)
    : worker_(worker), shared_(shared), read_buffer_(new char[shared.options.read_buffer_bytes + kPayloadPadding]()) {
  timer_kind_ = worker_.timers().add_kind([](TimerNode& node) { static_cast<Connection&>(node).fire_timer(); });
  worker_.add_hook(*this);
}

ConnectionSet::~ConnectionSet() {
  paced_close_.reset();
  for (std::uint32_t slot = 0; slot < slots_used_; ++slot) {
    at(slot).die();
    at(slot).user_.reset();
    at(slot).~Connection();
  }
  for (std::byte* chunk : chunks_) ::operator delete(chunk, std::align_val_t(alignof(Connection)));
  worker_.remove_hook(*this);
}

Connection& ConnectionSet::at(std::uint32_t slot) {
  return reinterpret_cast<Connection*>(chunks_[slot / kChunk])[slot % kChunk];
}

Connection* ConnectionSet::find(ConnectionHandle handle) {
  Connection* connection = find_until_closed(handle);
  return connection != nullptr && connection->open() ? connection : nullptr;
}

Connection* ConnectionSet::find_until_closed(ConnectionHandle handle) {
  if (handle.worker() != worker_.index() || handle.slot() >= slots_used_) return nullptr;
  Connection& connection = at(handle.slot());
  return connection.generation_ == handle.generation() && connection.told_open_ ? &connection : nullptr;
}

Connection* ConnectionSet::adopt(int fd, const Listening& listening, const Endpoint& peer) {
  const bool probe = shared_.probes.contains(peer);
  Admission::Verdict verdict;
  if (!probe) {
    counters_.accepted.add();
    // Taken before it is looked at: workers that accept at the same moment would each see the last place free.
    const bool full = shared_.live.fetch_add(1, std::memory_order_relaxed) >= shared_.options.max_connections;
    if (!full) verdict = shared_.admission->admit(peer.ip, worker_.now());
    if (full || !verdict.admitted) {
      shared_.live.fetch_sub(1, std::memory_order_relaxed);
      counters_.refused[static_cast<std::size_t>(full ? Refusal::ServerFull : *verdict.refusal)].add();
      ::close(fd);
      return nullptr;
    }
  }
  if (verdict.refusal) counters_.would_have_refused[static_cast<std::size_t>(*verdict.refusal)].add();
  if (free_slots_.empty()) {
    CHECK(slots_used_ < kMaxSlots);
    if (slots_used_ % kChunk == 0) {
      chunks_.push_back(static_cast<std::byte*>(::operator new(kChunk * sizeof(Connection), std::align_val_t(alignof(Connection)))));
    }
    const std::uint32_t slot = slots_used_++;
    new (&at(slot)) Connection(timer_kind_, slot, 1);
    free_slots_.push_back(slot);
  }
  Connection& connection = at(free_slots_.back());
  free_slots_.pop_back();
  counters_.live.add();
  connection.probe_ = probe;
  connection.begin(*this, fd, listening, peer, verdict.counted);
  return &connection;
}

void ConnectionSet::release(Connection& connection) {
  if (!connection.probe_) shared_.live.fetch_sub(1, std::memory_order_relaxed);
  const std::uint32_t slot = connection.slot_;
  const std::uint32_t generation = connection.generation_ == kMaxGeneration ? 1 : connection.generation_ + 1;
  connection.~Connection();
  new (&connection) Connection(timer_kind_, slot, generation);
  free_slots_.push_back(slot);
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

void ConnectionSet::close_all(ErrorCode code, std::uint32_t per_second) {
  if (per_second == 0) return for_each_open([&](Connection& connection) { connection.close(code); });
  paced_close_ = std::make_unique<PacedClose>(*this, code, per_second);
  paced_close_->on_timer();
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
