"""Settings that weaken a promise say so, and secrets may hold anything."""

import asyncio
import base64
import json
import random
import re
import subprocess
import time

import jwt
import pytest

from im_client import WsClient
from under_test import ROOT

# Every option that may cost an acked message or a delivery, with a value that differs from its default. The server still starts.
UNSAFE = {
    "store.unsafe-memory-acks": {"store": {"unsafe-memory-acks": True}},
    "debug.unsafe-faults.drop-hints": {"debug": {"unsafe-faults": {"drop-hints": True}}},
    "debug.unsafe-faults.drop-pushes": {"debug": {"unsafe-faults": {"drop-pushes": True}}},
    "debug.unsafe-faults.store-delay-ms": {"debug": {"unsafe-faults": {"store-delay-ms": 1}}},
    "debug.unsafe-faults.worker-stall-ms": {"debug": {"unsafe-faults": {"worker-stall-ms": 1}}},
    "debug.unsafe-faults.crash-at": {"debug": {"unsafe-faults": {"crash-at": "nowhere"}}},
    "debug.unsafe-faults.io-error-at": {"debug": {"unsafe-faults": {"io-error-at": "nothing"}}},
}


@pytest.mark.parametrize("option", sorted(UNSAFE))
async def test_unsafe_option_is_named_at_start_and_in_a_metric(server_factory, option):
    server = server_factory(UNSAFE[option])
    assert any("WARN" in line and option in line for line in server.log.splitlines()), server.log
    assert f'dunlin_config_unsafe{{option="{option}"}} 1' in server.get("/metrics")[1]


async def test_defaults_are_safe(server):
    assert "unsafe" not in server.log
    assert not re.search(r"^dunlin_config_unsafe\{.*\} 1", server.get("/metrics")[1], re.M)


@pytest.mark.parametrize("store", [{"durability": "memory"}, {"engine": "memory"}, {"engine": "memory", "durability": "memory"}])
def test_acks_from_memory_need_the_unsafe_switch(binary, tmp_path, store):
    (tmp_path / "dunlin.yaml").write_text(json.dumps({"store": store}))
    done = subprocess.run([binary, "config", "check", "--config", tmp_path / "dunlin.yaml"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "unsafe-memory-acks" in done.stderr


@pytest.mark.parametrize("size, warned", [(5, True), (31, True), (32, False)])
def test_secret_that_can_be_guessed_is_warned_of(binary, tmp_path, size, warned):
    (tmp_path / "dunlin.yaml").write_text(json.dumps({"auth": {"keys": [{"id": "main", "alg": "HS256", "secret": "s" * size}]}}))
    done = subprocess.run([binary, "config", "check", "--config", tmp_path / "dunlin.yaml"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert (f"warning: auth.keys: the secret of main has {size} bytes" in done.stdout) == warned, done.stdout


def test_everything_that_can_cost_an_ack_is_called_unsafe(binary):
    """Settings whose documentation speaks of loss are exactly those that the table above and the page of guarantees know."""
    page = (ROOT / "docs/operating/configuration.md").read_text()
    losing = {m.group(1) for m in re.finditer(r"^\|? *`([\w.-]+)`.*\bloses\b", page, re.M)}
    assert all("unsafe" in key for key in losing), losing


def secrets_of_all_kinds():
    rng = random.Random(163)
    yield "a" * 32 + " with spaces inside and at the end "
    yield "#: {[]}&*!|>'\"%@`,?-\\ " * 2
    yield "yes"*11
    yield "\t\n\r\x01\x7f" + "é漢😀" * 8
    yield "$HOME ${PATH} $(id) `id` %s %n " + "x" * 16
    for _ in range(15):
        yield "".join(chr(rng.choice((rng.randrange(1, 0x80), rng.randrange(0xA0, 0xD800), rng.randrange(0x10000, 0x11000)))) for _ in range(40))


async def test_secrets_of_any_characters_work_in_the_configuration(server_factory):
    keys = [{"id": f"k{i}", "alg": "HS256", "secret": secret} for i, secret in enumerate(secrets_of_all_kinds())][:16]
    server = server_factory({"auth": {"keys": keys}})
    for key in keys:
        token = jwt.encode({"sub": "alice", "exp": int(time.time()) + 60}, key["secret"], "HS256", headers={"kid": key["id"]})
        client = await WsClient.open(server)
        assert (await client.connect(token, "d"))["user"] == "alice", key
        await client.close()


@pytest.mark.parametrize("raw", [bytes(range(256)), b"\x00" * 40, b"ends with a line break of its own\n\n", base64.b64encode(b"x" * 40)])
async def test_secret_file_may_hold_any_bytes(server_factory, binary, tmp_path, raw):
    file = tmp_path / "secret"
    file.write_bytes(raw + b"\n")  # one line break at the end is not part of it
    server = server_factory({"auth": {"keys": [{"id": "main", "alg": "HS256", "secret-file": str(file)}]}})
    client = await WsClient.open(server)
    token = jwt.encode({"sub": "alice", "exp": int(time.time()) + 60}, raw, "HS256")
    assert (await client.connect(token, "d"))["user"] == "alice"
    minted = subprocess.run([binary, "token", "bob", "--config", server.folder / "dunlin.yaml"], capture_output=True, text=True, timeout=30)
    other = await WsClient.open(server)
    assert (await other.connect(minted.stdout.strip(), "d"))["user"] == "bob"
    await asyncio.gather(client.close(), other.close())
