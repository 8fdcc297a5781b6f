#include <algorithm>
#include <utility>
#include <vector>

#include "base/escape.h"
#include "runtime/deadline.h"
#include "runtime/spawn.h"
#include "session/authorise.h"
#include "session/connection_ref.h"
#include "session/handlers/handlers.h"
#include "session/sync_tokens.h"

namespace dunlin {
namespace {

constexpr std::size_t kMaxChanged = 64;
constexpr std::size_t kMaxOpen = 16;  // conversations whose news come first; one or two are on a screen

struct ConnectCall {
  std::optional<wire::RequestId> id;
  MonotonicTime started;
  std::vector<ConnectionRef> older;   // connections of the same device
  std::vector<ClaimedPosition> open;  // what the app shows now, and the user may see
  std::optional<SyncToken> token;
  bool token_given = false;
  metrics::Platform platform = metrics::Platform::None;
};

std::string_view reason_of(Resume resume) {
  switch (resume) {
    case Resume::None:
    case Resume::Complete: return "";
    case Resume::Truncated: return "retention has removed part of what this device has not received";
    case Resume::Reset: return "the position of this device means nothing here any more: fetch the conversation list anew";
  }
  return "";
}

// Asks every older session of the device to leave, waits until they have, and takes over what the newest of them had acked.
Task<Result<std::optional<DeviceCursor>>> make_room(SessionHost& host, std::vector<ConnectionRef> older, MonotonicTime deadline) {
  std::vector<Completion<Departure>> departures;
  for (const ConnectionRef ref : older) {
    auto [completer, completion] = make_completion<Departure>();
    host.services().hosts[worker_of(ref)]->departures().evict(connection_handle(ref), ErrorCode::Replaced, deadline, std::move(completer));
    departures.push_back(std::move(completion));
  }
  std::optional<DeviceCursor> inherited;
  for (Completion<Departure>& departure : departures) {
    CO_TRY_ASSIGN(Departure left, co_await until(deadline, std::move(departure)));
    if (left.cursor) inherited = std::move(left.cursor);
  }
  co_return inherited;
}

// The app shows a seq that its conversation does not have.
Task<bool> shows_unknown(Timelines& timelines, std::vector<ClaimedPosition> open) {
  for (ClaimedPosition& shown : open) {
    if (shown.seq == MessageSeq(0)) continue;
    if (co_await Claims::beyond_head(timelines, std::move(shown))) co_return true;
  }
  co_return false;
}

// What is new for the device, as far as one page goes: it is named in the reply, and is then what the delivery begins with.
struct News {
  struct Changed {
    ConversationId conversation;
    MessageSeq from;
    MessageSeq head;
  };
  std::optional<NewsPage> page;  // none: nothing is new, or it could not be read
  std::vector<Changed> changed;  // each conversation once
  bool more = false;             // something may come that is not named
};

Task<void> name_unacked(Timelines& timelines, const DeviceCursor& cursor, News& news) {
  for (const auto& [conversation, acked] : cursor.exceptions) {
    if (news.changed.size() == kMaxChanged) {
      news.more = true;
      co_return;
    }
    const auto head = co_await timelines.head(conversation);
    if (!head.ok()) {
      news.more = true;
    } else if (head->last_seq > acked) {
      news.changed.push_back({conversation, acked.next(), head->last_seq});
    }
  }
}

void name_new(const NewsPage& page, InboxPosition position, News& news) {
  for (std::size_t i = 0; i < page.inbox.entries.size(); ++i) {
    const InboxEntry& entry = page.inbox.entries[i];
    const auto named = std::ranges::find(news.changed, entry.conversation, &News::Changed::conversation);
    // An entry that begins at or below the position holds seqs that the device has. From which one on it is new only the range tells, and a
    // page has ranges for its first entries alone.
    const bool known = i < page.ranges.size() || entry.first_position > position;
    if (named != news.changed.end()) {
      named->head = std::max(named->head, entry.last_seq);
    } else if (known && news.changed.size() < kMaxChanged) {
      news.changed.push_back({entry.conversation, i < page.ranges.size() ? page.ranges[i].from : entry.first_seq, entry.last_seq});
    } else {
      news.more = true;
    }
  }
  news.more = news.more || page.inbox.more;
}

// In the order in which it is going to be pushed. Without news it mostly takes no read.
Task<News> read_news(SessionHost& host, UserId user, DeviceCursor cursor) {
  Inboxes& inboxes = host.services().inboxes;
  News news;
  if (!cursor.exceptions.empty()) co_await name_unacked(host.services().timelines, cursor, news);
  if (inboxes.quiet_through(user.view(), cursor.position)) co_return news;
  NewsQuery query = SessionDelivery::first_page(host.delivery_context().options, std::move(user), cursor.position);
  auto read = co_await inboxes.news_since(std::move(query));
  if (read.ok()) {
    name_new(*read, cursor.position, news);
    news.page = *std::move(read);
  } else {
    news.more = true;  // the delivery tries again
  }
  co_return news;
}

void reply_connected(const Call& call, const Attachment& attachment, const News& news) {
  const SessionServices& services = call.host.services();
  const SessionOptions& options = call.host.options();
  const std::string epoch = attachment.cursor.epoch.text();
  const std::string session = call.session.session_key.text();
  const std::string token = mint_sync_token(call.host, call.session, attachment.cursor);
  wire::ConnectReply reply{
      .session = session,
      .epoch = epoch,
      .user = call.session.user_id.view(),
      .device = call.session.device.view(),
      .time_ms = static_cast<std::uint64_t>(to_ms(call.host.wall())),
      .heartbeat_interval_ms = static_cast<std::uint64_t>(options.heartbeat_interval.count()),
      .limits = {.max_packet_bytes = options.max_packet_bytes,
                 .max_body_bytes = options.decoder.max_body_bytes,
                 .max_body_depth = options.decoder.max_body_depth,
                 .max_positions = options.decoder.max_positions,
                 .max_pending_sends = options.max_pending_sends,
                 .max_history_limit = options.max_history,
                 .max_sync_limit = options.max_sync,
                 .max_unacked_conversations = static_cast<std::uint32_t>(options.delivery.max_flights)},
      .durability = services.timelines.durability(),
      .resume = attachment.resume,
      .reason = reason_of(attachment.resume),
      .changed = {},
      .truncated = {},
      .more = news.more || attachment.more_truncated,
      .sync_token = token,
  };
  for (const News::Changed& one : news.changed) reply.changed.push_back({one.conversation.view(), one.from.value(), one.head.value()});
  for (const TruncatedConversation& part : attachment.truncated)
    reply.truncated.push_back({part.conversation.view(), part.from_seq.value()});
  call.reply(reply);
}

void tell_forgotten(SessionHost& host, const UserId& user, const std::vector<DeviceId>& devices) {
  for (const DeviceId& device : devices) {
    std::string text = "Device " + device.str() + " was forgotten: of this user's " + std::to_string(host.options().devices.max_devices) +
                       " devices it had been away longest, and another one needed its place.";
    host.services().dispatcher.route(user.view(), std::make_shared<const Signal>(ForgottenSignal{device, std::move(text)}));
  }
}

void refuse(SessionHost& host, Session& session, const ConnectCall& connect, const Error& error) {
  const Call call{host, session.connection, session, connect.id};
  call.refuse(error);
  host.kick(session, wire_code(error.code()));
}

Task<void> log_in(SessionHost& host, ConnectionHandle handle, ConnectCall connect) {
  const Milliseconds patience = host.options().devices.patience;
  Result<std::optional<DeviceCursor>> room = std::optional<DeviceCursor>();
  if (!connect.older.empty()) room = co_await make_room(host, connect.older, host.now() + patience);
  Session* session = host.find(handle);
  if (session == nullptr || session->phase != Session::Phase::Connecting) co_return;
  if (!room.ok()) co_return refuse(host, *session, connect, room.error());
  std::optional<DeviceCursor> inherited = *std::move(room);

  const SessionServices& services = host.services();
  if (!inherited) inherited = services.detached.find(session->user_id.view(), session->device.view());
  const UserId user = session->user_id;  // outlives the calls of what `request` holds
  const DeviceId device = session->device;
  const bool claims_unknown = co_await shows_unknown(services.timelines, connect.open);
  // Named: gcc 12 copies an aggregate that is made inside a co_await expression bit by bit, and frees it twice.
  AttachRequest request{
      .user = user,
      .device = device,
      .token = connect.token,
      .token_given = connect.token_given,
      .inherited = std::move(inherited),
      .platform = connect.platform,
      .unsaved = [&services, &user] { return services.detached.of(user.view()); },
      .connected = [&services, &user](const DeviceId& other) { return services.registry.online(user.view(), other.view()); },
      .forget_unsaved =
          [&services, &user, patience](DeviceId other) {
            return CursorFlush::forget_unsaved(services, services.clock.monotonic() + patience, user, std::move(other));
          },
      .claims_unknown = claims_unknown};
  const auto attachment = co_await host.cursor_flush().keeper().attach(std::move(request));
  session = host.find(handle);
  if (session == nullptr || session->phase != Session::Phase::Connecting) {
    if (attachment.ok()) tell_forgotten(host, user, attachment->forgotten);
    co_return;
  }
  if (!attachment.ok()) co_return refuse(host, *session, connect, attachment.error());
  if (attachment->resume == Resume::Reset) host.services().detached.forget(user.view(), device.view());
  News news = co_await read_news(host, session->user_id, attachment->cursor);
  session = host.find(handle);
  if (session == nullptr || session->phase != Session::Phase::Connecting) co_return;
  if (attachment->cursor.epoch != host.services().timelines.epoch()) co_return host.kick(*session, ErrorCode::ResetRequired);
  const Call call{host, session->connection, *session, connect.id};
  host.services().metrics.connect_seconds.observe(host.services().clock.monotonic() - connect.started);
  host.services().metrics.connects(connect.platform).add();
  reply_connected(call, *attachment, news);
  session->platform = attachment->cursor.platform;
  std::vector<ConversationId> first;
  for (const ClaimedPosition& shown : connect.open) first.push_back(shown.access.conversation());
  host.became_ready(*session, attachment->cursor, std::move(first), std::move(news.page));
  tell_forgotten(host, user, attachment->forgotten);
}

Task<void> run(SessionHost& host, ConnectionHandle handle, ConnectCall connect) {
  host.count_login(1);
  co_await log_in(host, handle, std::move(connect));
  host.count_login(-1);
}

// Refused before anything is spent on it. All who are refused at once are not to come back at once.
bool may_log_in(const Call& call) {
  constexpr Milliseconds kPause{2'000};
  SessionHost& host = call.host;
  const LoginRule& rule = host.options().logins;
  if (rule.mode == LimitMode::Off || rule.at_a_time == 0 || host.logins() < static_cast<int>(rule.at_a_time)) return true;
  ServerMetrics& metrics = host.services().metrics;
  if (rule.mode == LimitMode::Observe) {
    metrics.limited(metrics::Limit::ServerLogins, metrics::LimitOutcome::WouldReject).add();
    return true;
  }
  metrics.limited(metrics::Limit::ServerLogins, metrics::LimitOutcome::Rejected).add();
  call.refuse(Error(ErrorCode::Overloaded, "too many logins are under way"), jittered(kPause));
  host.kick(call.session, ErrorCode::Overloaded);
  return false;
}

}  // namespace

// The session begins: who, on which device, from which position. An older session of the same device leaves first (R9.4: the same
// (user, device), never another connection).
void handle(const Call& call, const wire::ConnectRequest& request) {
  SessionHost& host = call.host;
  Session& session = call.session;
  if (!may_log_in(call)) return;
  const auto identity = authenticate(call, request.token);
  if (!identity.ok()) return host.kick(session, wire_code(identity.error().code()));
  if (!is_valid_id(request.device)) return call.refuse(Error(ErrorCode::BadRequest, "device is not a valid id"));
  auto older = host.services().registry.add(identity->user.view(), request.device, session.handle().bits());
  if (!older) {
    call.refuse(Error(ErrorCode::DeviceLimit, "the user has the most sessions allowed"));
    return host.kick(session, ErrorCode::DeviceLimit);
  }

  session.registered = true;
  session.user_id = identity->user;
  session.device = DeviceId(request.device);
  session.session_key = SessionKey::random();
  session.set_token(*identity);
  session.phase = Session::Phase::Connecting;
  host.pause(session);
  call.connection.arm_timer(host.now() + host.options().auth_deadline);

  ConnectCall connect{.id = call.id,
                      .started = host.now(),
                      .older = *std::move(older),
                      .open = {},
                      .token = std::nullopt,
                      .token_given = !request.sync_token.empty(),
                      .platform = metrics::platform_of(request.platform)};
  if (connect.token_given) {
    connect.token = parse_sync_token(host, session, request.sync_token);
    // Not sealed with our key, but of our form and of another epoch: a restored store has another key, and this may be a token of the old
    // one. Anybody can write such a text; it resets his own device and nobody else's.
    const auto epoch = connect.token ? std::nullopt : SyncTokenMinter::claimed_epoch(request.sync_token);
    if (epoch && *epoch != host.services().timelines.epoch()) connect.token.emplace().epoch = *epoch;
  }
  // One from a conversation list alone (no `position`) says nothing about what this device has acked: the stored cursor counts.
  if (connect.token && connect.token->epoch == host.services().timelines.epoch() && !connect.token->position) connect.token.reset();
  for (const wire::ConversationSeq& shown : request.open) {
    if (connect.open.size() == kMaxOpen) break;
    auto access = authorise(session.user_id.view(), ConversationId(shown.conversation));
    if (access.ok()) connect.open.push_back({*std::move(access), MessageSeq(shown.seq)});
  }
  session.delivery.emplace(host.delivery_context(), session);
  spawn(run(host, session.handle(), std::move(connect)));
}

}  // namespace dunlin
