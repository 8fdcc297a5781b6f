#!/usr/bin/env python3
"""docs/protocol/errors.md from src/base/error_codes.inc: what each code means, and what client and operator do about it.

The table of codes is the source; the columns that the server does not need stand here. A code without a row here is an error.
--check: say whether the page is stale and leave it alone.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "src" / "base" / "error_codes.inc"
PAGE = ROOT / "docs" / "protocol" / "errors.md"

# name: (cause, what the client must do, what the operator must do)
ADVICE = {
    "going_away": ("The server stops, restarts or moves its clients.", "Reconnect after the delay that `drain` named (else with back-off), to the url it named; resume.", "Nothing: part of every stop. Many outside a stop: look at the server's log."),
    "slow_consumer": ("The client has read slower than its messages arrive for longer than the slow-consumer limit (60 s).", "Reconnect and resume; nothing is lost. Read the socket on its own thread; ack in batches.", "If many: look at the clients' network; `dunlin_lagging_sessions`."),
    "heartbeat_timeout": ("No complete packet or control frame arrived for 2.5 heartbeats.", "Reconnect and resume. Send `ping` every heartbeat_interval_ms while nothing else is sent.", "If many at once: a balancer or NAT with an idle limit below the heartbeat."),
    "rate_limited": ("More requests, connections or failed logins than the limits allow.", "Wait retry_after_ms, then repeat the same request with the same client_msg_id.", "If wanted load: raise `limits.*`."),
    "store_unavailable": ("The store cannot take or read this now: disk full, I/O error, window full.", "Repeat with back-off and the same client_msg_id; nothing was stored.", "/readyz names the failed check. Free space or replace the disk; it heals without a restart."),
    "overloaded": ("A queue of the server is at its bound.", "Repeat with back-off and the same client_msg_id; nothing was done.", "More cores or nodes; see the queue metrics."),
    "internal": ("The server failed at this request.", "Repeat with back-off; after the third time tell the user.", "The log has the request's error. Report it."),
    "retry_in_order": ("An earlier send of this session to the same conversation was refused temporarily, so this one would overtake it.", "Send the refused message again first (same client_msg_id), or give it up by `\"abandon\": true` on the next send; then repeat this one.", "Nothing: follows from the error before it."),
    "auth_timeout": ("The connection's first packet, `connect`, did not come before the deadline (10 s).", "Reconnect with back-off; send `connect` at once.", "If many: port scanners or health checks on the wrong port; use /livez."),
    "too_many_connections": ("This address, or the server, has as many connections as allowed. Told right after the upgrade, over TCP after the first packet; under a storm of connections, and behind a trusted proxy, there may only be a reset or HTTP 503.", "Reconnect with back-off.", "Raise `net.max-connections` or `limits.ip.connections`, or name the proxy in `limits.trusted-proxies`."),
    "timeout": ("The request took longer than its deadline; whether it took effect is unknown.", "Repeat it with the same client_msg_id: a send that did take effect is answered as a duplicate.", "Look at the store's latency metrics."),
    "token_not_yet_valid": ("The token's nbf lies ahead of the server's clock, by less than five minutes: the clocks of the issuer and the server differ, or one of them was set.", "Wait retry_after_ms, then reconnect (or `refresh`) with the same token.", "Compare the clocks of the issuer and the server."),
    "reset_required": ("The client acked, read or shows a seq that its conversation does not have, or the store was found to have been put back to an earlier state: what the device knows of seqs is of another life of it.", "Reconnect; `resume` is `reset`: do what delivery.md says of it. No seq may be acked or read that did not come from a message, gap, page or reply.", "One client: nothing, or a bug of it. Many, and an ERROR line of a new epoch: somebody put an old copy of the data folder back; use `dunlin restore`."),
    "token_expired": ("The token's exp has passed, before or during the connection.", "Get a new token from your backend; `refresh` if still connected, else reconnect with it.", "If right after issue: the clocks of the issuer and the server differ."),
    "unauthorized": ("No token, or one that is malformed, of another algorithm, or signed by a key that this server does not know.", "Do not retry with this token. Get a new one; when that fails too, log in again.", "Check `auth.keys` against the issuer's key and algorithm."),
    "replaced": ("The same user and device connected again; the newer session stays.", "Do not reconnect by itself: it would replace the other. Two programs need two device ids.", "If it alternates: an application uses one device id twice."),
    "logged_out": ("The client's own `logout`.", "Connect again when the user logs in.", "Nothing."),
    "kicked": ("The operator or the application closed this session.", "Do not reconnect by itself; tell the user.", "Nothing: somebody asked for it."),
    "bad_request": ("The packet is not valid: no JSON or Protobuf, a field missing, of a wrong type or out of range. `message` names the field.", "Fix the program; the same packet fails again.", "If many: a client version with a bug; the error counter is `dunlin_errors_total`."),
    "unknown_command": ("The packet holds no command that this server knows.", "Do without the command, or ask for a newer server.", "Upgrade the server if the clients need it."),
    "too_large": ("The packet, the body or a list in it is larger than the limits of the connect reply.", "Send less at once; larger content goes elsewhere and its address into the body.", "`performance.max-frame-size`."),
    "durability_unavailable": ("More durability was asked for than the server is configured to give.", "Ask for less, or for nothing: the connect reply's `durability` is what there is.", "`store.durability`."),
    "client_msg_id_conflict": ("The client_msg_id was used before in this conversation, by this user, with another body.", "A new message needs a new id. Make ids as `<session>-<n>`.", "Nothing."),
    "not_found": ("There is no such conversation or message for this user.", "Drop it from the local list, or sync again.", "Nothing."),
    "forbidden": ("This user may not do that.", "Do not repeat it.", "Nothing, or grant the right."),
    "wrong_state": ("A command before `connect`, or `connect` a second time.", "Fix the program: connect first, once.", "Nothing."),
    "device_limit": ("The user has the most devices allowed (32), and all of them are connected at this moment. While one is not, the one unseen longest makes room instead.", "Tell the user; connect again when he has closed or forgotten a device (`devices`, `forget_device`).", "If many: an application makes a new device id at each start; `session.max-devices`."),
    "unsupported_version": ("A protocol version or encoding that this server does not speak. It is known before a WebSocket is open, so it is no close code: it stands in the body of HTTP 400 or 505 (a browser shows 1006) and in the line that TCP answers to a wrong first byte.", "Offer `dunlin.v1.json` or `dunlin.v1.protobuf`.", "Upgrade the server if the clients need it."),
}

ROW = re.compile(r'^X\((\w+),\s*(\d+),\s*"(\w+)",\s*(true|false),\s*"((?:[^"\\]|\\.)*)"\)', re.M)
RANGES = (("4000 to 4399: reconnect with back-off", 4000, 4400), ("4400 to 4499: get a new token, then reconnect", 4400, 4500),
          ("4500 to 4999: never by itself", 4500, 5000))


def page():
    rows = [(int(number), name, temporary == "true", text) for _, number, name, temporary, text in ROW.findall(TABLE.read_text())]
    missing = [name for _, name, _, _ in rows if name not in ADVICE]
    unknown = [name for name in ADVICE if name not in {row[1] for row in rows}]
    if missing or unknown:
        sys.exit(f"gen_error_docs.py: no advice for {missing}, advice for unknown codes {unknown}")
    lines = ["# Errors and close codes", "",
             "Generated by tools/gen_error_docs.py from src/base/error_codes.inc; do not edit.", "",
             "One number space for refused requests (`error.code`), kicks (`kick.code`) and WebSocket close codes. As a close code or",
             "kick, the number's range alone tells whether to come back. In an error reply the connection stays open, and `temporary`",
             "tells whether the same request may be repeated (after `retry_after_ms` if that is not 0, else with back-off).", ""]
    for title, low, high in RANGES:
        lines += [f"## {title}", "", "| code | name | temporary | cause | the client | the operator |", "|---|---|---|---|---|---|"]
        for number, name, temporary, _ in rows:
            if low <= number < high:
                cause, client, operator = ADVICE[name]
                lines.append(f"| {number} | `{name}` | {'yes' if temporary else 'no'} | {cause} | {client} | {operator} |")
        lines.append("")
    lines += ["Besides these a WebSocket may close with the codes of RFC 6455: 1000 (the client closed), 1002 (framing error), 1003 (wrong",
              "message type for the encoding), 1007 (text that is not UTF-8), 1009 (message larger than the limit), 1013",
              "(the server holds too many bytes of unfinished messages, of all clients together; TCP: `overloaded`). After 1002, 1003, 1007 and 1009 the client has a bug or a",
              "limit to respect; reconnecting is allowed, with back-off.", ""]
    return "\n".join(lines)


def main():
    text = page()
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text() != text:
            sys.exit("docs/protocol/errors.md is stale: run tools/gen_error_docs.py")
        return
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text)


main()
