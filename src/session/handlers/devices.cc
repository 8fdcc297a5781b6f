#include <algorithm>

#include "runtime/deadline.h"
#include "runtime/spawn.h"
#include "session/connection_ref.h"
#include "session/handlers/handlers.h"

namespace dunlin {
namespace {

constexpr std::size_t kDeviceOverhead = 128;  // of one in a reply, beside its id

// The user's devices, seen last first. When a session ends, its row in the store is a little behind: until the write is confirmed the end
// stands in `unsaved`.
std::vector<DeviceRow> known_devices(const SessionServices& services, const DeviceRules& rules, const UserId& user,
                                     const std::map<DeviceId, DeviceCursor>& unsaved, std::vector<DeviceRow> rows) {
  const WallTime now = services.clock.wall();
  std::erase_if(rows, [&](DeviceRow& row) {
    if (row.cursor.forgotten) return true;
    const auto ended = unsaved.find(row.device);
    if (ended != unsaved.end()) row.cursor.last_seen = std::max(row.cursor.last_seen, ended->second.last_seen);
    if (services.registry.online(user.view(), row.device.view())) {
      row.cursor.last_seen = now;
      return false;
    }
    return rules.idle(row.cursor, now);
  });
  std::ranges::sort(rows, std::greater(), [](const DeviceRow& row) { return row.cursor.last_seen; });
  return rows;
}

void reply_devices(const Call& call, const std::vector<DeviceRow>& rows) {
  const SessionServices& services = call.host.services();
  wire::DevicesReply reply;
  std::size_t bytes = 0;
  for (const DeviceRow& row : rows) {
    bytes += kDeviceOverhead + 2 * row.device.view().size();
    reply.more = bytes > call.host.options().max_reply_bytes;
    if (reply.more) break;
    reply.devices.push_back({.device = row.device.view(),
                             .platform = metrics::platform_name(row.cursor.platform),
                             .last_seen_ms = static_cast<std::uint64_t>(std::max<std::int64_t>(to_ms(row.cursor.last_seen), 0)),
                             .connected = services.registry.online(call.session.user_id.view(), row.device.view()),
                             .current = row.device == call.session.device});
  }
  call.reply(reply);
}

Task<void> list(SessionHost& host, ConnectionHandle handle, std::optional<wire::RequestId> id, UserId user) {
  // `unsaved` first: what is saved between the two reads is missed by none of them, at worst it is in both.
  const std::map<DeviceId, DeviceCursor> unsaved = host.services().detached.of(user.view());
  auto rows = co_await host.services().devices.devices(user);
  Session* session = host.find(handle);
  if (session == nullptr) co_return;
  const Call call{host, session->connection, *session, id};
  if (rows.ok()) {
    reply_devices(call, known_devices(host.services(), host.options().devices, user, unsaved, *std::move(rows)));
  } else {
    call.refuse(rows.error());
  }
  host.query_ended(*session);
}

// In the user's turn: a session of the device that connects meanwhile waits for the turn, and so finds what is written here. That is a row
// which says "forgotten", by which the device is told `reset` when it comes back.
Task<Status> forget(SessionHost& host, UserId user, DeviceId device) {
  const SessionServices& services = host.services();
  const MonotonicTime deadline = services.clock.monotonic() + host.options().devices.patience;
  CO_TRY_ASSIGN(const DeviceTurns::Turn turn, co_await until(deadline, services.device_turns.take(user)));
  CO_TRY_ASSIGN(const std::vector<DeviceRow> rows, co_await services.devices.devices(user));
  const auto row = std::ranges::find(rows, device, &DeviceRow::device);
  if (row == rows.end() || row->cursor.forgotten) co_return Error(ErrorCode::NotFound, "this user has no such device");

  std::vector<Completion<Departure>> departures;
  for (const ConnectionRef ref : services.registry.sessions_of(user.view(), device.view())) {
    auto [completer, completion] = make_completion<Departure>();
    services.hosts[worker_of(ref)]->departures().evict(connection_handle(ref), ErrorCode::Kicked, deadline, std::move(completer));
    departures.push_back(std::move(completion));
  }
  for (Completion<Departure>& departure : departures) CO_TRY(co_await until(deadline, std::move(departure)));
  CO_TRY(co_await CursorFlush::forget_unsaved(services, deadline, user, device));
  std::vector<DeviceStates::CursorWrite> write;
  write.push_back({user, device, DeviceCursor::of_forgotten(services.clock.wall())});
  co_return co_await services.devices.save_cursors(std::move(write));
}

Task<void> run(SessionHost& host, ConnectionHandle handle, std::optional<wire::RequestId> id, UserId user, DeviceId device) {
  const Status forgotten = co_await forget(host, user, device);
  if (forgotten.ok()) {
    host.services().dispatcher.route(
        user.view(), std::make_shared<const Signal>(ForgottenSignal{device, "Device " + device.str() + " was forgotten by this user."}),
        handle.bits());
  }
  Session* session = host.find(handle);
  if (session == nullptr) co_return;
  const Call call{host, session->connection, *session, id};
  if (forgotten.ok()) {
    call.reply(wire::ForgetDeviceReply{});
  } else {
    call.refuse(forgotten.error());
  }
  host.query_ended(*session);
}

}  // namespace

void handle(const Call& call, const wire::DevicesRequest&) {
  call.host.query_began(call.session);
  spawn(list(call.host, call.session.handle(), call.id, call.session.user_id));
}

// Another device of the same user: its session ends, its cursor goes.
void handle(const Call& call, const wire::ForgetDeviceRequest& request) {
  if (request.device == call.session.device.view())
    return call.refuse(Error(ErrorCode::BadRequest, "forget_device.device is the device of this session: log out instead"));
  call.host.query_began(call.session);
  spawn(run(call.host, call.session.handle(), call.id, call.session.user_id, DeviceId(request.device)));
}

}  // namespace dunlin
