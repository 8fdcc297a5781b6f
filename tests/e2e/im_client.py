"""Protocol clients for tests, JSON over WebSocket (python3-websockets) or over TCP (a plain socket), not using our own client."""

import asyncio
import json
import socket
import ssl
import struct

import websockets

REPLY_DEADLINE_S = 10


class Refused(Exception):
    def __init__(self, error):
        super().__init__(f"{error.get('name')}: {error.get('message')}")
        self.error = error
        self.name = error.get("name")


class Closed(Exception):
    pass


class Client:
    """Requests by id, pushes by kind. Made by `await WsClient.open(server)` or `await TcpClient.open(server)`."""

    def __init__(self):
        self.next_id = 1
        self.waiting = {}
        self.pushes = asyncio.Queue()
        self.seen = []  # every push, in order
        self.kick = None
        self.close_code = None
        self.closed = asyncio.Event()
        self.hello = None
        self.auto_ack = False
        self._reader = None

    def start(self):
        self._reader = asyncio.create_task(self._read())
        return self

    async def _read(self):
        try:
            async for text in self._packets():
                for line in text.split("\n"):
                    if line:
                        await self._take(json.loads(line))
        except (OSError, asyncio.IncompleteReadError, websockets.ConnectionClosed):
            pass
        finally:
            self.closed.set()
            for future in self.waiting.values():
                if not future.done():
                    future.set_exception(Closed(f"closed with {self.kick or self.close_code}"))
            self.waiting.clear()
            self.pushes.put_nowait(None)

    async def _take(self, packet):
        if "id" in packet:
            future = self.waiting.pop(packet["id"], None)
            if future and not future.done():
                future.set_result(packet)
            return
        if "kick" in packet:
            self.kick = packet["kick"]
        self.seen.append(packet)
        if self.auto_ack and "message" in packet:
            m = packet["message"]
            await self.ack(m["conversation"], m["seq"])
        self.pushes.put_nowait(packet)

    # -- requests

    async def raw(self, command, body):
        """Sends a request; returns a future of the whole reply packet."""
        request = self.next_id
        self.next_id += 1
        future = asyncio.get_running_loop().create_future()
        self.waiting[request] = future
        await self.write({"id": request, command: body})
        return future

    async def request(self, command, body):
        packet = await asyncio.wait_for(await self.raw(command, body), REPLY_DEADLINE_S)
        if "error" in packet:
            raise Refused(packet["error"])
        return packet[command]

    async def connect(self, token, device="d1", **more):
        self.hello = await self.request("connect", {"token": token, "device": device, **more})
        return self.hello

    async def send(self, to, text, client_msg_id, **more):
        return await self.request("send", {"to": to, "client_msg_id": client_msg_id, "body": {"text": text}, **more})

    async def ack(self, conversation, seq):
        await self.write({"ack": {"positions": [{"conversation": conversation, "seq": seq}]}})

    async def ping(self):
        return await self.request("ping", {})

    # -- pushes

    async def push(self, kind, timeout=REPLY_DEADLINE_S):
        """The next push of this kind; others before it are passed over."""

        async def wait():
            while True:
                packet = await self.pushes.get()
                if packet is None:
                    raise Closed(f"closed with {self.kick or self.close_code}")
                if kind in packet:
                    return packet[kind]

        return await asyncio.wait_for(wait(), timeout)

    async def messages(self, count, timeout=REPLY_DEADLINE_S):
        return [await self.push("message", timeout) for _ in range(count)]

    async def nothing(self, kind="message", seconds=0.3):
        """Asserts that no push of this kind comes for a while."""
        try:
            packet = await self.push(kind, seconds)
        except asyncio.TimeoutError:
            return
        raise AssertionError(f"unexpected {kind}: {packet}")


class WsClient(Client):
    @classmethod
    async def open(cls, server, subprotocols=("dunlin.v1.json",), **options):
        self = cls()
        self.socket = await websockets.connect(server.ws_url, subprotocols=list(subprotocols) or None, max_size=None, **{"close_timeout": 2, **options})
        return self.start()

    @classmethod
    async def open_tls(cls, server):
        self = cls()
        context = ssl._create_unverified_context()
        self.socket = await websockets.connect(server.ws_url.replace("ws://", "wss://"), ssl=context, subprotocols=["dunlin.v1.json"], close_timeout=2)
        return self.start()

    async def _packets(self):
        try:
            async for message in self.socket:
                yield message
        finally:
            self.close_code = self.socket.close_code

    async def write(self, packet):
        await self.socket.send(packet if isinstance(packet, (str, bytes)) else json.dumps(packet))

    async def close(self):
        await self.socket.close()
        await self.closed.wait()

    def cut(self):
        """Ends the connection without a close handshake."""
        self.socket.transport.abort()


class TcpClient(Client):
    @classmethod
    async def open(cls, server):
        self = cls()
        host, port = server.tcp_address
        self.reader, self.writer = await asyncio.open_connection(host, port)
        return self.start()

    async def _packets(self):
        try:
            while True:
                size = struct.unpack(">I", await self.reader.readexactly(4))[0]
                yield (await self.reader.readexactly(size)).decode()
        finally:
            self.writer.close()  # as the server waits for our end of the stream

    async def write(self, packet):
        data = packet if isinstance(packet, bytes) else json.dumps(packet).encode()
        self.writer.write(struct.pack(">I", len(data)) + data)
        await self.writer.drain()

    async def close(self):
        self.writer.close()
        await self.closed.wait()

    def cut(self):
        self.writer.transport.abort()


async def stopped_reader(server, user, device="d"):
    """A connected client by hand that reads no more: (reader, writer). The kernel's buffers on its side are as small as they get."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # before connect: it is the window that is offered
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, server.tcp_address)
    reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 16)
    writer.write(json.dumps({"id": 1, "connect": {"token": server.token(user), "device": device}}).encode() + b"\n")
    assert "connect" in json.loads(await reader.readline())
    writer.transport.pause_reading()
    return reader, writer
