"""Protobuf on WebSocket and TCP, with classes that protoc generated for Python from the published schema."""

import asyncio
import base64
import json
import struct

import pytest
import websockets
from google.protobuf.internal.decoder import _DecodeVarint32
from google.protobuf.internal.encoder import _VarintBytes

from im_client import WsClient


def delimited(*packets):
    return b"".join(_VarintBytes(len(raw)) + raw for raw in (p.SerializeToString() for p in packets))


class ProtobufClient:
    """Packets over one of the transports; `next(kind)` gives the next reply or push of that kind."""

    def __init__(self, schema):
        self.schema = schema
        self.packets = asyncio.Queue()
        self.passed_over = []  # replies may come in another order than their requests

    async def over_websocket(self, server):
        self.socket = await websockets.connect(server.ws_url, subprotocols=["dunlin.v1.protobuf"], close_timeout=2)
        assert self.socket.subprotocol == "dunlin.v1.protobuf"
        self.write = self.socket.send

        async def read():
            async for frame in self.socket:
                self._split(frame)

        self.task = asyncio.create_task(read())
        return self

    async def over_tcp(self, server):
        self.reader, self.writer = await asyncio.open_connection(*server.tcp_address)

        async def write(payload):
            self.writer.write(struct.pack(">I", len(payload)) + payload)

        async def read():
            while True:
                size = struct.unpack(">I", await self.reader.readexactly(4))[0]
                self._split(await self.reader.readexactly(size))

        self.write = write
        self.task = asyncio.create_task(read())
        return self

    def _split(self, data):
        assert isinstance(data, bytes)
        at = 0
        while at < len(data):
            size, at = _DecodeVarint32(data, at)
            packet = self.schema.ServerPacket()
            packet.ParseFromString(data[at : at + size])
            self.packets.put_nowait(packet)
            at += size

    async def next(self, kind):
        for content in self.passed_over:
            if content.WhichOneof(content.DESCRIPTOR.oneofs[0].name) == kind:
                self.passed_over.remove(content)
                return content
        while True:
            packet = await asyncio.wait_for(self.packets.get(), 10)
            content = getattr(packet, packet.WhichOneof(packet.DESCRIPTOR.oneofs[0].name))
            inner = content.WhichOneof(content.DESCRIPTOR.oneofs[0].name)
            if inner == kind:
                return content
            self.passed_over.append(content)

    async def connect(self, server, user):
        request = self.schema.Request(id=1)
        request.connect.token = server.token(user)
        request.connect.device = "d"
        await self.write(delimited(request))
        return (await self.next("connect")).connect


@pytest.mark.parametrize("transport", ["over_websocket", "over_tcp"])
async def test_protobuf_speaks_with_json(server, schema, transport):
    binary = await getattr(ProtobufClient(schema), transport)(server)
    hello = await binary.connect(server, "alice")
    assert hello.user == "alice" and hello.heartbeat_interval_ms == 30000
    text = await WsClient.open(server)
    await text.connect(server.token("bob"), "d")
    send, ping = schema.Request(id=2), schema.Request(id=3)
    send.send.to, send.send.client_msg_id, send.send.body = "bob", "x1", b'{"text":"hi"}'
    ping.ping.SetInParent()
    await binary.write(delimited(send, ping))
    reply = await binary.next("send")
    assert reply.id == 2 and reply.send.seq == 1
    assert (await binary.next("ping")).id == 3
    message = await text.push("message")
    assert message["body"] == {"text": "hi"} and "content_type" not in message
    await text.send("alice", "back", "y1")
    push = await binary.next("message")
    assert push.message.seq == 2 and getattr(push.message, "from") == "bob" and json.loads(push.message.body) == {"text": "back"}
    binary.task.cancel()


async def test_binary_body_reaches_json_as_base64(server, schema):
    binary = await ProtobufClient(schema).over_websocket(server)
    await binary.connect(server, "alice")
    text = await WsClient.open(server)
    await text.connect(server.token("bob"), "d")
    send = schema.Request(id=2)
    send.send.to, send.send.client_msg_id, send.send.body, send.send.content_type = "bob", "x1", b"\x00\xff\x10", "image/png"
    await binary.write(delimited(send))
    await binary.next("send")
    message = await text.push("message")
    assert base64.b64decode(message["body_base64"]) == b"\x00\xff\x10" and message["content_type"] == "image/png" and "body" not in message
    binary.task.cancel()


async def test_bad_protobuf_gets_an_error_and_the_connection_lives(server, schema):
    binary = await ProtobufClient(schema).over_websocket(server)
    await binary.connect(server, "alice")
    bad_json = schema.Request(id=5)
    bad_json.send.to, bad_json.send.client_msg_id, bad_json.send.body = "bob", "x1", b"{nope"
    empty = schema.Request(id=6)
    for payload, name in ((delimited(bad_json), "bad_request"), (delimited(empty), "unknown_command"), (b"\x05\xff\xff\xff\xff\xff", "bad_request"), (b"\x7f\x08", "bad_request")):
        await binary.write(payload)
        assert (await binary.next("error")).error.name == name
        ping = schema.Request(id=7)
        ping.ping.SetInParent()
        await binary.write(delimited(ping))
        assert (await binary.next("ping")).id == 7
    binary.task.cancel()


async def test_frames_of_no_bytes_before_the_first_packet_change_nothing(server, schema):
    client = await ProtobufClient(schema).over_tcp(server)
    await client.write(b"")
    await client.write(b"")
    assert (await client.connect(server, "alice")).user == "alice"


@pytest.mark.parametrize("transport", ["over_websocket", "over_tcp"])
async def test_one_too_many_is_told_so_in_its_encoding(server_factory, schema, transport):
    server = server_factory({"net": {"max-connections": 1}})
    first = await ProtobufClient(schema).over_websocket(server)
    await first.connect(server, "alice")
    late = await getattr(ProtobufClient(schema), transport)(server)
    if transport == "over_tcp":
        await late.write(delimited(schema.Request(id=1)))
    assert (await late.next("kick")).kick.code == 4009
    if transport == "over_websocket":
        await asyncio.wait_for(late.socket.wait_closed(), 10)
        assert late.socket.close_code == 4009
