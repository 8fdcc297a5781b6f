#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "messaging/ports/timelines.h"
#include "runtime/completion.h"
#include "storage/embedded/log/window.h"

namespace dunlin::embedded {

// A session that sends, as the store knows it. Lives from begin_session() until end_session() has completed.
struct SendingSession {
  std::atomic<std::uint64_t> highest_number{0};  // of its own numbered ids, in the order of append(): see Intake
  std::atomic<std::uint64_t> sender{0};          // hash of its user, 0 before the first send
  std::vector<Completer<void>> waiters;          // committer only
  std::atomic<std::uint32_t> pending{0};         // taken and not settled
  // Another session of the same user has used an id of this one: nothing is provably new here any more. Set by the committer.
  std::atomic<bool> foreign_use{false};
  bool ended = false;  // committer only
};
static_assert(sizeof(SendingSession) <= 48);

// What the look-up in history gave for a send that is not provably new.
enum class HistoryAnswer : std::uint8_t { NotAsked, Absent, Present };

// A send on its way from append() to the committer, or a session's end in the same order.
struct Pending {
  // Late: came after the store had begun to close. It has no conversation, session or pin, and is refused.
  enum class Kind : std::uint8_t { Append, Late, EndSession };

  Kind kind = Kind::Append;
  HistoryAnswer history = HistoryAnswer::NotAsked;
  bool provably_new = false;         // as far as Intake knows
  bool wants_history = false;        // the look-up is still to be done
  std::optional<ErrorCode> refused;  // decided before the committer saw it; only its order is left to keep
  AppendRequest request;
  DedupEntry dedup;                      // key and digest; seq and time are the committer's
  Conversation* conversation = nullptr;  // pinned
  SendingSession* session = nullptr;     // counted in session->pending; null for sessions that were not begun
  Window::Pin pin;                       // with a history answer: see Window's invariant 3
  std::optional<DedupEntry> found;       // HistoryAnswer::Present
  std::uint32_t bytes = 0;               // charged to the queue
  Completer<void> ended;                 // EndSession
};

}  // namespace dunlin::embedded
