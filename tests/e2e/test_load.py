"""What holds under load: one place for a message however often it is sent, heartbeats beside a full queue, storms, memory that comes back."""

import asyncio
import json
import random
import resource
import select
import socket
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


def allow_descriptors(wanted):
    """Raises how many this process and its children may have open, as far as that goes: to how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, wanted))
            hard = wanted
        except (ValueError, PermissionError):
            pass
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


class SilentSockets:
    """Connections, a quarter each: nothing to the WebSocket port, half a request, a whole one and then nothing, nothing to TCP."""

    HALF = b"GET /im HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    WHOLE = HALF + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    IP_BIND_ADDRESS_NO_PORT = 24  # the port is chosen at connect(), from all those that are free for this pair of addresses

    def __init__(self, server):
        host, port = server.ws.rsplit(":", 1)
        web = (host, int(port))
        self.kinds = [(web, b""), (web, self.HALF), (web, self.WHOLE), (server.tcp_address, b"")]
        self.readable = select.epoll()
        self.open = {}

    async def connect(self, count):
        for number in range(count):
            address, words = self.kinds[number % len(self.kinds)]
            one = socket.socket()
            self.open[one.fileno()] = one
            one.setsockopt(socket.SOL_IP, self.IP_BIND_ADDRESS_NO_PORT, 1)
            one.bind((f"127.0.1.{1 + number // 4000}", 0))
            one.connect(address)
            one.setblocking(False)
            one.send(words)
            self.readable.register(one, select.EPOLLIN)
            if number % 100 == 99:
                await asyncio.sleep(0)

    async def all_are_ended(self):
        """Waits until each has read its end; what else comes is an answer to a request or says why."""
        deadline = time.monotonic() + 60
        while self.open:
            assert time.monotonic() < deadline, f"{len(self.open)} are still open"
            for descriptor, _ in self.readable.poll(0, 500):
                try:
                    ended = not self.open[descriptor].recv(4096)
                except ConnectionResetError:
                    ended = True
                if ended:
                    self.open.pop(descriptor).close()
            await asyncio.sleep(0.001)

    def close(self):
        for one in self.open.values():
            one.close()
        self.readable.close()


@pytest.mark.deadline(180)
async def test_tens_of_thousands_of_silent_sockets_are_ended_by_their_deadlines(server_factory):
    """Twice as many as 50,000 or what this machine allows, while a client is served; the second time costs no memory that the first did not."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        allowed = allow_descriptors(52_000)
        server = server_factory({"net": {"header-deadline-ms": 2500}, "session": {"auth-deadline-ms": 2500}})
        count = min(50_000, allowed - 1000) // 1000 * 1000
        if SANITIZER:
            count = min(count, 5000)
        print(f"{count} silent sockets; this process may have {allowed} descriptors")
        assert count >= 5000
        good, other = await login(server, "good"), await login(server, "other", cls=TcpClient)
        served, over = 0, asyncio.Event()

        async def be_served():
            nonlocal served
            while not over.is_set():
                served += 1
                assert (await good.send("other", "still here", f"m{served}"))["seq"] == served
                assert (await other.push("message"))["seq"] == served
                await asyncio.sleep(0.02)

        serving = asyncio.create_task(be_served())
        levels = []
        for number in range(2):
            silent, served_before = SilentSockets(server), served
            try:
                await silent.connect(count)
                most, peak = server.metric("process_open_fds"), rss_bytes(server.process.pid)
                await (await login(server, f"newcomer{number}")).close()
                await silent.all_are_ended()
            finally:
                silent.close()
            deadline = time.monotonic() + 30
            while server.metric("dunlin_connections") > 2:
                assert time.monotonic() < deadline, "connections were not given back"
                await asyncio.sleep(0.02)
            assert served > served_before and not serving.done()
            levels.append(rss_bytes(server.process.pid))
            print(f"{most:.0f} descriptors in use, then {peak >> 20} MiB resident, {levels[-1] >> 20} MiB after, {served - served_before} messages meanwhile")
        over.set()
        await serving
        upgraded, opening = (server.metric(f'dunlin_disconnects_total{{reason="{name}"}}') for name in ("auth_timeout", "client_not_upgraded"))
        assert upgraded >= count // 2 and opening >= count and upgraded + opening == 2 * count
        if not SANITIZER:
            assert levels[1] <= levels[0] * 1.05 + (1 << 20), levels
    finally:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        except (ValueError, PermissionError):
            pass


@pytest.mark.deadline(120)
async def test_random_storm_leaves_a_server_that_serves_and_stops_cleanly(server_factory):
    server = server_factory({"store": {"log": {"segment-bytes": 1 << 20}}, "session": {"heartbeat-interval-ms": 500}, "net": {"write-queue-bytes": 65536}, "performance": {"max-frame-size": 32768}})
    await storm(server, seconds=15, connections=30, seed=19)
    alice, bob = await login(server, "alice"), await login(server, "bob", cls=TcpClient)
    await alice.send("bob", "after the storm", "x1")
    assert (await bob.push("message"))["body"] == {"text": "after the storm"}
    await asyncio.gather(alice.close(), bob.close())
    assert await asyncio.to_thread(server.stop) == 0
