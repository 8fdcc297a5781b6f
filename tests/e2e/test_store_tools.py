"""The commands that work on a data folder: what they tell while they do, and what they look at."""

import json
import os
import pty
import re
import shutil
import subprocess

import pytest
from im_client import WsClient


async def login(server, user):
    client = await WsClient.open(server)
    await client.connect(server.token(user), "d1")
    return client


def run(binary, *arguments, stderr=subprocess.PIPE):
    return subprocess.run([binary, *map(str, arguments)], stdout=subprocess.PIPE, stderr=stderr, timeout=60)


async def test_long_work_on_the_store_shows_its_progress_on_a_terminal(server, binary, tmp_path):
    await (await login(server, "alice")).send("bob", "m", "x1")
    config = server.folder / "dunlin.yaml"
    assert server.stop() == 0
    work = {
        "backup": lambda folder: (folder / "b", "--config", config),
        "restore": lambda folder: (folder / "b", "--into", folder / "c"),
        "verify": lambda folder: (folder / "c",),
    }
    (tmp_path / "piped").mkdir()
    (tmp_path / "shown").mkdir()
    for command, arguments in work.items():
        done = run(binary, command, *arguments(tmp_path / "piped"))
        assert done.returncode == 0 and b"MiB" not in done.stderr, (command, done.stderr)
        master, slave = pty.openpty()
        done = run(binary, command, *arguments(tmp_path / "shown"), stderr=slave)
        os.close(slave)
        shown = os.read(master, 65536)
        os.close(master)
        assert done.returncode == 0 and b"MiB (100 %)" in shown, (command, shown)


async def test_verification_covers_cursors_and_read_positions(server, binary):
    alice, bob = await login(server, "alice"), await login(server, "bob")
    for i in range(50):
        sent = await alice.send("bob", "m", f"x{i}")
        await bob.request("read", {"conversation": sent["conversation"], "seq": sent["seq"]})
    assert server.stop() == 0
    done = run(binary, "verify", server.data)
    assert done.returncode == 0 and int(re.search(rb"(\d+) rows of state", done.stdout)[1]) >= 4, done
    logs = [file for file in (server.data / "state").glob("*.log") if file.stat().st_size > 0]
    raw = bytearray(logs[0].read_bytes())
    raw[raw.find(b"alice") + 1] ^= 1  # not a length, which would look like a torn tail
    logs[0].write_bytes(raw)
    done = run(binary, "verify", server.data)
    assert done.returncode == 1 and b"rows of no one conversation" in done.stdout and b"state" in done.stderr, done


@pytest.mark.deadline(240)
async def test_what_a_server_refuses_verify_has_said(server_factory, binary, tmp_path):
    """Each file that the server keeps beside log, history and state, flipped, cut, emptied or missing."""
    server = server_factory({"auth": {"keys": []}})
    assert server.stop() == 0
    whole = server.data
    files = sorted(file.name for file in whole.iterdir() if file.is_file())
    assert {"LOCK", "auth.secret", "meta", "sync.secret"} <= set(files)
    refused = 0

    def judge(data):
        said = run(binary, "verify", data, "--json")
        server.config["store"]["path"] = str(data)
        server.start(wait_ready=False)
        while not server._ready.wait(0.02) and server.process.poll() is None:
            pass
        started = server._ready.is_set()
        if started:
            server.stop()
        return said, started

    said, started = judge(whole)
    assert said.returncode == 0 and json.loads(said.stdout)["problems"] == [] and started
    for file in files:
        content = (whole / file).read_bytes()
        last = len(content) - 1
        flips = {f"flip {at}": content[:at] + bytes([content[at] ^ 0x80]) + content[at + 1 :] for at in sorted({0, last // 2, last}) if content}
        for name, bad in {**flips, "half": content[: len(content) // 2], "empty": b"", "gone": None}.items():
            data = tmp_path / f"{file}-{name}"
            shutil.copytree(whole, data)
            if bad is None:
                (data / file).unlink()
            else:
                (data / file).write_bytes(bad)
            said, started = judge(data)
            assert started or said.returncode == 1, (file, name, said)
            if not started and file != "meta":
                assert file in {problem["file"] for problem in json.loads(said.stdout)["problems"]}, (file, name, said)
            refused += not started
            shutil.rmtree(data)
    assert refused >= 8
    server.clean = False
