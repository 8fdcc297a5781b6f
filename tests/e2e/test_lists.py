"""Lists read page by page while others write and read: they end, name everyone, and a client that only lists knows all that was answered."""

import asyncio
import random
import time
from collections import Counter

import pytest

from im_client import TcpClient, WsClient

LIMITS = (1, 3, 20)


async def login(server, user, device, cls=TcpClient):
    client = await cls.open(server)
    client.auto_ack = True
    await client.connect(server.token(user), device)
    return client


class Account:
    """alice, her conversations with `count` peers, and what the server has answered about them: the reference."""

    def __init__(self, server, count, seed, pause=0):
        self.server = server
        self.pause = pause  # of the client that lists, between two pages
        self.stopped = False
        self.peers = [f"peer{i}" for i in range(count)]
        self.random = random.Random(seed)
        self.head = Counter()  # peer -> highest seq answered
        self.read = Counter()
        self.ids = 0
        self.known_head = Counter()  # the same as a client knows it who does nothing but list
        self.known_read = Counter()

    async def open(self):
        self.viewer = await login(self.server, "alice", "viewer", WsClient)
        self.writers = [await login(self.server, "alice", f"writer{i}") for i in range(2)]
        waiting = []
        for peer in self.peers:
            waiting.append(asyncio.ensure_future(self.send(self.writers[0], peer)))
            if len(waiting) == 256:
                await asyncio.gather(*waiting)
                waiting = []
        await asyncio.gather(*waiting)
        return self

    async def send(self, client, peer):
        self.ids += 1
        reply = await client.send(peer, "text", f"m{self.ids}")
        self.head[peer] = max(self.head[peer], reply["seq"])

    async def write(self, client, count=None):
        """One of the writers: sends, and now and then reads."""
        while not self.stopped and (count is None or count > 0):
            peer = self.random.choice(self.peers)
            if self.random.random() < 0.2:
                seq = self.random.randrange(1, self.head[peer] + 1)
                reply = await client.request("read", {"conversation": f"p5:alice:{peer}", "seq": seq})
                self.read[peer] = max(self.read[peer], reply["read_seq"])
            else:
                await self.send(client, peer)
            count = None if count is None else count - 1

    async def list(self, limit, token=None):
        """(lines by peer, pages, sync_token) of a list read to its end, after it was judged."""
        head, read = Counter(self.head), Counter(self.read)
        times, pages, cursor, first = Counter(), 0, None, None
        deadline = time.monotonic() + 150
        while True:
            fields = {"limit": limit, **({"sync_token": token} if token else {}), **({"cursor": cursor} if cursor else {})}
            page = await self.viewer.request("sync", fields)
            pages += 1
            first = first or page["sync_token"]
            assert len(page["conversations"]) <= limit
            assert page["conversations"] or not cursor, "an empty page behind more"
            for line in page["conversations"]:
                times[line["with"]] += 1
                self.known_head[line["with"]] = max(self.known_head[line["with"]], line["head_seq"])
                self.known_read[line["with"]] = max(self.known_read[line["with"]], line["read_seq"])
            if not page["more"]:
                break
            cursor = page["cursor"]
            await asyncio.sleep(self.pause)
            assert time.monotonic() < deadline, f"{pages} pages with {times.total()} lines and no end"
        twice = [peer for peer, n in times.items() if n > 2]
        assert not twice, f"more than twice: {[(peer, times[peer]) for peer in twice]}"
        assert pages <= times.total() / limit + 1, "pages that are not full"
        for peer in self.peers:
            assert self.known_head[peer] >= head[peer], f"{peer}: a list omitted seq {head[peer]}, known {self.known_head[peer]}"
            assert self.known_read[peer] >= read[peer], f"{peer}: a list omitted the read position {read[peer]}, known {self.known_read[peer]}"
        return times, pages, first


@pytest.mark.deadline(300)
@pytest.mark.parametrize("count,rounds", [(60, 5), (2000, 1)])
async def test_lists_end_and_omit_nothing_while_others_write(server_factory, count, rounds):
    server = server_factory({"limits": {"user": {"mode": "off"}}})
    account = await Account(server, count, seed=60, pause=0.6 / count).open()
    tasks = [asyncio.ensure_future(account.write(account.writers[i % 2])) for i in range(8)]
    try:
        for limit in LIMITS:
            token = None
            for _ in range(rounds):
                times, pages, token = await account.list(limit)
                assert len(times) == count
                assert pages <= 1.1 * count / limit + 2, f"{pages} pages for {count} conversations, {limit} a page"
                for _ in range(2):
                    changed, pages, token = await account.list(limit, token)
                    assert pages <= 1.5 * len(changed) / limit + 2
                    await asyncio.sleep(0.05)
    finally:
        account.stopped = True
        await asyncio.gather(*tasks)


@pytest.mark.deadline(240)
async def test_lists_end_and_omit_nothing_while_the_log_enters_history(server_factory):
    """Activity is coalesced when a segment of the log enters history: what a list was begun at may then lie inside of what is one entry."""
    server = server_factory({"limits": {"user": {"mode": "off"}}, "store": {"log": {"segment-bytes": 1 << 20}}})
    account = await Account(server, 200, seed=61).open()
    body = "x" * 8000

    async def fill(client):
        while not account.stopped:
            peer = account.random.choice(account.peers)
            account.ids += 1
            reply = await client.request("send", {"to": peer, "client_msg_id": f"f{account.ids}", "body": body})
            account.head[peer] = max(account.head[peer], reply["seq"])

    tasks = [asyncio.ensure_future(fill(account.writers[i % 2])) for i in range(8)]
    try:
        for limit in (1, 7):
            for _ in range(3):
                times, pages, token = await account.list(limit)
                assert len(times) == 200
                assert pages <= 2 * 200 / limit + 2
                changed, pages, token = await account.list(limit, token)
                assert pages <= 2 * len(changed) / limit + 2
    finally:
        account.stopped = True
        await asyncio.gather(*tasks)


async def test_quiet_lists_name_each_once(server):
    account = await Account(server, 23, seed=62).open()
    for _ in range(60):
        await account.write(account.writers[0], 2)
        times, pages, _ = await account.list(3)
        assert set(times.values()) == {1} and len(times) == 23 and pages == 8
