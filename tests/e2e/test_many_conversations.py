"""A device with more conversations waiting, or in flight, than any bound of delivery: 512 unacked conversations, 64 entries and 100 messages
of a page. Nothing may be missing, whatever is acked when, from the log's window and from history."""

import asyncio
import collections
import json
import time

from im_client import TcpClient, WsClient

BOUND = 512
QUIET = {"limits": {"user": {"mode": "off"}}}


async def login(server, user, device="d1", cls=WsClient):
    client = await cls.open(server)
    await client.connect(server.token(user), device)
    return client


async def chorus(server, names):
    """One connection that writes as many: users by name share nothing but the loop."""
    clients = {}
    for chunk in range(0, len(names), 50):
        part = names[chunk:chunk + 50]
        for name, client in zip(part, await asyncio.gather(*[login(server, name, cls=TcpClient) for name in part])):
            clients[name] = client
    return clients


async def say(clients, names, to, tag):
    await asyncio.gather(*[clients[name].send(to, "hi", f"{tag}-{name}") for name in names])


async def away(server, user, device="phone"):
    """A device that is known, and away."""
    client = await login(server, user, device, cls=TcpClient)
    await client.close()


class Reader:
    """Checks the order of what it gets: the next of its conversation, or a duplicate."""

    def __init__(self):
        self.have = collections.Counter()
        self.duplicates = 0

    def take(self, message):
        conversation, seq = message["conversation"], message["seq"]
        if seq <= self.have[conversation]:
            self.duplicates += 1
            return
        assert seq == self.have[conversation] + 1, f"{conversation}: {seq} after {self.have[conversation]}"
        self.have[conversation] = seq

    def positions(self):
        return [{"conversation": c, "seq": s} for c, s in self.have.items()]


async def read_all(client, expected, ack_every, deadline_s=60):
    """Reads until `expected` messages are there, and acks all it has after each `ack_every` pushes and when nothing comes."""
    reader, since = Reader(), 0
    until = time.monotonic() + deadline_s
    while sum(reader.have.values()) < expected:
        assert time.monotonic() < until, f"{sum(reader.have.values())} of {expected} came"
        try:
            reader.take(await client.push("message", 1))
            since += 1
            if since % ack_every:
                continue
        except asyncio.TimeoutError:
            pass
        positions = reader.positions()
        for at in range(0, len(positions), 1000):
            await client.write({"ack": {"positions": positions[at:at + 1000]}})
    return reader


async def test_two_that_interleave_behind_the_bound_come_whole(server_factory):
    server = server_factory(QUIET)
    await away(server, "bob")
    names = [f"s{i}" for i in range(BOUND + 2)]
    clients = await chorus(server, names)
    await say(clients, names[:BOUND], "bob", "one")
    for tag in ("a", "b"):
        for name in names[BOUND:]:
            await clients[name].send("bob", tag, f"{tag}-{name}")
    bob = await login(server, "bob", "phone", cls=TcpClient)
    assert bob.hello["limits"]["max_unacked_conversations"] == BOUND
    reader = await read_all(bob, BOUND + 4, 1)
    assert reader.duplicates == 0
    assert server.metric('dunlin_delivery_waits_total{for="acks"}') > 0, "the bound was not reached"
    await bob.close()
    again = await login(server, "bob", "phone", cls=TcpClient)
    assert again.hello["changed"] == []
    await again.nothing()


async def test_a_thousand_waiting_conversations_come_whole_whatever_the_acks(server_factory):
    server = server_factory({**QUIET, "store": {"log": {"segment-bytes": 262144}}})
    for ack_every in (1, 37, 500, 501):
        await away(server, "bob", f"d{ack_every}")
    names = [f"s{i}" for i in range(1000)]
    clients = await chorus(server, names)
    for round_ in range(3):
        await say(clients, names, "bob", f"r{round_}")
    for ack_every in (1, 37, 500, 501):
        if ack_every == 501:  # once more, from history
            for i in range(20):  # segments behind all of it, so that it is sealed
                await clients[names[0]].send("others", "z" * 40_000, f"z{i}")
            server.restart()  # a stop lets the indexer finish what is sealed, however busy the machine
        bob = await login(server, "bob", f"d{ack_every}", cls=TcpClient)
        reader = await read_all(bob, 3000, ack_every)
        assert reader.duplicates == 0, ack_every
        await bob.close()
    assert server.metric("dunlin_store_disk_rows_read_total") > 1000


async def test_second_device_of_a_bot_that_writes_to_a_thousand_users(server_factory):
    server = server_factory(QUIET)
    bot = await login(server, "bot", "sender", cls=TcpClient)
    other = await login(server, "bot", "other", cls=TcpClient)
    reading = asyncio.create_task(read_all(other, 3000, 10**9, 90))
    for round_ in range(3):
        for at in range(0, 1000, 100):
            await asyncio.gather(*[bot.send(f"u{i}", "hello", f"{round_}-{i}") for i in range(at, at + 100)])
    await reading


async def test_who_acks_late_is_not_closed_and_gets_everything(server_factory):
    server = server_factory({**QUIET, "session": {"slow-consumer-after-ms": 500}})
    bob = await login(server, "bob", "phone", cls=TcpClient)
    names = [f"s{i}" for i in range(700)]
    clients = await chorus(server, names)
    await say(clients, names, "bob", "one")
    got = await bob.messages(BOUND, 20)
    await bob.nothing(seconds=1.5)
    assert not bob.closed.is_set() and bob.kick is None
    assert (await bob.ping()) is not None
    for m in got:
        await bob.ack(m["conversation"], m["seq"])
    assert len({m["conversation"] for m in got + await bob.messages(700 - BOUND, 20)}) == 700


async def test_the_bound_is_a_setting(server_factory):
    server = server_factory({**QUIET, "session": {"max-unacked-conversations": 3}})
    bob = await login(server, "bob", "phone", cls=TcpClient)
    assert bob.hello["limits"]["max_unacked_conversations"] == 3
    clients = await chorus(server, [f"s{i}" for i in range(9)])
    await say(clients, list(clients), "bob", "one")
    got = await bob.messages(3)
    await bob.nothing()
    for m in got:
        await bob.ack(m["conversation"], m["seq"])
    assert len(await bob.messages(3)) == 3


async def test_a_heartbeat_repeats_no_own_messages(server_factory):
    server = server_factory({**QUIET, "session": {"retransmit-after-ms": 200}})
    bob, alice = await login(server, "bob", cls=TcpClient), await login(server, "alice", cls=WsClient)
    await alice.send("bob", "first", "a0")
    for n in range(300):
        await bob.send("alice", "own", f"free-{n}")
        if n % 10 == 0:
            await alice.send("bob", "between", f"a{n + 1}")
    seen = len(await bob.messages(31))
    await asyncio.sleep(0.3)
    await bob.ping()
    again = await bob.messages(seen)
    assert all(m["from"] == "alice" for m in again), json.dumps(again[:3])
    await bob.nothing()
