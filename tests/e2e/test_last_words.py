"""A send that is followed at once by the end of its connection is stored and delivered all the same, however the connection ends."""

import json
import socket
import struct

import pytest

from im_client import TcpClient, WsClient


def end(sock, how):
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half-close":
        sock.shutdown(socket.SHUT_WR)
    else:
        sock.close()


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
@pytest.mark.parametrize("lines", [True, False])
async def test_send_before_the_end_of_a_tcp_connection_is_delivered(server, how, lines):
    bob = await TcpClient.open(server)
    await bob.connect(server.token("bob"))
    with socket.create_connection(server.tcp_address) as sock:
        sock.settimeout(10)

        def write(packet):
            data = json.dumps(packet).encode()
            sock.sendall(data + b"\n" if lines else struct.pack(">I", len(data)) + data)

        write({"id": 1, "connect": {"token": server.token("alice"), "device": "d"}})
        assert b'"connect"' in sock.recv(4096)
        write({"id": 2, "send": {"to": "bob", "client_msg_id": "last", "body": "words"}})
        end(sock, how)
        message = await bob.push("message")
        assert (message["client_msg_id"], message["seq"], message["body"]) == ("last", 1, "words")


async def test_send_before_a_websocket_is_cut_is_delivered(server):
    bob, alice = await WsClient.open(server), await WsClient.open(server)
    await bob.connect(server.token("bob"))
    await alice.connect(server.token("alice"))
    await alice.raw("send", {"to": "bob", "client_msg_id": "last", "body": "words"})
    await alice.socket.close()
    assert (await bob.push("message"))["client_msg_id"] == "last"


BODIES = ["1e400", "-0", "-0.0", "12345678901234567890", "0.1000", "1E+2", "null", '""', '{"a":1,"a":2}', '{ "a" :  1 }', '"\\ud83d"', '"\\u0000"', '"a\\/b"', '"ü\U0001f600"', "[1,\t2]", "[" * 64 + "]" * 64]


async def test_bodies_reach_the_other_side_letter_by_letter(server):
    alice = await TcpClient.open(server)
    await alice.connect(server.token("alice"))
    with socket.create_connection(server.tcp_address) as sock:
        sock.settimeout(10)
        lines = sock.makefile("rwb")
        lines.write(json.dumps({"id": 1, "connect": {"token": server.token("bob"), "device": "d"}}).encode() + b"\n")
        lines.flush()
        assert b'"connect"' in lines.readline()
        for i, body in enumerate(BODIES):
            await alice.write(b'{"send":{"to":"bob","client_msg_id":"m%d","body":%s}}' % (i, body.encode()))
        for body in BODIES:
            assert lines.readline().endswith(b'"body":%s}}\n' % body.encode()), body
