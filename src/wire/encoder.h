#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "wire/packet.h"

// Packets to bytes. Every function appends exactly one packet to `out` and allocates nothing but what `out` grows by (the cold
// Protobuf ones also use an arena). Between two packets of one frame the caller puts packet_separator(encoding).
// Any thread; views are read during the call only. `body` goes out verbatim, so it must be what a decoder checked.
namespace dunlin::wire {

void append_reply(Encoding encoding, std::string& out, std::optional<RequestId> id, const ReplyBody& reply);
void append_push(Encoding encoding, std::string& out, const Push& push);
void append_request(Encoding encoding, std::string& out, const Request& request);  // for clients; a MalformedRequest is a bug

// The hot ones without a variant.
void append_message_push(Encoding encoding, std::string& out, const MessageView& message);
void append_send_reply(Encoding encoding, std::string& out, RequestId id, const SendReply& reply);
void append_error_reply(Encoding encoding, std::string& out, std::optional<RequestId> id, const Error& error,
                        std::uint64_t retry_after_ms = 0);

// How many bytes the item takes at most inside a reply, its separator included: for cutting replies at the limit before they are encoded.
// Never too low; at most a few dozen bytes too high.
std::size_t encoded_bytes_at_most(Encoding encoding, const MessageView& message);
std::size_t encoded_bytes_at_most(Encoding encoding, const GapView& gap);
std::size_t encoded_bytes_at_most(Encoding encoding, const ConversationView& conversation);

// The envelope of a history or sync reply without its items, cursor and sync_token.
inline constexpr std::size_t kReplyEnvelopeBytes = 256;

}  // namespace dunlin::wire
