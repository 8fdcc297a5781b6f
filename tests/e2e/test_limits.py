"""Limits that are on by default: addresses, handshakes, failed logins, sends of a user, slow peers, proxies."""

import asyncio
import json
import os
import ssl
import time

import jwt
import pytest
import websockets

import own_network
from im_client import Closed, Refused, TcpClient, WsClient, stopped_reader
from test_operation import make_certificate
from under_test import SANITIZER

# Loopback (127.0.0.0/8 and ::1) is exempt from the limits by address, as are trusted proxies; only a client that a trusted proxy names is not.
# So the tests speak as that proxy, for clients with addresses of their own.
PROXY = {"trusted-proxies": ["127.0.0.1"]}


async def login(server, user, device="d1", cls=WsClient, **options):
    client = await cls.open(server, **options)
    client.auto_ack = True
    await client.connect(server.token(user), device)
    return client


async def status_of(server, forwarded=None):
    """HTTP status of an upgrade; 101 when it works."""
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    try:
        socket = await websockets.connect(server.ws_url, subprotocols=["dunlin.v1.json"], extra_headers=headers)
    except websockets.InvalidStatusCode as refused:
        return refused.status_code, refused.headers
    except (ConnectionError, websockets.InvalidMessage, EOFError):
        return 0, {}
    await socket.close()
    return 101, {}


async def test_handshakes_of_one_address_are_limited_and_others_are_not(server_factory):
    server = server_factory({"limits": {**PROXY, "ip": {"handshakes-per-s": 5}}})
    results = [await status_of(server, "203.0.113.7") for _ in range(40)]
    refused = [headers for status, headers in results if status != 101]
    assert len(refused) >= 10
    assert all(status in (101, 503, 429) for status, _ in results)
    assert int(refused[0]["Retry-After"]) >= 1
    assert (await status_of(server, "203.0.113.8"))[0] == 101
    assert (await status_of(server))[0] == 101


async def test_forged_forwarded_for_of_an_untrusted_peer_has_no_effect(server_factory):
    server = server_factory({"limits": {"ip": {"handshakes-per-s": 1}}})
    results = [(await status_of(server, "203.0.113.7"))[0] for _ in range(20)]
    assert results == [101] * 20  # the peer is loopback, which is exempt; the header is not believed


async def test_forwarded_for_is_walked_from_the_right(server_factory):
    server = server_factory({"limits": {**PROXY, "ip": {"handshakes-per-s": 2}}})
    results = [(await status_of(server, f"198.51.100.{i}, 203.0.113.9"))[0] for i in range(20)]
    assert results.count(101) < 20  # what the client itself wrote in front does not matter


async def test_connections_of_one_address_are_limited(server_factory):
    server = server_factory({"limits": {**PROXY, "ip": {"connections": 3, "handshakes-per-s": 1000}}})
    held = [await WsClient.open(server, extra_headers={"X-Forwarded-For": "203.0.113.7"}) for _ in range(3)]
    assert (await status_of(server, "203.0.113.7"))[0] in (503, 429)
    held[0].cut()
    deadline = time.monotonic() + 10
    while (await status_of(server, "203.0.113.7"))[0] != 101:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    for client in held:
        client.cut()


async def first_answer(server, address, token):
    """The reply to a connect from this address, and the code with which its connection is closed."""
    client = await WsClient.open(server, extra_headers={"X-Forwarded-For": address})
    reply = await asyncio.wait_for(await client.raw("connect", {"token": token, "device": "d"}), 10)
    if "error" in reply:
        await asyncio.wait_for(client.closed.wait(), 10)
    client.cut()
    return reply, client.close_code


async def test_failed_logins_of_one_address_are_limited(server_factory):
    server = server_factory({"limits": {**PROXY, "ip": {"handshakes-per-s": 1000, "auth-failures-per-minute": 5}}})
    answers = [await first_answer(server, "203.0.113.66", "x") for _ in range(15)]
    names = [reply["error"]["name"] for reply, _ in answers]
    assert names[:5] == ["unauthorized"] * 5 and set(names[6:]) == {"rate_limited"}, names
    last, code = answers[-1]
    assert code == 4003 and last["error"]["temporary"] and 0 < last["error"]["retry_after_ms"] <= 24_000
    assert (await first_answer(server, "203.0.113.67", "x"))[0]["error"]["name"] == "unauthorized"
    # Who has a good token gets in from there all the same.
    assert "connect" in (await first_answer(server, "203.0.113.66", server.token("alice")))[0]
    assert server.metric('dunlin_limited_total{limit="ip_auth_failures",outcome="rejected"}') >= 9


async def test_forged_tokens_of_one_client_keep_nobody_behind_its_address_out(server_factory):
    server = server_factory({"limits": PROXY})
    forged = server.token("alice")[:-8] + "AAAAAAAA"
    stop = asyncio.Event()
    answers = []

    async def attack():
        while not stop.is_set():
            answers.append((await first_answer(server, "203.0.113.66", forged))[0]["error"]["name"])
            await asyncio.sleep(0.02)

    attackers = [asyncio.create_task(attack()) for _ in range(2)]
    while answers.count("rate_limited") < 10:  # the address is far above its limit
        await asyncio.sleep(0.05)
    for i in range(24):
        reply, _ = await first_answer(server, "203.0.113.66", server.token(f"user{i}"))
        assert "connect" in reply, (i, reply)
    stop.set()
    await asyncio.gather(*attackers)


async def test_a_token_that_costs_much_to_check_waits_when_its_address_fails(server_factory, tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    keys, privates = [], []
    for number in range(6):
        private = ec.generate_private_key(ec.SECP256R1())
        file = tmp_path / f"{number}.pem"
        file.write_bytes(private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
        keys.append({"id": f"k{number}", "alg": "ES256", "public-key-file": str(file)})
        privates.append(private)
    server = server_factory({"auth": {"keys": keys}, "limits": {**PROXY, "ip": {"auth-failures-per-minute": 5}}})
    claims = {"sub": "alice", "exp": int(time.time()) + 600}
    unnamed = jwt.encode(claims, privates[5], "ES256")
    named = jwt.encode(claims, privates[5], "ES256", headers={"kid": "k5"})
    assert "connect" in (await first_answer(server, "203.0.113.66", unnamed))[0]
    for _ in range(6):
        await first_answer(server, "203.0.113.66", "x")
    reply, code = await first_answer(server, "203.0.113.66", unnamed)
    assert reply["error"]["name"] == "rate_limited" and "kid" in reply["error"]["message"] and code == 4003
    assert reply["error"]["retry_after_ms"] > 0
    assert "connect" in (await first_answer(server, "203.0.113.66", named))[0]
    assert "connect" in (await first_answer(server, "203.0.113.67", unnamed))[0]


async def test_expired_tokens_do_not_count_as_failed_logins(server_factory):
    server = server_factory({"limits": {**PROXY, "ip": {"handshakes-per-s": 1000, "auth-failures-per-minute": 5}}})
    for _ in range(10):
        client = await WsClient.open(server, extra_headers={"X-Forwarded-For": "203.0.113.66"})
        reply = await (await client.raw("connect", {"token": server.token("alice", ttl=-3600), "device": "d"}))
        assert reply["error"]["name"] == "token_expired"
        client.cut()
    assert (await status_of(server, "203.0.113.66"))[0] == 101


ZERO = {"connections": 0, "handshakes-per-s": 0, "auth-failures-per-minute": 0}
STRICT = {"connections": 1, "handshakes-per-s": 1, "auth-failures-per-minute": 1}


async def outcomes_of_a_crowd(server, client, size=30):
    """HTTP statuses of connections of one address that are all held open, each with a failed login."""
    held, statuses = [], []
    for _ in range(size):
        try:
            one = await WsClient.open(server, extra_headers={"X-Forwarded-For": client})
        except websockets.InvalidStatusCode as refused:
            statuses.append(refused.status_code)
            continue
        statuses.append(101)
        held.append(one)
        assert (await (await one.raw("connect", {"token": "x", "device": "d"})))["error"]["name"] in ("unauthorized", "rate_limited")
    for one in held:
        one.cut()
    return statuses


@pytest.mark.parametrize("limit", [*sorted(ZERO), "all"])
async def test_zero_is_no_limit_for_an_address_that_is_not_exempt(server_factory, limit):
    generous = {"connections": 10_000, "handshakes-per-s": 10_000, "auth-failures-per-minute": 10_000}
    server = server_factory({"limits": {**PROXY, "ip": {**generous, **(ZERO if limit == "all" else {limit: 0})}}})
    assert await outcomes_of_a_crowd(server, "203.0.113.7") == [101] * 30
    assert server.metric("dunlin_limited_total") == 0


async def test_limits_become_zero_and_come_back_by_a_reload(server_factory):
    server = server_factory({"limits": {**PROXY, "ip": STRICT}})
    assert 101 in await outcomes_of_a_crowd(server, "203.0.113.7") and 503 in await outcomes_of_a_crowd(server, "203.0.113.7")

    async def reloaded(limits):
        before = server.metric("dunlin_config_reloads_total")
        server.config["limits"]["ip"] = limits
        server.reload()
        while server.metric("dunlin_config_reloads_total") == before:
            await asyncio.sleep(0.05)

    await reloaded(ZERO)
    assert await outcomes_of_a_crowd(server, "203.0.113.7") == [101] * 30
    await reloaded(STRICT)
    assert 503 in await outcomes_of_a_crowd(server, "203.0.113.7")


async def test_zero_sends_per_second_and_zero_logins_are_no_limits(server_factory):
    server = server_factory({"limits": {"user": {"sends-per-s": 0, "sends-burst": 1}, "server": {"logins": 0}}})
    clients = await asyncio.gather(*[login(server, f"user{i}") for i in range(20)])
    replies = await asyncio.gather(*[await clients[0].raw("send", {"to": "bob", "client_msg_id": f"m{i}", "body": i}) for i in range(300)])
    assert all("send" in reply for reply in replies)
    assert server.metric("dunlin_limited_total") == 0


async def test_forwarded_for_with_ports_and_without_an_address(server_factory):
    server = server_factory({"limits": {**PROXY, "ip": {"connections": 1, "handshakes-per-s": 1000}}})
    held = await WsClient.open(server, extra_headers={"X-Forwarded-For": "203.0.113.7:5555"})
    assert (await status_of(server, "203.0.113.7"))[0] in (503, 429)
    assert (await status_of(server, "[2001:db8::1]:44"))[0] == 101
    assert (await status_of(server, "garbage"))[0] == 400  # else it would count as the proxy, which is exempt
    held.cut()


async def test_proxy_protocol_names_the_client_on_both_ports(server_factory):
    server = server_factory({"limits": {**PROXY, "ip": {"connections": 1, "handshakes-per-s": 1000}}, "tcpsocket": {"proxy-protocol": True}, "websocket": {"proxy-protocol": True}})

    async def open_tcp(client):
        reader, writer = await asyncio.open_connection(*server.tcp_address)
        writer.write(f"PROXY TCP4 {client} 127.0.0.1 999 1\r\n".encode())
        writer.write(json.dumps({"id": 1, "connect": {"token": server.token("alice"), "device": client}}).encode() + b"\n")
        try:
            return await reader.readline(), writer
        except ConnectionError:
            return b"", writer

    first, held = await open_tcp("203.0.113.7")
    assert b'"connect"' in first
    assert (await open_tcp("203.0.113.7"))[0] == b""
    other, writer = await open_tcp("203.0.113.8")
    assert b'"connect"' in other
    host, port = server.ws.rsplit(":", 1)
    reader, upgrade = await asyncio.open_connection(host, int(port))
    upgrade.write(b"PROXY TCP4 203.0.113.9 127.0.0.1 999 1\r\nGET /im HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                  b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    assert b"101" in await reader.readline()
    for one in (held, writer, upgrade):
        one.close()


async def test_bad_refreshes_end_the_session(server):
    client = await login(server, "alice")
    for _ in range(5):
        with pytest.raises(Refused):
            await client.request("refresh", {"token": "x"})
    await asyncio.wait_for(client.closed.wait(), 10)
    assert client.kick["name"] == "unauthorized"


async def test_typing_is_limited_also_when_it_alternates(server):
    alice, bob = await login(server, "alice"), await login(server, "bob")
    for i in range(100):
        await alice.request("typing", {"to": "bob", "active": i % 2 == 0})
    await alice.send("bob", "end", "e1")
    await bob.push("message")
    assert 2 <= sum("typing" in packet for packet in bob.seen) <= 40


async def test_devices_of_a_user_are_limited_as_configured(server_factory):
    server = server_factory({"session": {"max-devices": 2}})
    for device in ("a", "b"):
        await login(server, "alice", device)
    with pytest.raises(Refused) as refused:
        await login(server, "alice", "c")
    assert refused.value.name == "device_limit"


async def test_history_can_be_switched_off(server_factory):
    server = server_factory({"message": {"history": {"enable": False}}})
    alice, bob = await login(server, "alice"), await login(server, "bob")
    await alice.send("bob", "hi", "x1")
    assert (await bob.push("message"))["seq"] == 1
    with pytest.raises(Refused) as refused:
        await bob.request("history", {"with": "alice"})
    assert refused.value.name == "forbidden"


async def test_observe_mode_counts_and_lets_pass(server_factory):
    server = server_factory({"limits": {**PROXY, "ip": {"mode": "observe", "handshakes-per-s": 1}}})
    assert [(await status_of(server, "203.0.113.7"))[0] for _ in range(10)] == [101] * 10
    assert server.metric('dunlin_limited_total{limit="ip_handshakes",outcome="would_reject"}') > 0


async def test_five_connections_of_a_user_share_one_rate(server_factory):
    server = server_factory({"limits": {"user": {"sends-per-s": 20, "sends-burst": 20}}})

    async def flood(connections):
        clients = [await login(server, f"user{connections}", f"d{i}") for i in range(connections)]
        futures = [await c.raw("send", {"to": f"sink{connections}-{n}-{i}", "client_msg_id": f"m{i}-{n}", "body": 1}) for n in range(60 // connections) for i, c in enumerate(clients)]
        replies = await asyncio.gather(*futures)
        refused = [r["error"] for r in replies if "error" in r]
        assert all(e["name"] == "rate_limited" and e["temporary"] and e["retry_after_ms"] > 0 for e in refused)
        for client in clients:
            await client.ping()  # heartbeats are never refused
        return 60 - len(refused)

    one, five = await flood(1), await flood(5)
    assert 20 <= one <= 40 and 20 <= five <= 40


async def test_flood_that_does_not_end_is_closed_with_rate_limited(server_factory):
    server = server_factory({"limits": {"user": {"sends-per-s": 1, "sends-burst": 1}}})
    flood, other = await login(server, "flood"), await login(server, "other")
    for i in range(1200):
        if flood.closed.is_set():
            break
        try:
            # Transient ones wait for nothing, so that it is the limit that refuses each of them.
            await flood.write({"id": 1000 + i, "send": {"to": "other", "client_msg_id": f"m{i}", "body": 1, "transient": True}})
        except websockets.ConnectionClosed:
            break
    await asyncio.wait_for(flood.closed.wait(), 10)
    assert flood.kick["name"] == "rate_limited" and flood.kick["reconnect"] != "no"
    assert server.metric('dunlin_disconnects_total{reason="rate_limited"}') == 1
    await other.ping()


async def test_logins_at_a_time_are_limited_and_the_rest_is_told_when_to_come_back(server_factory):
    server = server_factory({"limits": {"server": {"logins": 1}}, "performance": {"worker-threads": 1}, "debug": {"unsafe-faults": {"store-delay-ms": 2000}}})
    alice = await login(server, "alice")
    await alice.raw("send", {"to": "bob", "client_msg_id": "x1", "body": 1})
    await alice.ping()  # the server has it
    again = await WsClient.open(server)  # the same device: its login waits until what it sent has settled
    waiting = await again.raw("connect", {"token": server.token("alice"), "device": "d1"})
    await asyncio.sleep(0.3)
    pauses = set()
    for i in range(5):
        late = await WsClient.open(server)
        error = (await (await late.raw("connect", {"token": server.token(f"late{i}"), "device": "d1"})))["error"]
        assert error["name"] == "overloaded" and error["temporary"] and 2000 <= error["retry_after_ms"] <= 4000
        pauses.add(error["retry_after_ms"])
        await asyncio.wait_for(late.closed.wait(), 5)
        assert late.kick["name"] == "overloaded" and late.kick["reconnect"] != "no"
    assert len(pauses) > 1  # they do not all come back at once
    assert server.metric('dunlin_limited_total{limit="server_logins",outcome="rejected"}') == 5
    assert "connect" in await asyncio.wait_for(waiting, 10)
    await login(server, "late0")


async def test_refused_send_keeps_the_order_of_what_follows(server_factory):
    server = server_factory({"limits": {"user": {"sends-per-s": 5, "sends-burst": 5}}})
    alice, bob = await login(server, "alice"), await login(server, "bob")
    replies = await asyncio.gather(*[await alice.raw("send", {"to": "bob", "client_msg_id": f"m{i}", "body": i}) for i in range(12)])
    names = [r.get("error", {}).get("name", "stored") for r in replies]
    first = names.index("rate_limited")
    assert set(names[first + 1 :]) <= {"retry_in_order", "rate_limited"} and "stored" not in names[first:]
    await asyncio.sleep(1.2)
    skipped = await (await alice.raw("send", {"to": "bob", "client_msg_id": f"m{first + 1}", "body": first + 1}))
    assert skipped["error"]["name"] == "retry_in_order"
    assert (await (await alice.raw("send", {"to": "bob", "client_msg_id": f"m{first}", "body": first})))["send"]["seq"] == first + 1
    assert (await (await alice.raw("send", {"to": "bob", "client_msg_id": f"m{first + 1}", "body": first + 1})))["send"]["seq"] == first + 2
    assert [m["body"] for m in await bob.messages(first + 2)] == list(range(first + 2))


async def test_refused_sends_that_are_repeated_as_the_page_says_keep_their_order(server_factory):
    """docs/protocol/delivery.md, Pipelining: nothing new while a send is in flight behind a refused one, then all of them in their order."""
    server = server_factory({"limits": {"user": {"sends-per-s": 40, "sends-burst": 5}}})
    alice, bob = await login(server, "alice"), await login(server, "bob")
    outbox, made, refused = [], 0, 0
    while made < 60 or outbox:
        outbox += range(made, min(60, made + 12))  # what the user writes meanwhile stands behind
        made = min(60, made + 12)
        replies = await asyncio.gather(*[await alice.raw("send", {"to": "bob", "client_msg_id": f"m{i}", "body": i}) for i in outbox])
        errors = [(i, reply["error"]) for i, reply in zip(outbox, replies) if "error" in reply]
        outbox = [i for i, _ in errors]
        refused += len(errors)
        assert all(error["temporary"] for _, error in errors), errors
        if errors:
            await asyncio.sleep(errors[0][1]["retry_after_ms"] / 1000)
    assert refused > 60, "the limit was not reached"
    assert [m["body"] for m in await bob.messages(60)] == list(range(60))


async def test_a_new_send_behind_the_repeat_of_the_first_refused_overtakes_the_others(server_factory):
    """What the rule above is for: only the first refused message is remembered."""
    server = server_factory({"limits": {"user": {"sends-per-s": 5, "sends-burst": 5}}})
    alice = await login(server, "alice")
    replies = await asyncio.gather(*[await alice.raw("send", {"to": "bob", "client_msg_id": f"m{i}", "body": i}) for i in range(12)])
    first = next(i for i, reply in enumerate(replies) if "error" in reply)
    await asyncio.sleep(1.2)
    both = [await alice.raw("send", {"to": "bob", "client_msg_id": name, "body": first}) for name in (f"m{first}", "new")]
    assert [reply["send"]["seq"] if "send" in reply else reply for reply in await asyncio.gather(*both)][1:] == [first + 2]
    late = await (await alice.raw("send", {"to": "bob", "client_msg_id": f"m{first + 1}", "body": first + 1}))
    assert late["send"]["seq"] == first + 3


async def test_origin_allow_list(server_factory):
    server = server_factory({"websocket": {"allowed-origins": ["https://app.example"]}})
    for origin, ok in (("https://app.example", True), ("https://evil.example", False), ("http://app.example", False), ("null", False)):
        try:
            socket = await websockets.connect(server.ws_url, origin=origin)
            await socket.close()
            assert ok, origin
        except websockets.InvalidStatusCode as refused:
            assert not ok and refused.status_code == 403, origin


async def test_offer_of_foreign_subprotocols_is_refused_with_400(server):
    with pytest.raises(websockets.InvalidStatusCode) as refused:
        await websockets.connect(server.ws_url, subprotocols=["mqtt", "graphql-ws"])
    assert refused.value.status_code == 400
    socket = await websockets.connect(server.ws_url)
    assert socket.subprotocol is None
    await socket.close()


async def test_other_paths_are_404_and_plain_requests_426(server):
    host, port = server.ws.rsplit(":", 1)
    for request, status in ((b"GET /other HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", b"404"),
                            (b"GET /im HTTP/1.1\r\nHost: x\r\n\r\n", b"426"), (b"\x00\x01garbage\r\n\r\n", b"400")):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        line = await asyncio.wait_for(reader.readline(), 10)
        assert status in line, (request, line)
        writer.close()


async def test_slow_headers_and_silent_clients_are_ended_by_their_deadline(server_factory):
    server = server_factory({"net": {"header-deadline-ms": 700}, "session": {"auth-deadline-ms": 700}})
    host, port = server.ws.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))

    async def drip():
        for byte in b"GET /im HTTP/1.1\r\nHost: " + b"x" * 200:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)

    task = asyncio.create_task(drip())
    await asyncio.wait_for(reader.read(), 10)
    task.cancel()
    tcp_reader, _ = await asyncio.open_connection(*server.tcp_address)
    await asyncio.wait_for(tcp_reader.read(), 10)
    silent = await WsClient.open(server)
    await asyncio.wait_for(silent.closed.wait(), 10)
    assert silent.close_code == 4008
    assert silent.kick and silent.kick["name"] == "auth_timeout"


async def test_zombie_is_removed_after_two_and_a_half_heartbeats(server_factory):
    server = server_factory({"session": {"heartbeat-interval-ms": 400}})
    zombie, alive = await login(server, "zombie"), await login(server, "alive")
    for _ in range(8):
        await asyncio.sleep(0.2)
        await alive.ping()
    await asyncio.wait_for(zombie.closed.wait(), 10)
    assert zombie.close_code == 4002
    await alive.ping()


@pytest.mark.deadline(120)
async def test_idle_unauthenticated_sockets_do_not_stop_logins(server_factory):
    server = server_factory({"limits": {"ip": {"mode": "off"}}})
    idle = [await asyncio.open_connection(*server.tcp_address) for _ in range(1500)]
    await login(server, "alice")
    for _, writer in idle:
        writer.transport.abort()


def rss_bytes(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


@pytest.mark.deadline(180)
async def test_clients_that_never_read_cost_a_bound_and_lose_nothing(server_factory):
    clients, bound = 12, 64 * 1024
    server = server_factory({"net": {"write-queue-bytes": bound}, "performance": {"max-frame-size": bound // 2}, "limits": {"user": {"mode": "off"}}, "session": {"slow-consumer-after-ms": 60000}})
    stuck = []
    for i in range(clients):
        stuck.append(await stopped_reader(server, f"stuck{i}"))
    alice = await login(server, "alice", cls=TcpClient)
    before = rss_bytes(server.process.pid)
    text = "x" * 20000
    rounds = 0
    while server.metric("dunlin_lagging_sessions") < clients:  # the kernel takes some megabytes for each first
        assert rounds < 400, "nobody lags"
        for n in range(rounds, rounds + 20):
            await asyncio.gather(*[await alice.raw("send", {"to": f"stuck{i}", "client_msg_id": f"{n}-{i}", "body": text}) for i in range(clients)])
        rounds += 20
    stored = clients * rounds * 21000
    growth = rss_bytes(server.process.pid) - before
    if not SANITIZER:
        assert growth < stored + clients * bound * 1.5 + (16 << 20), growth  # what is stored also stands in the window
    reader, writer = stuck[0]
    writer.transport.resume_reading()
    seqs, pending = [], b""
    while len(seqs) < rounds:
        pending += await asyncio.wait_for(reader.read(65536), 20)
        *lines, pending = pending.split(b"\n")
        seqs += [packet["message"]["seq"] for packet in map(json.loads, lines) if "message" in packet]
    assert seqs == list(range(1, rounds + 1))
    for _, writer in stuck:
        writer.transport.abort()


async def test_slow_consumer_is_closed_resumable_and_complete_after(server_factory):
    server = server_factory({"net": {"write-queue-bytes": 65536}, "performance": {"max-frame-size": 32768}, "session": {"slow-consumer-after-ms": 500}, "limits": {"user": {"mode": "off"}}})
    _, writer = await stopped_reader(server, "bob")
    alice = await login(server, "alice", cls=TcpClient)
    for n in range(400):
        await alice.send("bob", "x" * 20000, f"m{n}")
    deadline = time.monotonic() + 20
    while server.metric('dunlin_disconnects_total{reason="slow_consumer"}') < 1:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    bob = await login(server, "bob", "d", cls=TcpClient)
    assert [m["seq"] for m in await bob.messages(400, 30)] == list(range(1, 401))
    writer.transport.abort()


async def turned_away(server, cls=WsClient, **options):
    """What one too many is told: the kick, and the close code (none on TCP)."""
    client = await cls.open(server, **options)
    if cls is TcpClient:
        await client.write({"id": 1, "connect": {"token": server.token("late"), "device": "d"}})
    await asyncio.wait_for(client.closed.wait(), 10)
    assert "connect" not in client.seen
    return client.kick, client.close_code


async def test_one_too_many_is_told_why_and_comes_in_later(server_factory):
    server = server_factory({"net": {"max-connections": 2}})
    held = [await login(server, "first"), await login(server, "second", cls=TcpClient)]
    for _ in range(3):
        kick, code = await turned_away(server)
        assert code == 4009 and kick == {"code": 4009, "name": "too_many_connections", "reconnect": "yes"}
        kick, _ = await turned_away(server, TcpClient)
        assert kick == {"code": 4009, "name": "too_many_connections", "reconnect": "yes"}
    reader, writer = await asyncio.open_connection(*server.tcp_address)
    writer.write(b'{"id":1,"ping":{}}\n')
    assert json.loads(await asyncio.wait_for(reader.read(), 10))["kick"]["code"] == 4009
    writer.close()
    await asyncio.gather(*[client.ping() for client in held])
    assert server.metric('dunlin_disconnects_total{reason="too_many_connections"}') == 7
    assert server.metric("dunlin_sessions") == 2 and server.metric("dunlin_accepted_total") == 9
    await held[0].close()
    deadline = time.monotonic() + 10
    while True:
        try:
            await login(server, "late")
            break
        except (Closed, websockets.ConnectionClosed):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def test_many_too_many_cost_a_bound_and_the_server_serves_on(server_factory):
    server = server_factory({"net": {"max-connections": 1}})
    held = await login(server, "first")
    silent = [await asyncio.open_connection(*server.tcp_address) for _ in range(200)]
    ends = [asyncio.create_task(reader.read()) for reader, _ in silent]
    await asyncio.sleep(0.5)
    waiting = sum(not end.done() for end in ends)
    assert waiting <= 64, "beyond the few that may hear why they are closed at once"
    await held.ping()
    done, _ = await asyncio.wait(ends, timeout=10)
    assert len(done) == 200
    assert (await turned_away(server))[1] == 4009
    await held.ping()
    for _, writer in silent:
        writer.close()


async def test_unsupported_version_is_named_where_a_client_can_read_it(server):
    host, port = server.ws.rsplit(":", 1)

    async def answer(address, request):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request)
        text = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return text.split(b"\r\n")[0], json.loads(text.splitlines()[-1])["error"]

    upgrade = b"GET /im HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    status, error = await answer((host, int(port)), upgrade + b"Sec-WebSocket-Protocol: dunlin.v9.json\r\n\r\n")
    assert b" 400 " in status and error["code"] == 4519 and error["name"] == "unsupported_version", error
    status, error = await answer((host, int(port)), upgrade.replace(b"HTTP/1.1", b"HTTP/2.0") + b"\r\n")
    assert b" 505 " in status and error["code"] == 4519, error
    _, error = await answer(server.tcp_address, b"\x16\x03\x01 a TLS client\r\n")
    assert error["code"] == 4519 and error["temporary"] is False, error


CROWD = """
import asyncio, json, sys, websockets
async def main(url, count):
    outcomes, held = [], []
    for _ in range(count):
        try:
            socket = await websockets.connect(url, subprotocols=["dunlin.v1.json"], close_timeout=2)
            held.append(socket)
            text = await asyncio.wait_for(socket.recv(), 0.3)
            kick = json.loads(text)["kick"]["name"]
            await socket.wait_closed()
            outcomes.append([kick, socket.close_code])
        except asyncio.TimeoutError:
            outcomes.append("open")
        except (OSError, EOFError, websockets.InvalidMessage):
            outcomes.append("reset")
    print(json.dumps(outcomes))
    for socket in held:
        await socket.close()
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.parametrize("limits, outcomes", [
    ({"connections": 2}, ["open"] * 2 + [["too_many_connections", 4009]] * 3),
    ({"connections": 0}, ["open"] * 5),
    ({"handshakes-per-s": 1, "connections": 0}, ["open"] * 2),  # and a third, fourth, … as seconds pass
    (ZERO, ["open"] * 5),
])
def test_client_that_comes_directly_from_an_address_that_is_not_exempt(server_factory, limits, outcomes):
    if why := own_network.missing():
        print(f"was not run: {why}")
        return
    here = own_network.ADDRESS
    server = server_factory({"websocket": {"listen": here}, "tcpsocket": {"listen": here}, "limits": {"ip": limits}}, prefix=own_network.prefix())
    seen = json.loads(own_network.run_beside(server, CROWD, server.ws_url, max(5, len(outcomes))))
    if "handshakes-per-s" in limits and limits["handshakes-per-s"]:
        assert seen[:2] == outcomes and "reset" in seen, seen
    else:
        assert seen == outcomes


@pytest.mark.parametrize("tls", [False, True])
async def test_upgrade_with_the_cookies_of_a_large_site(server_factory, tmp_path, tls):
    certificate = {}
    if tls:
        make_certificate(tmp_path, "localhost")
        certificate = {"tls": {"certificate-file": str(tmp_path / "tls.crt"), "key-file": str(tmp_path / "tls.key")}}
    server = server_factory(certificate)
    url = server.ws_url.replace("ws://", "wss://") if tls else server.ws_url
    context = ssl._create_unverified_context() if tls else None
    for size in (9_000, 20_000, 31_000, 40_000):
        cookies = "; ".join(f"c{i}={'x' * 1000}" for i in range(size // 1000))
        try:
            socket = await websockets.connect(url, ssl=context, subprotocols=["dunlin.v1.json"], extra_headers={"Cookie": cookies})
            await socket.send(json.dumps({"id": 1, "connect": {"token": server.token("alice"), "device": "d"}}))
            assert "connect" in json.loads(await socket.recv())
            await socket.close()
            assert size < 32_000
        except websockets.InvalidStatusCode as refused:
            assert size > 32_000 and refused.status_code == 431


@pytest.mark.deadline(120)
async def test_headers_that_never_end_are_bounded_together(server_factory):
    server = server_factory({"net": {"max-partial-bytes": 4 << 20, "header-deadline-ms": 20_000}})
    host, port = server.ws.rsplit(":", 1)
    start = b"GET /im HTTP/1.1\r\nHost: x\r\nCookie: "
    before = rss_bytes(server.process.pid)
    held = [await asyncio.open_connection(host, int(port)) for _ in range(300)]
    for _, writer in held:
        writer.write(start + b"c" * 30_000)
    ends = [asyncio.create_task(reader.read()) for reader, _ in held]
    done, waiting = await asyncio.wait(ends, timeout=3)
    assert 0 < len(waiting) <= 40, "a quarter of net.max-partial-bytes"
    for end in done:
        assert end.result().startswith(b"HTTP/1.1 503 ") and b"Retry-After: " in end.result() and b'"overloaded"' in end.result()
    if not SANITIZER:
        assert rss_bytes(server.process.pid) - before < 8 << 20
    await login(server, "alice")
    assert server.metric('dunlin_disconnects_total{reason="overloaded"}') == len(done)
    for _, writer in held:
        writer.transport.abort()


@pytest.mark.deadline(120)
async def test_memory_of_a_crowd_that_has_left_is_given_back(server_factory):
    server = server_factory({"log": {"level": "debug"}, "session": {"auth-deadline-ms": 60_000}})
    before = rss_bytes(server.process.pid)
    crowd = [await asyncio.open_connection(*server.tcp_address) for _ in range(2000)]
    for _, writer in crowd:
        writer.write(b'{"id":1,"x":"' + b"x" * 12_000)
    deadline = time.monotonic() + 20
    while (peak := rss_bytes(server.process.pid)) < before + (20 << 20):
        assert time.monotonic() < deadline, "the crowd costs nothing"
        await asyncio.sleep(0.1)
    for _, writer in crowd:
        writer.transport.abort()
    deadline = time.monotonic() + 30
    while "was given back" not in server.log:
        assert time.monotonic() < deadline, server.log[-2000:]
        await asyncio.sleep(0.2)
    after = rss_bytes(server.process.pid)
    print(f"{before >> 10} KiB before, {peak >> 10} at the peak, {after >> 10} after", [line for line in server.log.splitlines() if "given back" in line])
    if not SANITIZER:
        assert after - before < (peak - before) / 2
    await login(server, "alice")


async def test_open_descriptors_are_counted_as_the_kernel_lists_them(server):
    held = [await asyncio.open_connection(*server.tcp_address) for _ in range(50)]
    await login(server, "alice")
    deadline = time.monotonic() + 10
    while True:  # a probe of the server's own comes and goes
        listed, told = len(os.listdir(f"/proc/{server.process.pid}/fd")), server.metric("process_open_fds")
        if abs(listed - told) <= 1 and told > 50:
            break
        assert time.monotonic() < deadline, (listed, told)
    for _, writer in held:
        writer.close()
