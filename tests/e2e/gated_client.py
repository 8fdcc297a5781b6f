"""Clients that stop to read when told so, and hand every packet to the party that they belong to (driver.py)."""

import asyncio
import json
import socket
import struct

from google.protobuf import json_format
from google.protobuf.internal.decoder import _DecodeVarint32
from google.protobuf.internal.encoder import _VarintBytes

from im_client import Refused, TcpClient, WsClient

REPLY_DEADLINE_S = 40  # the machine may be busy


class Gated:
    """Hands every packet to its party, and stops to read while the gate is closed."""

    def __init__(self):
        super().__init__()
        self.party = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def _take(self, packet):
        await self.gate.wait()
        if "id" in packet:
            if "connect" in packet and self.party:  # noted now, since pushes come right behind it
                self.party.session = packet["connect"]["session"]
            return await super()._take(packet)
        if "kick" in packet:
            self.kick = packet["kick"]
        if self.party and self.party.client is self:
            self.party.taken(packet)

    async def request_within(self, command, body):
        packet = await asyncio.wait_for(await self.raw(command, body), REPLY_DEADLINE_S)
        if "error" in packet:
            raise Refused(packet["error"])
        return packet[command]


class GatedWs(Gated, WsClient):
    pass


class GatedTcp(Gated, TcpClient):
    """The kernel and this process keep little for it, so that the server's queue is what fills."""

    @classmethod
    async def open(cls, server):
        self = cls()
        sock = socket.socket()
        # Before connect: the window that is offered, and the size of segments, by which the kernel on the server's side measures its buffer.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1200)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, server.tcp_address)
        self.reader, self.writer = await asyncio.open_connection(sock=sock, limit=1 << 14)
        return self.start()


def fields_of(message):
    """A Protobuf message as the JSON encoding has it; absent what is at its default."""
    out = {}
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            value = [fields_of(v) for v in value] if field.label == field.LABEL_REPEATED else fields_of(value)
        elif field.name == "body":
            value = json.loads(value)
        elif field.type == field.TYPE_ENUM:
            value = field.enum_type.values_by_number[value].name
        out[field.name] = value
    return out


class GatedProtobuf(GatedTcp):
    """The same requests and packets, as Protobuf over TCP. `schema`: the generated module."""

    schema = None

    async def _packets(self):
        try:
            while True:
                size = struct.unpack(">I", await self.reader.readexactly(4))[0]
                data, at = await self.reader.readexactly(size), 0
                while at < len(data):
                    size, at = _DecodeVarint32(data, at)
                    packet = self.schema.ServerPacket()
                    packet.ParseFromString(data[at:at + size])
                    at += size
                    kind_of = packet.WhichOneof("content")
                    content = getattr(packet, kind_of)
                    kind = content.WhichOneof(content.DESCRIPTOR.oneofs[0].name)
                    head = {"id": content.id} if kind_of == "reply" else {}
                    yield json.dumps({**head, kind: fields_of(getattr(content, kind))})
        finally:
            self.writer.close()

    async def write(self, packet):
        request, body = self.schema.Request(), None
        packet = json.loads(json.dumps(packet))
        if "send" in packet:
            body = packet["send"].pop("body")
        json_format.ParseDict(packet, request)
        if body is not None:
            request.send.body = json.dumps(body).encode()
        raw = request.SerializeToString()
        raw = _VarintBytes(len(raw)) + raw
        self.writer.write(struct.pack(">I", len(raw)) + raw)
        await self.writer.drain()
