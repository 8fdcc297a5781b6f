#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "messaging/model/message.h"
#include "runtime/task.h"

namespace dunlin {

// Of one partition. Positions are those of MessagePlace::position.
struct FeedPage {
  std::vector<MessagePtr> messages;  // in position order
  LogPosition next;                  // ask on from here
  bool reset = false;                // `after` is older than what the feed still has
};

// A named reader of the feed whose position is durable: search, outbox, push.
struct Follower {
  std::string name;
  LogPosition position;  // it has everything up to here
  bool reset = false;    // the log was no longer kept for it: what is behind its position must be made anew from elsewhere
};
inline constexpr std::size_t kMaxFollowers = 16;
inline constexpr std::size_t kMaxFollowerName = 32;  // of a-z, 0-9 and '-'

// Every record that is stored, in the store's own order, for those who make something else of all of them. An adapter whose records have an
// order runs messaging/ports/testing/store_suite.h. Thread: feed_end() and followers() from any thread; tasks from a worker, resuming on
// it.
class Feed {
 public:
  virtual ~Feed() = default;

  // Highest position for which every record up to it is durable and was told (StoreListener::on_records has returned).
  virtual LogPosition feed_end() const = 0;
  // Records after a position in log order. The end is where `next` does not move on.
  virtual Task<Result<FeedPage>> feed(LogPosition after, std::size_t max_messages) = 0;

  // Followers. The feed keeps what a registered one has not passed, up to a bound; one that is further behind is marked `reset`, durably,
  // and begins anew by unregistering. Each change is durable when the task ends: move on once for many records.
  // Gives the follower as it stands; one that is new begins behind `from`. BadRequest: not a name, or `from` is beyond feed_end();
  // Overloaded: there are kMaxFollowers.
  virtual Task<Result<Follower>> register_follower(std::string name, LogPosition from) = 0;
  // Forwards only, at most to feed_end(): else BadRequest. WrongState: it is marked reset. NotFound: no such follower.
  virtual Task<Status> advance_follower(std::string name, LogPosition position) = 0;
  virtual Task<Status> unregister_follower(std::string name) = 0;  // NotFound
  virtual std::vector<Follower> followers() const = 0;             // by name
};

}  // namespace dunlin
