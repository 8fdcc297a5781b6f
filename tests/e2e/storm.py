"""Many connections that do random things at random moments: connect twice, send, ack, read, sync, cut, close, log out, half a frame.

Nothing is asserted about single answers (each is some reply, an error, or a close); at the end the server must still be what it was: every
acked message of the storm is in history at its seq, and a new client is served. Meant to be run under the sanitizers.
"""

import asyncio
import random
import struct

import websockets

from im_client import Closed, Refused, TcpClient, WsClient

USERS = 4
DEVICES = 3
LOST = (Closed, Refused, OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, websockets.WebSocketException, EOFError)


class Walker:
    def __init__(self, server, number, rng, acked):
        self.server, self.number, self.rng, self.acked = server, number, rng, acked
        self.client = None
        self.sent = 0
        self.conversations = []
        self.heads = {}  # as far as its own messages tell

    async def open(self):
        user = f"storm{self.rng.randrange(USERS)}"
        self.client = await self.rng.choice((WsClient, TcpClient)).open(self.server)
        self.client.auto_ack = self.rng.random() < 0.7
        self.user = user
        connect = await self.client.raw("connect", {"token": self.server.token(user), "device": f"d{self.rng.randrange(DEVICES)}"})
        if self.rng.random() < 0.3:
            await self.send()  # behind connect, without waiting
        if self.rng.random() < 0.9:
            await asyncio.wait_for(connect, 20)

    async def send(self):
        self.sent += 1
        identity = f"w{self.number}-{self.sent}"
        peer = f"storm{self.rng.randrange(USERS)}"
        user = self.user
        future = await self.client.raw("send", {"to": peer, "client_msg_id": identity, "body": "x" * self.rng.choice((1, 100, 20000))})

        def settle(done):
            if not done.cancelled() and done.exception() is None and "send" in done.result():
                reply = done.result()["send"]
                self.acked[(user, identity)] = (reply["conversation"], reply["seq"])
                self.conversations.append(reply["conversation"])
                self.heads[reply["conversation"]] = max(reply["seq"], self.heads.get(reply["conversation"], 0))

        future.add_done_callback(settle)

    def some_seq(self, conversation):
        """One that is there; now and then none, for which its device is reset."""
        return self.rng.randrange(1, self.heads[conversation] + 1) if self.rng.random() < 0.95 else 10**6

    async def step(self):
        if self.client is None or self.client.closed.is_set():
            await self.open()
            return
        client, rng = self.client, self.rng
        kind = rng.randrange(16)
        if kind < 5:
            for _ in range(rng.randrange(1, 20)):
                await self.send()
        elif kind == 5:
            await client.raw("sync", {"limit": rng.randrange(1, 20)})
        elif kind == 6 and self.conversations:
            await client.raw("history", {"conversation": rng.choice(self.conversations), "limit": rng.randrange(1, 50)})
        elif kind == 7 and self.conversations:
            conversation = rng.choice(self.conversations)
            await client.raw("read", {"conversation": conversation, "seq": self.some_seq(conversation)})
        elif kind == 8 and self.conversations:
            conversation = rng.choice(self.conversations)
            await client.ack(conversation, self.some_seq(conversation))
        elif kind == 9:
            await client.raw("ping", {})
        elif kind == 10:
            await client.write({"typing": {"to": f"storm{rng.randrange(USERS)}"}})
        elif kind == 11:
            client.cut()
        elif kind == 12:
            await asyncio.wait_for(client.close(), 20)
        elif kind == 13:
            await client.raw("logout", {})
        elif kind == 14:
            raw = client.writer if isinstance(client, TcpClient) else client.socket.transport
            raw.write(struct.pack(">I", 500) + b'{"id":1,"pi' if isinstance(client, TcpClient) else b"\x81\xfe\x01")
            if rng.random() < 0.5:
                client.cut()
        else:
            await asyncio.sleep(rng.uniform(0, 0.05))

    async def run(self, until):
        while asyncio.get_running_loop().time() < until:
            try:
                await self.step()
            except LOST:
                if self.client:
                    self.client.cut()
                self.client = None
        if self.client:
            self.client.cut()


async def storm(server, seconds, connections, seed):
    rng = random.Random(seed)
    acked = {}
    until = asyncio.get_running_loop().time() + seconds
    walkers = [Walker(server, f"{seed}-{i}", random.Random(rng.random()), acked) for i in range(connections)]
    await asyncio.gather(*[walker.run(until) for walker in walkers])
    assert acked, "the storm sent nothing"
    await check(server, acked)


async def check(server, acked):
    by_conversation = {}
    for (user, identity), (conversation, seq) in acked.items():
        by_conversation.setdefault((conversation, user), {})[identity] = seq
    for (conversation, user), expected in by_conversation.items():
        client = await TcpClient.open(server)
        client.auto_ack = True
        await client.connect(server.token(user), "auditor")
        place, after = {}, 0
        while True:
            page = await client.request("history", {"conversation": conversation, "after_seq": after, "limit": 200})
            for message in page["messages"]:
                assert message["seq"] == after + 1, f"hole before {message['seq']} in {conversation}"
                after = message["seq"]
                assert (message["from"], message["client_msg_id"]) not in place, "stored twice"
                place[(message["from"], message["client_msg_id"])] = after
            if not page["more"]:
                break
        for identity, seq in expected.items():
            assert place.get((user, identity)) == seq, (conversation, identity, seq, place.get((user, identity)))
        await client.close()
