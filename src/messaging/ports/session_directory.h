#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "runtime/task.h"

namespace dunlin {

using NodeId = StringId<struct NodeTag>;

// On which nodes users have sessions. Who registers a session reads the store afterwards; who has noted something in an inbox asks here
// afterwards: there is no third case. Every task ends within 10 s, with Timeout if need be: the adapter sees to it, nobody else does.
// Thread: tasks from any thread. What was awaited on a worker resumes there.
class SessionDirectory {
 public:
  virtual ~SessionDirectory() = default;
  // For each user the nodes that have sessions of his, in no order; this one among them if it has.
  virtual Task<Result<std::vector<std::vector<NodeId>>>> nodes_of(std::vector<UserId> users) = 0;
};

}  // namespace dunlin
