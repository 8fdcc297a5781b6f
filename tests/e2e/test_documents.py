"""What the documents show is run: README's tour (its browser part in test_browser.py), the protocol's examples, the vectors against an encoder that is not ours."""

import asyncio
import json
import re
import subprocess
import sys

import pytest

from im_client import Closed, WsClient
from under_test import ROOT

PYTHON = "/usr/bin/python3"


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)


async def run_python(code, *arguments, deadline=30, **options):
    process = await asyncio.create_subprocess_exec(PYTHON, "-u", "-c", code, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    return process


async def test_readme_tour_from_python(server, binary):
    """As written but for the address, the program's path and the configuration that it is to use."""
    (code,) = blocks("README.md", "python")
    assert "ws://localhost:8080/im" in code and '"build/release/dunlin", "token", "carol"' in code
    code = code.replace("ws://localhost:8080/im", server.ws_url)
    code = code.replace('"build/release/dunlin", "token", "carol"', f'{str(binary)!r}, "token", "carol", "--config", {str(server.folder / "dunlin.yaml")!r}')
    process = await run_python(code)
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, err.decode()
    connected, sent = (json.loads(line.strip()) for line in out.decode().splitlines())
    assert connected["connect"]["user"] == "carol" and sent["send"]["seq"] == 1
    alice = await WsClient.open(server)
    await alice.connect(server.token("alice"))
    assert (await alice.push("message"))["body"] == {"text": "hi from Python"}


async def test_protocol_walk_by_hand(server):
    """The console block of docs/protocol/: what is typed is sent, and each answer has the fields that the page shows."""
    (block,) = blocks("docs/protocol/README.md", "console")
    reader, writer = await asyncio.open_connection(*server.tcp_address)
    lines = block.splitlines()[1:]
    assert len(lines) == 6
    for typed, shown in zip(lines[::2], lines[1::2]):
        writer.write(typed.replace("PASTE-THE-TOKEN", server.token("alice")).encode() + b"\n")
        answer = json.loads(await asyncio.wait_for(reader.readline(), 10))
        shown = json.loads(shown.replace(",…", ""))
        assert answer["id"] == shown["id"]
        assert_has(answer, shown)
    writer.close()


def assert_has(answer, shown):
    """Every field of the example is there, of the same type; what is not random is equal."""
    for name, value in shown.items():
        assert name in answer, (name, answer)
        if isinstance(value, dict):
            assert_has(answer[name], value)
        elif isinstance(value, list):
            for got, wanted in zip(answer[name], value, strict=True):
                assert_has(got, wanted)
        elif name in ("session", "epoch", "time_ms"):
            assert isinstance(answer[name], type(value))
        else:
            assert answer[name] == value, name


async def test_protocol_client_of_the_documentation_acks_what_it_gets(server):
    (code,) = blocks("docs/protocol/README.md", "python")
    code = code.replace("ws://localhost:8080/im", server.ws_url)
    process = await run_python(code, server.token("alice"), "bob")
    try:
        assert b"send" in await asyncio.wait_for(process.stdout.readline(), 20)
        bob = await WsClient.open(server)
        await bob.connect(server.token("bob"))
        message = await bob.push("message")
        assert message["body"] == {"text": "hello from Python"} and message["client_msg_id"].endswith("-1")
        await bob.send("alice", "hello back", "b1")
        while b"hello back" not in await asyncio.wait_for(process.stdout.readline(), 20):
            pass
        while (await bob.push("receipt")).get("delivered_seq") != 2:
            pass
    finally:
        process.kill()
        await process.wait()


def test_vectors_agree_with_an_encoder_that_is_not_ours():
    done = subprocess.run([PYTHON, ROOT / "tests/vectors/generate.py", "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("tool", [["check_docs.py"], ["gen_error_docs.py", "--check"]])
def test_documents_agree_with_the_tree(tool):
    done = subprocess.run([sys.executable, ROOT / "tools" / tool[0], *tool[1:]], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_every_vector_of_a_request_is_understood_by_the_server(server):
    """None of them may be malformed for the running server; what it answers depends on its state."""
    alice = await WsClient.open(server)
    await alice.connect(server.token("alice"))
    await alice.send("bob", "what the vectors ack and read", "first")
    for number, vector in enumerate(json.loads((ROOT / "tests/vectors/requests.json").read_text())):
        packet = json.loads(vector["json"])
        if "connect" in packet or "logout" in packet:
            continue
        packet["id"] = 1000 + number
        future = asyncio.get_running_loop().create_future()
        alice.waiting[packet["id"]] = future
        await alice.write(json.dumps(packet))
        try:
            answer = await asyncio.wait_for(future, 10)
        except Closed:  # understood: the vector names a position that this store never had
            assert alice.kick and alice.kick["name"] == "reset_required" and ("ack" in packet or "read" in packet), (vector, alice.kick)
            alice = await WsClient.open(server)
            await alice.connect(server.token("alice"))
            continue
        assert answer.get("error", {}).get("name") != "unknown_command", vector
