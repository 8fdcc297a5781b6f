"""The terminal chat, driven through pipes and a pseudo-terminal, against the real server; the other side is python3-websockets."""

import asyncio
import json
import os
import pty
import subprocess

import pytest

from im_client import WsClient

DEADLINE_S = 15


class Chat:
    """`dunlin chat` with pipes: lines in, lines out."""

    def __init__(self, process):
        self.process = process
        self.lines = []

    @classmethod
    async def start(cls, server, user, *arguments, url=None):
        process = await asyncio.create_subprocess_exec(
            str(server.binary), "chat", "--as", user, "--url", url or server.ws_url, "--token", server.token(user), *arguments,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        return cls(process)

    async def line(self, part):
        """Waits for an output line that contains `part`."""

        async def wait():
            while True:
                raw = await self.process.stdout.readline()
                assert raw, f"the chat ended before {part!r}: {self.lines} {await self.process.stderr.read()}"
                self.lines.append(raw.decode().rstrip("\n"))
                if part in self.lines[-1]:
                    return self.lines[-1]

        return await asyncio.wait_for(wait(), DEADLINE_S)

    async def type(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        await self.process.stdin.drain()

    async def end(self):
        self.process.stdin.close()
        return await asyncio.wait_for(self.process.wait(), DEADLINE_S)


def send_once(server, *arguments):
    return subprocess.run([str(server.binary), "chat", *arguments], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)


async def open_client(server, user, **more):
    client = await WsClient.open(server)
    await client.connect(server.token(user), **more)
    return client


async def test_send_stores_one_message_and_ends_with_0(server):
    done = await asyncio.to_thread(
        send_once, server, "--as", "alice", "--to", "bob", "--send", 'say "hi" \\ twice', "--url", server.ws_url, "--token", server.token("alice")
    )
    assert done.returncode == 0, done.stderr
    assert "seq 1 (fsync)" in done.stdout
    bob = await open_client(server, "bob")
    message = await bob.push("message")
    assert message["body"] == {"text": 'say "hi" \\ twice'}
    assert message["from"] == "alice"


async def test_send_makes_its_own_token_from_the_configuration(server):
    config = server.folder / "dunlin.yaml"
    done = await asyncio.to_thread(
        send_once, server, "--as", "alice", "--to", "bob", "--send", "hi", "--url", server.ws_url, "--config", str(config)
    )
    assert done.returncode == 0, done.stderr


async def test_send_with_json_prints_packets_only(server):
    done = await asyncio.to_thread(
        send_once, server, "--as", "alice", "--to", "bob", "--send", "hi", "--json", "--url", server.ws_url, "--token", server.token("alice")
    )
    assert done.returncode == 0, done.stderr
    packets = [json.loads(line) for line in done.stdout.splitlines()]
    assert any("connect" in packet for packet in packets)
    assert [packet["send"]["seq"] for packet in packets if "send" in packet] == [1]


async def test_send_over_tcp(server):
    host, port = server.tcp_address
    done = await asyncio.to_thread(
        send_once, server, "--as", "alice", "--to", "bob", "--send", "hi", "--url", f"tcp://{host}:{port}", "--token", server.token("alice")
    )
    assert done.returncode == 0, done.stderr


async def test_wrong_token_ends_with_1_and_says_so(server):
    done = await asyncio.to_thread(send_once, server, "--as", "alice", "--to", "bob", "--send", "hi", "--url", server.ws_url, "--token", "a.b.c")
    assert done.returncode == 1
    assert "unauthorized" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--to", "bob", "--send", "x"], ["--as", "alice", "--send", "x", "--token", "t"], ["--as", "alice", "--url", "http://x", "--token", "t"]],
)
async def test_wrong_use_ends_with_2(server, arguments):
    assert (await asyncio.to_thread(send_once, server, *arguments)).returncode == 2


async def test_history_comes_first_then_what_arrives_each_once(server):
    bob = await open_client(server, "bob")
    for i in range(3):
        await bob.send("alice", f"old {i}", f"o{i}")
    chat = await Chat.start(server, "alice", "--to", "bob")
    await chat.line("old 2")
    await bob.send("alice", "new", "n")
    await chat.line("new")
    assert await chat.end() == 0
    texts = [line.split("bob: ", 1)[1] for line in chat.lines if "bob: " in line]
    assert texts == ["old 0", "old 1", "old 2", "new"]


async def test_typed_line_is_stored_delivered_and_read(server):
    bob = await open_client(server, "bob")
    chat = await Chat.start(server, "alice", "--to", "bob")
    await chat.line("connected as alice")
    await chat.type("hello bob")
    await chat.line("you: hello bob ✓")
    message = await bob.push("message")
    assert message["body"] == {"text": "hello bob"}
    await bob.ack(message["conversation"], message["seq"])
    await chat.line("✓✓ delivered")
    await bob.request("read", {"conversation": message["conversation"], "seq": message["seq"]})
    await chat.line("✓✓ read")
    assert await chat.end() == 0


async def test_chat_acks_and_reads_what_it_shows(server):
    bob = await open_client(server, "bob")
    chat = await Chat.start(server, "alice", "--to", "bob")
    await chat.line("connected as alice")
    sent = await bob.send("alice", "are you there", "q")
    await chat.line("are you there")

    async def read():
        while (await bob.push("receipt")).get("read_seq", 0) < sent["seq"]:
            pass

    await asyncio.wait_for(read(), DEADLINE_S)
    assert await chat.end() == 0


async def test_typing_of_the_other_side_is_shown(server):
    bob = await open_client(server, "bob")
    chat = await Chat.start(server, "alice", "--to", "bob")
    await chat.line("connected as alice")
    await bob.write({"typing": {"to": "alice"}})
    await chat.line("bob is typing")
    assert await chat.end() == 0


async def test_message_cannot_control_the_terminal(server):
    bob = await open_client(server, "bob")
    chat = await Chat.start(server, "alice", "--to", "bob")
    await chat.line("connected as alice")
    await bob.send("alice", "a\u001b[2J\r\nb\u009b31m", "evil")
    line = await chat.line("bob: a")
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in line)
    assert await chat.end() == 0


async def test_lines_of_a_pipe_are_sent_in_order_before_it_ends(server):
    bob = await open_client(server, "bob")
    chat = await Chat.start(server, "alice", "--to", "bob")
    chat.process.stdin.write("".join(f"line {i}\n" for i in range(200)).encode())
    await chat.process.stdin.drain()
    assert await chat.end() == 0
    messages = await bob.messages(200)
    assert [m["body"]["text"] for m in messages] == [f"line {i}" for i in range(200)]
    assert [m["seq"] for m in messages] == list(range(1, 201))


async def test_chat_reconnects_and_sends_what_was_typed_meanwhile_once(server):
    server.config["websocket"]["port"] = int(server.ws.rsplit(":", 1)[1])
    chat = await Chat.start(server, "alice", "--to", "bob")
    await chat.line("connected as alice")
    await chat.type("before")
    await chat.line("you: before ✓")
    server.clean = False
    server.kill()
    await chat.line("next attempt")
    await chat.type("meanwhile")
    await chat.line("it will be sent later")
    server.start()
    await chat.line("you: meanwhile ✓")
    assert await chat.end() == 0
    bob = await open_client(server, "bob")
    assert [m["body"]["text"] for m in await bob.messages(2)] == ["before", "meanwhile"]
    await bob.nothing("message")


async def test_replaced_session_ends_the_chat(server):
    chat = await Chat.start(server, "alice", "--to", "bob", "--device", "same")
    await chat.line("connected as alice")
    await open_client(server, "alice", device="same")
    assert await asyncio.wait_for(chat.process.wait(), DEADLINE_S) == 1
    assert b"4501" in await chat.process.stderr.read()


async def test_on_a_terminal_keys_edit_the_line_and_typing_is_told(server):
    bob = await open_client(server, "bob")
    controller, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        str(server.binary), "chat", "--as", "alice", "--to", "bob", "--url", server.ws_url, "--token", server.token("alice"),
        stdin=terminal, stdout=terminal, stderr=subprocess.PIPE,
    )
    os.close(terminal)
    os.set_blocking(controller, False)
    seen = ""

    async def screen(part):
        nonlocal seen
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while part not in seen:
            assert asyncio.get_running_loop().time() < deadline, seen
            try:
                seen += os.read(controller, 65536).decode(errors="replace")
            except BlockingIOError:
                await asyncio.sleep(0.02)

    await screen("connected as alice")
    os.write(controller, "grüx\x7fße".encode())
    assert (await bob.push("typing"))["from"] == "alice"
    os.write(controller, b"\r")
    assert (await bob.push("message"))["body"] == {"text": "grüße"}
    await screen("you: grüße ✓")
    os.write(controller, b"\x04")
    assert await asyncio.wait_for(process.wait(), DEADLINE_S) == 0
    os.close(controller)
