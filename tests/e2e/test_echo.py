"""RFC 6455 behaviour of the transport, strictly, over raw sockets against dunlin-echo, in the order of the sections of public conformance suites
(1 framing, 2 pings, 3 reserved bits, 4 opcodes, 5 fragmentation, 6 UTF-8, 7 closing, 9 large messages, 10 tiny pieces), and then with python3-websockets."""

import asyncio
import base64
import hashlib
import os
import signal
import socket
import struct
import subprocess
import time

import pytest
import websockets

import im_server  # noqa: F401  (puts tests/support on the path)
from under_test import ECHO

TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


class Echo:
    def __init__(self):
        assert ECHO.exists(), f"{ECHO} is missing: build dunlin-echo, or set DUNLIN_ECHO"
        self.process = subprocess.Popen([str(ECHO), "0"], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.port = int(line.split("ws=")[1].split()[0].rsplit(":", 1)[1])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)


@pytest.fixture(scope="module")
def echo():
    server = Echo()
    yield server
    assert server.stop() == 0


def frame(opcode, payload=b"", fin=True, rsv=0, masked=True, length=None, mask=b"\x11\x22\x33\x44"):
    out = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if masked else 0
    size = len(payload) if length is None else length
    if size < 126:
        out += bytes([bit | size])
    elif size < 65536:
        out += bytes([bit | 126]) + struct.pack(">H", size)
    else:
        out += bytes([bit | 127]) + struct.pack(">Q", size)
    if masked:
        out += mask
        key = (mask * (len(payload) // 4 + 1))[: len(payload)]
        payload = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")
    return out + payload


class Peer:
    """A client that sends any bytes and reads frames strictly."""

    def __init__(self, port, headers=""):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self.send(
            f"GET /any HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n".encode()
        )
        while b"\r\n\r\n" not in self.rest:
            self.rest += self.some()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
        assert head.startswith(b"HTTP/1.1 101 ")
        assert accept in head

    def send(self, data):
        self.socket.sendall(data)

    def some(self):
        data = self.socket.recv(1 << 20)
        assert data, "the server closed the connection"
        return data

    def exactly(self, count):
        while len(self.rest) < count:
            self.rest += self.some()
        data, self.rest = self.rest[:count], self.rest[count:]
        return data

    def receive(self):
        first, second = self.exactly(2)
        assert first & 0x80, "the server does not fragment"
        assert not first & 0x70, "no reserved bits"
        assert not second & 0x80, "a server does not mask"
        size = second & 0x7F
        if size == 126:
            size = struct.unpack(">H", self.exactly(2))[0]
            assert size >= 126
        elif size == 127:
            size = struct.unpack(">Q", self.exactly(8))[0]
            assert size >= 65536
        return first & 0x0F, self.exactly(size)

    def expect(self, opcode, payload=b""):
        got = self.receive()
        assert got[0] == opcode
        assert got[1] == payload

    def expect_close(self, code):
        """The close frame with exactly this code (None = none), then the end of TCP from the server's side."""
        opcode, payload = self.receive()
        assert opcode == CLOSE, (opcode, payload[:40])
        if code is None:
            assert payload == b""
        else:
            assert struct.unpack(">H", payload[:2])[0] == code
            payload[2:].decode("utf-8")
        assert self.rest == b""
        assert self.socket.recv(100) == b"", "nothing follows a close frame, and the server ends TCP"
        self.socket.close()

    def leave(self):
        self.send(frame(CLOSE, struct.pack(">H", 1000)))
        self.expect_close(1000)


@pytest.fixture
def peer(echo):
    return Peer(echo.port)


# -- 1: framing
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65535, 65536, 70000])
def test_echoes_every_length(peer, opcode, size):
    payload = (b"*" if opcode == TEXT else b"\xfe") * size
    peer.send(frame(opcode, payload))
    peer.expect(opcode, payload)
    peer.leave()


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 997])
def test_echoes_a_frame_that_comes_in_pieces(peer, chunk):
    payload = b"*" * (200 if chunk < 10 else 65536)
    data = frame(TEXT, payload)
    for i in range(0, len(data), chunk):
        peer.send(data[i : i + chunk])
    peer.expect(TEXT, payload)
    peer.leave()


# -- 2: pings
@pytest.mark.parametrize("payload", [b"", b"Hello, world!", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125])
def test_answers_a_ping_with_its_payload(peer, payload):
    peer.send(frame(PING, payload))
    peer.expect(PONG, payload)
    peer.leave()


def test_refuses_a_ping_over_125_bytes(peer):
    peer.send(frame(PING, b"\xfe" * 126))
    peer.expect_close(1002)


def test_answers_a_ping_that_comes_byte_by_byte(peer):
    for byte in frame(PING, b"\xfe" * 125):
        peer.send(bytes([byte]))
    peer.expect(PONG, b"\xfe" * 125)
    peer.leave()


def test_ignores_unasked_pongs(peer):
    peer.send(frame(PONG) + frame(PONG, b"unasked") + frame(PING, b"asked"))
    peer.expect(PONG, b"asked")
    peer.leave()


def test_answers_many_pings_in_order(peer):
    peer.send(b"".join(frame(PING, b"payload-%d" % i) for i in range(100)))
    for i in range(100):
        peer.expect(PONG, b"payload-%d" % i)
    peer.leave()


# -- 3: reserved bits
@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
def test_refuses_reserved_bits(peer, rsv, opcode):
    payload = struct.pack(">H", 1000) if opcode == CLOSE else b"x"
    peer.send(frame(TEXT, b"before") + frame(opcode, payload, rsv=rsv) + frame(PING))
    peer.expect(TEXT, b"before")
    peer.expect_close(1002)


# -- 4: opcodes
@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("payload", [b"", b"reserved opcode payload"])
def test_refuses_reserved_opcodes(peer, opcode, payload):
    peer.send(frame(TEXT, b"before") + frame(opcode, payload) + frame(PING))
    peer.expect(TEXT, b"before")
    peer.expect_close(1002)


def test_refuses_unmasked_frames(peer):
    peer.send(frame(TEXT, b"x", masked=False))
    peer.expect_close(1002)


@pytest.mark.parametrize(
    "data",
    [b"\x81\xfe\x00\x7d\x01\x02\x03\x04", b"\x81\xff" + struct.pack(">Q", 65535) + b"\x01\x02\x03\x04", b"\x81\xff" + struct.pack(">Q", 1 << 63)],
)
def test_refuses_lengths_not_in_shortest_form(peer, data):
    peer.send(data)
    peer.expect_close(1002)


# -- 5: fragmentation
@pytest.mark.parametrize("opcode", [PING, PONG])
def test_refuses_fragmented_control_frames(peer, opcode):
    peer.send(frame(opcode, b"one", fin=False) + frame(CONT, b"two"))
    peer.expect_close(1002)


@pytest.mark.parametrize("chunk", [0, 1, 7])
@pytest.mark.parametrize("ping", [False, True])
def test_joins_fragments_with_pings_between(peer, chunk, ping):
    data = frame(TEXT, b"fragment1", fin=False) + (frame(PING, b"between") if ping else b"") + frame(CONT, b"fragment2")
    for i in range(0, len(data), chunk or len(data)):
        peer.send(data[i : i + (chunk or len(data))])
    if ping:
        peer.expect(PONG, b"between")
    peer.expect(TEXT, b"fragment1fragment2")
    peer.leave()


@pytest.mark.parametrize("fin", [False, True])
def test_refuses_a_continuation_of_nothing(peer, fin):
    peer.send(frame(CONT, b"non-continuation", fin=fin) + frame(TEXT, b"Hello"))
    peer.expect_close(1002)


def test_refuses_a_continuation_after_a_finished_message(peer):
    peer.send(frame(TEXT, b"a", fin=False) + frame(CONT, b"b") + frame(CONT, b"c", fin=False))
    peer.expect(TEXT, b"ab")
    peer.expect_close(1002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_refuses_a_new_message_inside_a_fragmented_one(peer, opcode):
    peer.send(frame(TEXT, b"a", fin=False) + frame(opcode, b"b"))
    peer.expect_close(1002)


def test_answers_pings_while_a_message_is_open(peer):
    peer.send(frame(TEXT, b"f1", fin=False) + frame(CONT, b"f2", fin=False) + frame(PING, b"p1"))
    peer.expect(PONG, b"p1")
    peer.send(frame(CONT, b"f3", fin=False) + frame(CONT, b"f4", fin=False) + frame(PING, b"p2") + frame(CONT, b"f5"))
    peer.expect(PONG, b"p2")
    peer.expect(TEXT, b"f1f2f3f4f5")
    peer.leave()


@pytest.mark.parametrize("parts", [[b"", b"", b""], [b"", b"middle", b""]])
def test_joins_empty_fragments(peer, parts):
    peer.send(frame(TEXT, parts[0], fin=False) + frame(CONT, parts[1], fin=False) + frame(CONT, parts[2]))
    peer.expect(TEXT, b"".join(parts))
    peer.leave()


# -- 6: UTF-8
VALID = [
    "Hello-µ@ßöäüàá-UTF-8!!".encode(),
    "κόσμε".encode(),
    b"\x00",
    b"\x7f",
    b"\xc2\x80",
    b"\xdf\xbf",
    b"\xe0\xa0\x80",
    b"\xef\xbf\xbf",
    b"\xed\x9f\xbf",
    b"\xee\x80\x80",
    b"\xef\xbf\xbd",
    b"\xf0\x90\x80\x80",
    b"\xf4\x8f\xbf\xbf",
    b"\xf0\x9f\xbf\xbe",
]
INVALID = [
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64",
    b"\x80",
    b"\xbf",
    b"\x80\xbf\x80",
    b"\xc0 ",
    b"\xc0\x80",
    b"\xc0\xaf",
    b"\xc1\xbf",
    b"\xe0\x80\x80",
    b"\xe0\x9f\xbf",
    b"\xf0\x80\x80\x80",
    b"\xf0\x8f\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xfe",
    b"\xff",
    b"\xfe\xfe\xff\xff",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xce",
    b"\xe2\x82",
    b"\xf0\x9f\x90",
    b"ok\xe2\x28\xa1",
]


@pytest.mark.parametrize("text", VALID)
@pytest.mark.parametrize("split", [False, True])
def test_echoes_valid_utf8(peer, text, split):
    if split:  # a frame for each byte
        peer.send(frame(TEXT, b"", fin=False) + b"".join(frame(CONT, text[i : i + 1], fin=False) for i in range(len(text))) + frame(CONT))
    else:
        peer.send(frame(TEXT, text))
    peer.expect(TEXT, text)
    peer.leave()


@pytest.mark.parametrize("text", INVALID)
@pytest.mark.parametrize("split", [False, True])
def test_refuses_invalid_utf8(peer, text, split):
    if split:
        peer.send(frame(TEXT, b"", fin=False) + b"".join(frame(CONT, text[i : i + 1], fin=False) for i in range(len(text))) + frame(CONT))
    else:
        peer.send(frame(TEXT, text))
    peer.expect_close(1007)


def test_fails_at_the_first_invalid_fragment(peer):
    peer.send(frame(TEXT, "κόσμε".encode(), fin=False))
    peer.send(frame(CONT, b"\xf4\x90\x80\x80", fin=False))
    peer.expect_close(1007)


def test_fails_at_the_first_invalid_byte_of_an_unfinished_frame(peer):
    data = frame(TEXT, "κόσμε".encode() + b"\xf4\x90\x80\x80" + b"edited")
    peer.send(data[: 6 + 11 + 2])
    peer.expect_close(1007)


def test_does_not_check_binary(peer):
    peer.send(frame(BINARY, b"\xff\xfe\x80"))
    peer.expect(BINARY, b"\xff\xfe\x80")
    peer.leave()


# -- 7: closing
def test_answers_a_close_and_ignores_what_follows(peer):
    peer.send(frame(TEXT, b"last") + frame(CLOSE, struct.pack(">H", 1000) + b"bye") + frame(TEXT, b"after") + frame(PING))
    peer.expect(TEXT, b"last")
    peer.expect_close(1000)


def test_closes_once_when_told_twice(peer):
    peer.send(frame(CLOSE, struct.pack(">H", 1000)) * 2)
    peer.expect_close(1000)


def test_closes_within_a_fragmented_message(peer):
    peer.send(frame(TEXT, b"open", fin=False) + frame(CLOSE, struct.pack(">H", 1000)) + frame(CONT, b"rest"))
    peer.expect_close(1000)


def test_answers_an_empty_close_with_an_empty_one(peer):
    peer.send(frame(CLOSE))
    peer.expect_close(None)


@pytest.mark.parametrize("payload", [b"\x03", b"\x03\xe8" + b"*" * 124])
def test_refuses_malformed_close_payloads(peer, payload):
    peer.send(frame(CLOSE, payload))
    peer.expect_close(1002)


def test_takes_the_longest_reason(peer):
    peer.send(frame(CLOSE, struct.pack(">H", 1000) + b"*" * 123))
    peer.expect_close(1000)


def test_refuses_a_reason_that_is_not_utf8(peer):
    peer.send(frame(CLOSE, struct.pack(">H", 1000) + b"\xce\xba\xed\xa0\x80"))
    peer.expect_close(1007)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])
def test_answers_valid_close_codes(peer, code):
    peer.send(frame(CLOSE, struct.pack(">H", code)))
    peer.expect_close(code)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_refuses_invalid_close_codes(peer, code):
    peer.send(frame(CLOSE, struct.pack(">H", code)))
    peer.expect_close(1002)


# -- 9: large messages
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("fragment", [64 * 1024, 4 * 1024 * 1024, 16 * 1024 * 1024])
def test_echoes_sixteen_mebibytes(peer, opcode, fragment):
    payload = b"*" * (16 << 20)
    pieces = [payload[i : i + fragment] for i in range(0, len(payload), fragment)]
    for i, piece in enumerate(pieces):
        peer.send(frame(opcode if i == 0 else CONT, piece, fin=i == len(pieces) - 1))
    peer.expect(opcode, payload)
    peer.leave()


def test_echoes_a_message_of_65536_fragments(peer):
    peer.send(frame(BINARY, b"*" * 64, fin=False) + frame(CONT, b"*" * 64, fin=False) * 65534 + frame(CONT, b"*" * 64))
    peer.expect(BINARY, b"*" * 64 * 65536)
    peer.leave()


def test_refuses_over_sixteen_mebibytes_from_the_header(peer):
    peer.send(frame(BINARY, length=(16 << 20) + 1))
    peer.expect_close(1009)


def test_refuses_the_longest_length_without_allocating(echo, peer):
    def resident():
        with open(f"/proc/{echo.process.pid}/statm") as f:
            return int(f.read().split()[1]) * 4096

    before = resident()
    peer.send(frame(BINARY, length=(1 << 63) - 1))
    peer.expect_close(1009)
    assert resident() - before < 1 << 20


def test_refuses_too_many_fragments(peer):
    peer.send(frame(BINARY, b"", fin=False) + frame(CONT, b"", fin=False) * 70000)
    peer.expect_close(1009)


# -- 10: one message in many TCP pieces
def test_echoes_65536_bytes_sent_in_pieces_of_1300(peer):
    data = frame(TEXT, b"*" * 65536)
    for i in range(0, len(data), 1300):
        peer.send(data[i : i + 1300])
    peer.expect(TEXT, b"*" * 65536)
    peer.leave()


# -- beyond the suites
def test_takes_frames_that_come_with_the_upgrade(echo):
    raw = socket.create_connection(("127.0.0.1", echo.port), timeout=20)
    raw.sendall(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + frame(TEXT, b"early") + frame(CLOSE)
    )
    data = b""
    while chunk := raw.recv(4096):
        data += chunk
    assert data.endswith(b"\r\n\r\n\x81\x05early\x88\x00")


def test_takes_an_upgrade_that_comes_byte_by_byte(echo):
    raw = socket.create_connection(("127.0.0.1", echo.port), timeout=20)
    request = (
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    for byte in request + frame(TEXT, b"early") + frame(CLOSE):
        raw.sendall(bytes([byte]))
    data = b""
    while chunk := raw.recv(4096):
        data += chunk
    assert data.endswith(b"\r\n\r\n\x81\x05early\x88\x00")


@pytest.mark.parametrize(
    "request_bytes,status",
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 33_000 + b"\r\n\r\n", 431),
        (b"\x16\x03\x01\x02\x00", 400),
    ],
)
def test_refuses_what_is_no_upgrade_with_its_status(echo, request_bytes, status):
    raw = socket.create_connection(("127.0.0.1", echo.port), timeout=20)
    raw.sendall(request_bytes)
    data = b""
    while chunk := raw.recv(4096):
        data += chunk
    assert data.startswith(b"HTTP/1.1 %d " % status)


def test_a_peer_that_does_not_read_costs_bounded_memory(echo):
    stuck = Peer(echo.port)
    stuck.socket.settimeout(2)
    payload = frame(BINARY, b"*" * (1 << 20))
    sent = 0
    try:
        while sent < 400 << 20:
            stuck.socket.sendall(payload)
            sent += len(payload)
    except TimeoutError:
        pass
    assert sent < 400 << 20, "the server stopped reading"
    other = Peer(echo.port)
    other.send(frame(TEXT, b"alive"))
    other.expect(TEXT, b"alive")
    other.leave()
    stuck.socket.close()


def test_many_clients_of_another_implementation(echo):
    async def one(number):
        async with websockets.connect(f"ws://127.0.0.1:{echo.port}/path", max_size=None) as client:
            for i in range(50):
                text = f"{number}:{i}:" + "ü" * (i * 37)
                await client.send(text)
                assert await client.recv() == text
            await client.send(b"\x00\x01" * 100000)
            assert await client.recv() == b"\x00\x01" * 100000

    async def many():
        await asyncio.gather(*(one(n) for n in range(50)))

    asyncio.run(asyncio.wait_for(many(), 60))


def test_ends_on_a_signal_with_clients_connected():
    server = Echo()
    client = Peer(server.port)
    begin = time.monotonic()
    server.process.send_signal(signal.SIGINT)
    opcode, payload = client.receive()
    assert opcode == CLOSE and struct.unpack(">H", payload[:2])[0] == 4000
    client.send(frame(CLOSE, payload))
    assert server.process.wait(10) == 0
    assert time.monotonic() - begin < 10


def test_a_port_in_use_is_an_error_that_names_it(echo):
    second = subprocess.run([str(ECHO), str(echo.port)], capture_output=True, text=True, timeout=20)
    assert second.returncode == 1
    assert f"127.0.0.1:{echo.port}" in second.stderr
