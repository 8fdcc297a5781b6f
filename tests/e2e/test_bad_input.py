"""Bad input of each kind, the error each gets, and a server that goes on serving after each."""

import asyncio
import json
import socket
import struct

import pytest

from im_client import TcpClient, WsClient
from under_test import SANITIZER


async def login(server, user, cls=TcpClient):
    client = await cls.open(server)
    client.auto_ack = True
    await client.connect(server.token(user), "d1")
    return client


async def still_serves(server, tag):
    alice = await login(server, f"witness-{tag}")
    assert (await alice.send("someone", "still here", f"w-{tag}"))["seq"] >= 1
    await alice.close()


SEND = '{"id":9,"send":{"to":"bob","client_msg_id":"m","body":%s}}'
# packet text -> error name. The connection lives on after each of them.
PACKETS = {
    "not JSON": ("hello", "bad_request"),
    "truncated object": ('{"id":9,"ping":{}', "bad_request"),
    "truncated string": ('{"id":9,"send":{"to":"bo', "bad_request"),
    "empty object": ("{}", "unknown_command"),
    "only an id": ('{"id":9}', "unknown_command"),
    "array": ("[1,2]", "bad_request"),
    "number": ("{]", "bad_request"),
    "unknown command": ('{"id":9,"fly":{}}', "unknown_command"),
    "command of a wrong type": ('{"id":9,"send":7}', "bad_request"),
    "id of a wrong type": ('{"id":"nine","ping":{}}', "bad_request"),
    "id negative": ('{"id":-1,"ping":{}}', "bad_request"),
    "id beyond 2^53": ('{"id":9007199254740993,"ping":{}}', "bad_request"),
    "to of a wrong type": ('{"id":9,"send":{"to":5,"client_msg_id":"m","body":1}}', "bad_request"),
    "to empty": ('{"id":9,"send":{"to":"","client_msg_id":"m","body":1}}', "bad_request"),
    "to too long": ('{"id":9,"send":{"to":"%s","client_msg_id":"m","body":1}}' % ("x" * 65), "bad_request"),
    "no target": ('{"id":9,"send":{"client_msg_id":"m","body":1}}', "bad_request"),
    "two targets": ('{"id":9,"send":{"to":"bob","conversation":"p3:bob:eve","client_msg_id":"m","body":1}}', "bad_request"),
    "no client_msg_id": ('{"id":9,"send":{"to":"bob","body":1}}', "bad_request"),
    "client_msg_id empty": ('{"id":9,"send":{"to":"bob","client_msg_id":"","body":1}}', "bad_request"),
    "client_msg_id too long": ('{"id":9,"send":{"to":"bob","client_msg_id":"%s","body":1}}' % ("x" * 65), "bad_request"),
    "client_msg_id with a control character": ('{"id":9,"send":{"to":"bob","client_msg_id":"a\\u0000b","body":1}}', "bad_request"),
    "no body": ('{"id":9,"send":{"to":"bob","client_msg_id":"m"}}', "bad_request"),
    "body cut": (SEND % "", "bad_request"),
    "body not closed": (SEND % '{"a":', "bad_request"),
    "body with a bare word": (SEND % "{nope}", "bad_request"),
    "body with a wrong literal": (SEND % "[tru]", "bad_request"),
    "body with a leading zero": (SEND % "[01]", "bad_request"),
    "body with a trailing comma": (SEND % "[1,]", "bad_request"),
    "body with two values": (SEND % "1 2", "bad_request"),
    "body with a wrong escape": (SEND % '["\\x"]', "bad_request"),
    "body with half a surrogate": (SEND % '{"a":"\\ud800"}', None),  # JSON grammar allows it; kept verbatim
    "body nested too deep": (SEND % ("[" * 2000 + "]" * 2000), "bad_request"),
    "packet nested too deep": ('{"id":9,"ping":' + '{"a":' * 2000 + "1" + "}" * 2001, "bad_request"),
    "durability unknown": ('{"id":9,"send":{"to":"bob","client_msg_id":"m","body":1,"durability":"marble"}}', "bad_request"),
    "connect twice": ('{"id":9,"connect":{"token":"x","device":"d"}}', "wrong_state"),
    "history with both ends": ('{"id":9,"history":{"with":"bob","before_seq":5,"after_seq":1}}', "bad_request"),
    "history limit negative": ('{"id":9,"history":{"with":"bob","limit":-1}}', "bad_request"),
    "seq as text": ('{"id":9,"read":{"conversation":"p3:bob:eve","seq":"1"}}', "bad_request"),
    "seq with a fraction": ('{"id":9,"read":{"conversation":"p3:bob:eve","seq":1.5}}', "bad_request"),
    "ack of a wrong type": ('{"id":9,"ack":{"positions":{}}}', "bad_request"),
    "sync of another's conversation": ('{"id":9,"sync":{"conversations":["p3:bob:carol"]}}', "forbidden"),
    "sync of no conversation": ('{"id":9,"sync":{"conversations":["nonsense"]}}', "not_found"),
    "sync of numbers": ('{"id":9,"sync":{"conversations":[1]}}', "bad_request"),
    "sync of named ones with a limit": ('{"id":9,"sync":{"conversations":["p5:alice:bob"],"limit":2}}', "bad_request"),
    "sync of too many": ('{"id":9,"sync":{"conversations":[' + ",".join(['"p5:alice:bob"'] * 101) + "]}}", "too_large"),
    "sync cursor of garbage": ('{"id":9,"sync":{"cursor":"###"}}', "bad_request"),
}


@pytest.mark.parametrize("cls", [TcpClient, WsClient])
async def test_each_bad_packet_gets_its_error_and_the_connection_lives(server, cls):
    client = await login(server, "alice", cls)
    for name, (text, expected) in PACKETS.items():
        client.next_id = 100
        unmatched = asyncio.get_running_loop().create_future()
        client.waiting[9] = unmatched
        await client.write(text.encode() if cls is TcpClient else text)
        if expected is None:
            assert "send" in await asyncio.wait_for(unmatched, 10), name
            continue
        reply = await first_error(client, unmatched)
        assert reply["error"]["name"] == expected, (name, reply)
        assert reply["error"]["message"] and reply["error"]["temporary"] is False
        client.waiting.pop(9, None)
        await client.ping()
    await still_serves(server, cls.__name__)


async def first_error(client, by_id):
    """The error reply, with the request's id where that could be read, else without one."""
    push = asyncio.create_task(client.push("error"))
    done, _ = await asyncio.wait({push, asyncio.ensure_future(by_id)}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    assert done, "no answer"
    if push in done:
        return {"error": push.result()}
    push.cancel()
    return by_id.result()


async def test_bad_packet_does_not_take_its_neighbours_along(server):
    client = await login(server, "alice")
    futures = [asyncio.get_running_loop().create_future() for _ in range(3)]
    client.waiting.update(dict(zip((11, 12, 13), futures)))
    frame = b'{"id":11,"ping":{}}\n{"id":12,"send":{"to":7}}\n{"id":13,"ping":{}}'
    await client.write(frame)
    first, bad, last = await asyncio.wait_for(asyncio.gather(*futures), 10)
    assert "ping" in first and bad["error"]["name"] == "bad_request" and "ping" in last


async def test_commands_before_connect_are_refused(server):
    for text in ('{"id":1,"ping":{}}', '{"id":1,"send":{"to":"bob","client_msg_id":"m","body":1}}', '{"id":1,"sync":{}}', '{"id":1,"history":{"with":"bob"}}'):
        client = await TcpClient.open(server)
        future = asyncio.get_running_loop().create_future()
        client.waiting[1] = future
        await client.write(text.encode())
        assert (await asyncio.wait_for(future, 10))["error"]["name"] in ("wrong_state", "unauthorized")
        client.cut()
    await still_serves(server, "before")


async def test_bad_device_ids_are_refused(server):
    for device in ("", "x" * 65, "a\nb", 7, None):
        client = await TcpClient.open(server)
        reply = await (await client.raw("connect", {"token": server.token("alice"), "device": device}))
        assert reply["error"]["name"] == "bad_request", device
        client.cut()


async def test_invalid_utf8_is_refused_on_both_transports(server):
    tcp = await login(server, "alice")
    future = asyncio.get_running_loop().create_future()
    tcp.waiting[9] = future
    await tcp.write(b'{"id":9,"send":{"to":"bob","client_msg_id":"m","body":"\xff\xfe"}}')
    reply = await first_error(tcp, future)
    assert reply["error"]["name"] == "bad_request"
    await tcp.ping()
    ws = await login(server, "alice2", WsClient)
    ws.socket.transport.write(b"\x81\x83\0\0\0\0\xff\xfe\xfd")
    await asyncio.wait_for(ws.closed.wait(), 10)
    assert ws.close_code == 1007
    await still_serves(server, "utf8")


@pytest.mark.parametrize("length", [65_537, 1 << 20, (1 << 32) - 1])
async def test_oversized_tcp_payload_is_refused_before_it_is_read(server, length):
    client = await login(server, "alice")
    client.writer.write(struct.pack(">I", length) + b"{" * 10)
    await asyncio.wait_for(client.closed.wait(), 10)
    text = json.dumps(client.seen)
    assert "too_large" in text or client.kick, client.seen
    await still_serves(server, f"big{length}")


async def test_oversized_websocket_message_is_closed_with_1009(server):
    client = await login(server, "alice", WsClient)
    await client.socket.send(json.dumps({"id": 5, "send": {"to": "bob", "client_msg_id": "x", "body": "x" * 70000}}))
    await asyncio.wait_for(client.closed.wait(), 10)
    assert client.close_code == 1009
    await still_serves(server, "ws-big")


def fragments(payload, count):
    """A text message in this many frames, as equal as can be, each with a mask of zeros."""
    frames = bytearray()
    for i in range(count):
        piece = payload[i * len(payload) // count : (i + 1) * len(payload) // count]
        frames += bytes([(0x80 if i == count - 1 else 0) | (1 if i == 0 else 0), 0x80 | len(piece), 0, 0, 0, 0]) + piece
    return bytes(frames)


async def test_message_of_too_many_fragments_is_closed_with_1009(server):
    """It has 60,000 bytes, less than the limit for those, so that it is their number that is refused. As many as allowed are taken."""
    body = json.dumps({"id": 77, "send": {"to": "bob", "client_msg_id": "f", "body": "x" * 59900}}).encode()
    whole = await login(server, "alice", WsClient)
    answer = whole.waiting[77] = asyncio.get_running_loop().create_future()
    whole.socket.transport.write(fragments(body, 1024))
    assert (await asyncio.wait_for(answer, 10))["send"]["seq"] == 1
    for count in (1025, 70_000):
        client = await login(server, "alice", WsClient)
        client.socket.transport.write(fragments(body.replace(b'"f"', b'"%d"' % count), count))
        await asyncio.wait_for(client.closed.wait(), 20)
        assert client.close_code == 1009, count
        await still_serves(server, f"fragments-{count}")
    page = await (await login(server, "bob")).request("history", {"with": "alice"})
    assert [m["seq"] for m in page["messages"]] == [1]


def rss_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


async def test_header_of_2_to_the_63_costs_nothing(server):
    before = rss_kib(server.process.pid)
    sockets = []
    for i in range(50):
        client = await WsClient.open(server)
        client.socket.transport.write(b"\x82\xff" + struct.pack(">Q", (1 << 63) - 1) + b"abcd")
        sockets.append(client)
    for client in sockets:
        await asyncio.wait_for(client.closed.wait(), 10)
        assert client.close_code in (1009, 1002)
    assert SANITIZER or rss_kib(server.process.pid) - before < 8 * 1024
    await still_serves(server, "2^63")


async def test_first_byte_that_is_no_length_gets_a_readable_line(server):
    reader, writer = await asyncio.open_connection(*server.tcp_address)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    assert answer.endswith(b"\n") and b"8081" in answer or b"length" in answer or b"TCP" in answer, answer
    await still_serves(server, "http-on-tcp")


@pytest.mark.parametrize("empty_frames", [1, 3])
async def test_frames_of_no_bytes_choose_no_encoding(server, empty_frames):
    for split in (False, True):
        client = await TcpClient.open(server)
        client.writer.write(bytes(4 * empty_frames))
        if split:
            await asyncio.sleep(0.1)
        assert (await client.connect(server.token("alice"), "d1"))["user"] == "alice"
        client.writer.write(bytes(4))  # nor do they harm later
        await client.ping()
        await client.close()


async def test_line_mode_by_hand(server):
    with socket.create_connection(server.tcp_address) as by_hand:
        file = by_hand.makefile("rwb")
        file.write(json.dumps({"id": 1, "connect": {"token": server.token("alice"), "device": "nc"}}).encode() + b"\n")
        file.write(b'{"id":2,"send":{"to":"bob","client_msg_id":"x1","body":{"text":"hi"}}}\n{"id":3,"ping":{}}\n')
        file.flush()
        replies = [await asyncio.to_thread(file.readline) for _ in range(3)]
    kinds = [next(k for k in json.loads(r) if k != "id") for r in replies]
    assert kinds[0] == "connect" and sorted(kinds[1:]) == ["ping", "send"]  # what waits for the disk is overtaken


INJECTIONS = ["a\r\nERROR forged: line", "\x1b[31mred", "a\u2028b", "%s%n", "${jndi:ldap://x}"]


async def test_no_client_text_can_forge_a_log_line(server_factory):
    server = server_factory({"log": {"level": "debug"}})
    for i, text in enumerate(INJECTIONS):
        client = await TcpClient.open(server)
        try:
            await client.raw("connect", {"token": text, "device": text, "platform": text})
            await asyncio.wait_for(client.closed.wait(), 5)
        except asyncio.TimeoutError:
            pass
        client.cut()
        alice = await TcpClient.open(server)
        refused = await (await alice.raw("connect", {"token": server.token("alice"), "device": "d", "platform": text + "\x01"}))
        assert refused["error"]["name"] == "bad_request"
        await alice.connect(server.token("alice"), "d", platform="".join(c for c in text if c.isprintable()))
        await alice.raw("send", {"to": text, "client_msg_id": text, "body": text})
        await alice.ping()
        await alice.close()
    await asyncio.sleep(0.2)
    for line in server.log.splitlines():
        assert line[:4].isdigit() and "\x1b" not in line, repr(line)


async def test_worst_case_bodies_are_cheap(server):
    """Deep, wide and escape-heavy packets of the largest size, 200 of each: the server answers all of them."""
    client = await login(server, "alice")
    shapes = ["[" * 30 + "1" + "]" * 30, "[" + "1," * 25000 + "1]", '"' + "\\u0041" * 8000 + '"', "{" + ",".join(f'"{i}":0' for i in range(5000)) + "}", "[" + "1e308," * 8000 + "1]"]
    for number, shape in enumerate(shapes):
        futures = [await client.raw("send", {"to": "bob", "client_msg_id": f"w{number}-{i}", "body": 0}) for i in range(1)]
        await asyncio.gather(*futures)
        for i in range(200):
            request = client.next_id
            client.next_id += 1
            future = asyncio.get_running_loop().create_future()
            client.waiting[request] = future
            await client.write(b'{"id":%d,"send":{"to":"bob","client_msg_id":"s%d-%d","body":%s}}' % (request, number, i, shape.encode()))
        await asyncio.wait_for(future, 30)
    await still_serves(server, "worst")
