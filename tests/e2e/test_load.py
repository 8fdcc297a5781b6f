"""What holds under load: one place for a message however often it is sent, heartbeats beside a full queue, storms, memory that comes back."""

import asyncio
import json
import random
import time

import pytest

from im_client import TcpClient, WsClient, stopped_reader
from storm import storm
from under_test import SANITIZER


async def login(server, user, device="d1", cls=WsClient, **fields):
    client = await cls.open(server)
    client.auto_ack = True
    await client.connect(server.token(user), device, **fields)
    return client


@pytest.mark.deadline(180)
async def test_ten_thousand_messages_resent_at_random_are_stored_once_each(server_factory):
    """1 to 5 sends of each message, over several connections and a restart; the log has each once and every answer names the same place."""
    total = 10_000
    server = server_factory({"limits": {"user": {"mode": "off"}}, "store": {"log": {"segment-bytes": 1 << 20}}})
    rng = random.Random(18)
    place = {}

    async def send_all(client, numbers):
        window = []
        for n in numbers:
            window.append((n, await client.raw("send", {"to": "bob", "client_msg_id": f"n{n}", "body": n})))
            if len(window) == 400:
                await settle(window)
        await settle(window)

    async def settle(window):
        for n, future in window:
            reply = (await asyncio.wait_for(future, 30))["send"]
            assert place.setdefault(n, reply["seq"]) == reply["seq"], n
        window.clear()

    first = list(range(total))
    repeats = [n for n in first for _ in range(rng.randrange(0, 5))]
    rng.shuffle(repeats)
    half = len(repeats) // 2
    clients = [await login(server, "alice", f"d{i}", cls=TcpClient) for i in range(3)]
    await send_all(clients[0], first)
    await asyncio.gather(*[send_all(client, repeats[i:half:3]) for i, client in enumerate(clients)])
    await asyncio.gather(*[client.close() for client in clients])
    server.restart()
    clients = [await login(server, "alice", f"d{i}", cls=TcpClient) for i in range(3)]
    await asyncio.gather(*[send_all(client, repeats[half + i :: 3]) for i, client in enumerate(clients)])
    assert place == {n: n + 1 for n in range(total)}
    newest = await clients[0].request("history", {"with": "bob", "limit": 1})
    assert newest["messages"][0]["seq"] == total


async def test_pings_are_answered_while_the_data_queue_is_at_its_bound(server_factory):
    server = server_factory({"net": {"write-queue-bytes": 65536}, "performance": {"max-frame-size": 32768}, "limits": {"user": {"mode": "off"}}})
    reader, writer = await stopped_reader(server, "bob")
    alice = await login(server, "alice", cls=TcpClient)
    deadline = time.monotonic() + 40
    n = 0
    while server.metric("dunlin_lagging_sessions") < 1:
        assert time.monotonic() < deadline, "the queue never filled"
        await asyncio.gather(*[await alice.raw("send", {"to": "bob", "client_msg_id": f"m{n}-{i}", "body": "x" * 20000}) for i in range(20)])
        n += 1
    for i in range(5):
        writer.write(b'{"id":%d,"ping":{}}\n' % (100 + i))
    await writer.drain()
    await asyncio.sleep(0.2)
    # The answers stand behind at most the data that was queued already, not behind all that waits in the store.
    writer.transport.resume_reading()
    pongs, data_before = [], 0
    while len(pongs) < 5:
        packet = json.loads(await asyncio.wait_for(reader.readuntil(b"\n"), 20))
        if "ping" in packet:
            pongs.append(packet["id"])
        elif "message" in packet and not pongs:
            data_before += 20000
    assert pongs == [100, 101, 102, 103, 104]
    assert data_before < n * 20 * 20000, "the pongs came after all data"
    writer.transport.abort()


def rss_bytes(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


@pytest.mark.deadline(150)
async def test_memory_of_connections_comes_back(server_factory):
    """Rounds of connections that come, log in and go: after the first rounds memory stays where it is."""
    server = server_factory({"performance": {"worker-threads": 1}})
    tokens = [server.token(f"u{i}") for i in range(100)]

    async def one(number):
        reader, writer = await asyncio.open_connection(*server.tcp_address)
        writer.write(json.dumps({"id": 1, "connect": {"token": tokens[number % 100], "device": f"d{number // 100}"}}).encode() + b"\n")
        assert b'"connect"' in await asyncio.wait_for(reader.readline(), 30)
        writer.transport.abort()

    async def round_of(count):
        for begin in range(0, count, 200):
            await asyncio.gather(*[one(number) for number in range(begin, begin + 200)])
        deadline = time.monotonic() + 20
        while server.metric("dunlin_connections") > 0:
            assert time.monotonic() < deadline, "connections were not given back"
            await asyncio.sleep(0.05)
        return rss_bytes(server.process.pid)

    levels = [await round_of(2000) for _ in range(5)]
    if not SANITIZER:
        assert levels[-1] <= levels[1] * 1.05 + (1 << 20), levels


@pytest.mark.deadline(120)
async def test_random_storm_leaves_a_server_that_serves_and_stops_cleanly(server_factory):
    server = server_factory({"store": {"log": {"segment-bytes": 1 << 20}}, "session": {"heartbeat-interval-ms": 500}, "net": {"write-queue-bytes": 65536}, "performance": {"max-frame-size": 32768}})
    await storm(server, seconds=15, connections=30, seed=19)
    alice, bob = await login(server, "alice"), await login(server, "bob", cls=TcpClient)
    await alice.send("bob", "after the storm", "x1")
    assert (await bob.push("message"))["body"] == {"text": "after the storm"}
    await asyncio.gather(alice.close(), bob.close())
    assert await asyncio.to_thread(server.stop) == 0
