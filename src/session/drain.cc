#include "session/drain.h"

#include <algorithm>
#include <random>

#include "session/session_host.h"

namespace dunlin {
namespace {

constexpr Milliseconds kTick{100};

}  // namespace

Milliseconds jittered(Milliseconds delay) {
  thread_local std::minstd_rand random{std::random_device{}()};
  return delay + Milliseconds(std::uniform_int_distribution<Milliseconds::rep>(0, std::max<Milliseconds::rep>(delay.count(), 0))(random));
}

void Drain::begin(std::uint32_t per_second, Milliseconds reconnect_delay) {
  reconnect_delay_ = reconnect_delay;
  const auto ticks_per_second = static_cast<std::uint32_t>(Milliseconds(1000) / kTick);
  per_tick_ = per_second == 0 ? UINT32_MAX : std::max<std::uint32_t>(1, per_second / ticks_per_second);
  left_.clear();
  host_.connections().for_each_open([this](Connection& connection) { left_.push_back(connection.handle()); });
  if (!timer_) timer_ = std::make_unique<Every>(host_.worker(), kTick, [this] { say_some(); });
  say_some();
}

void Drain::say_some() {
  for (std::uint32_t done = 0; done < per_tick_ && !left_.empty(); ++done) {
    Session* session = host_.find(left_.back());
    left_.pop_back();
    if (session != nullptr) say_farewell(*session);
  }
}

void Drain::say_farewell(Session& session) {
  if (!session.connection.open()) return;
  host_.writer().push(session.connection, session.encoding,
                      wire::DrainPush{.delay_ms = static_cast<std::uint64_t>(jittered(reconnect_delay_).count()), .url = {}});
  host_.kick(session, ErrorCode::GoingAway);
}

}  // namespace dunlin
