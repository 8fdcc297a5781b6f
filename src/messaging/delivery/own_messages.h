#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace dunlin {

// Which messages a session has sent itself, for as long as one could come back to it: while something of the conversation is in flight (a
// heartbeat may push that again, from the store, which does not know who sent what) and while it reads on from the store.
// Owner: a SessionDelivery; worker-bound. Bounded in bytes: what has no room is not kept, and may be pushed to its sender.
class OwnMessages {
 public:
  explicit OwnMessages(std::size_t max_bytes) : max_bytes_(max_bytes) {}

  // False: no room.
  bool add(std::string_view conversation, MessageSeq seq);
  bool contains(std::string_view conversation, MessageSeq seq) const;
  // Forgets what is at or below `seq`.
  void drop_through(std::string_view conversation, MessageSeq seq);
  // Forgets the conversations that `keep` does not name.
  template <class Keep>
  void keep_only(Keep keep) {
    for (auto at = runs_.begin(); at != runs_.end();) at = keep(at->first) ? std::next(at) : erase(at);
  }

  bool empty() const { return runs_.empty(); }

 private:
  struct Run {
    MessageSeq from;
    MessageSeq to;
  };
  using Runs = std::map<std::string, std::vector<Run>, std::less<>>;
  static constexpr std::size_t kNameOverhead = 96;  // of a map's node and its vector
  static std::size_t cost(const Runs::value_type& of) { return kNameOverhead + of.first.size() + of.second.size() * sizeof(Run); }
  Runs::iterator erase(Runs::iterator at);

  const std::size_t max_bytes_;
  Runs runs_;  // ascending, without neighbours
  std::size_t bytes_ = 0;
};

}  // namespace dunlin
