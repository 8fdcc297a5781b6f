"""The commands that work on a data folder: what they tell while they do, and what they look at."""

import os
import pty
import re
import subprocess

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
