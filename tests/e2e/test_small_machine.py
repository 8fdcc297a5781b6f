"""Machines that lack something: memory (a control group), hard links, or space on the disk at the start."""

import asyncio
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from im_client import Refused, TcpClient
from test_operation import ready_turns, small_disk
from under_test import CLEAN_ENVIRONMENT

SMALL_SEGMENTS = {"store": {"log": {"segment-bytes": 1 << 20}}, "limits": {"user": {"mode": "off"}}}


async def login(server, user, token=None, auto_ack=True):
    client = await TcpClient.open(server)
    client.auto_ack = auto_ack
    await client.connect(token or server.token(user), "d1")
    return client


async def send_many(client, to, count, size, first=0):
    """One after the other; what is refused for a while is sent again."""
    for i in range(first, first + count):
        while True:
            try:
                await client.send(to, "x" * size, f"m{i}")
                break
            except Refused as refused:
                assert refused.name == "overloaded", refused
                await asyncio.sleep(0.02)


def holds_history(folder):
    """More files than one segment makes of itself: so that one is in for sure."""
    return len(list((pathlib.Path(folder) / "history").glob("*.sst"))) > 6


async def until_history(server, client):
    deadline = time.monotonic() + 20
    first = 100_000
    while not holds_history(server.data):
        assert time.monotonic() < deadline
        await send_many(client, "bob", 50, 10_000, first)
        first += 50


# -- memory


def own_groups():
    """Where a control group of this process's own could be made, best first, each with the files for its limits."""
    controllers_of_v2 = pathlib.Path("/sys/fs/cgroup/cgroup.controllers")
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            for parent in (path, "/"):
                yield pathlib.Path(f"/sys/fs/cgroup/memory{parent}"), "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
        elif not controllers and controllers_of_v2.exists() and "memory" in controllers_of_v2.read_text().split():
            for parent in (path, "/"):
                yield pathlib.Path(f"/sys/fs/cgroup{parent}"), "memory.max", "memory.swap.max"


@contextlib.contextmanager
def control_group(limit):
    """A group of at most `limit` bytes and the file that says so, or None where this machine lets nobody make one."""
    for parent, limit_file, swap_file in own_groups():
        group = parent / f"dunlin-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit_file).write_text(str(limit))
        except OSError:
            group.rmdir()
            continue
        with contextlib.suppress(OSError):
            (group / swap_file).write_text("0" if swap_file == "memory.swap.max" else str(limit))
        try:
            yield group, group / limit_file
        finally:
            for pid in (group / "cgroup.procs").read_text().split():  # a server that a failed test has left
                os.kill(int(pid), signal.SIGKILL)
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    group.rmdir()
                    break
                time.sleep(0.05)
        return
    yield None, None


@pytest.mark.deadline(180)
async def test_memory_of_a_control_group_is_enough_for_any_number_of_messages(server_factory):
    limit = 100 << 20
    with control_group(limit) as (group, limit_file):
        join = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group)] if group else []
        server = server_factory({"limits": {"user": {"mode": "off"}}}, prefix=join)
        sized = next(line for line in server.log.splitlines() if "sized for the memory" in line)
        if group:
            assert f"bytes={limit} from={limit_file}" in sized
        else:
            assert " from=machine" in sized or " from=/sys/fs/cgroup/" in sized
        senders = [await login(server, f"u{i}") for i in range(4)]
        # 120 MB: more than the group allows, if it stayed in memory.
        await asyncio.gather(*(send_many(client, "bob", 1200, 25_000) for client in senders))
        page = await senders[0].request("history", {"with": "bob", "after_seq": 0, "limit": 10})
        assert [m["seq"] for m in page["messages"]] == list(range(1, len(page["messages"]) + 1)) and page["messages"]
        assert server.process.poll() is None
        window = server.metric("dunlin_store_window_bytes")
        assert 0 < window <= (limit // 8 if group else 128 << 20) + (4 << 20)
        await asyncio.gather(*(client.close() for client in senders))
        server.restart()  # what recovery reads back has to fit as well
        bob = await login(server, "bob", auto_ack=False)
        page = await bob.request("history", {"with": "u3", "after_seq": 1198, "limit": 10})
        assert [m["seq"] for m in page["messages"]] == [1199, 1200]
        await bob.close()
        assert server.stop() == 0


# -- hard links

NO_LINKS = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=link,linkat", "-e", "inject=link,linkat:error=EPERM"]


async def test_volume_without_hard_links_takes_store_backup_and_restore(server_factory, binary, tmp_path):
    def run(*arguments):
        done = subprocess.run([*NO_LINKS, binary, *(str(a) for a in arguments)], capture_output=True, text=True, timeout=120, env=CLEAN_ENVIRONMENT)
        assert done.returncode == 0, done.stderr
        return done.stdout

    os.link(__file__, tmp_path / "linked")  # here there are some: it is strace that takes them away
    assert subprocess.run([*NO_LINKS, "ln", __file__, tmp_path / "again"], capture_output=True).returncode != 0
    server = server_factory({**SMALL_SEGMENTS, "auth": {"keys": []}}, prefix=NO_LINKS)
    config = server.folder / "dunlin.yaml"
    token = run("token", "alice", "--config", config).strip()
    alice = await login(server, "alice", token)
    await send_many(alice, "bob", 400, 10_000)
    await until_history(server, alice)
    head = (await alice.send("bob", "last", "last"))["seq"]
    await alice.close()
    run("backup", tmp_path / "online", "--config", config)
    assert server.stop() == 0
    run("backup", tmp_path / "offline", "--config", config)
    for copy in ("online", "offline"):
        assert list((tmp_path / copy / "history").glob("*.sst"))
        restored = tmp_path / f"from-{copy}"
        run("restore", tmp_path / copy, "--into", restored)
        assert json.loads(run("verify", restored, "--json").splitlines()[-1])["corrupt"] == []
        shutil.copy(server.data / "auth.secret", restored)
        again = server_factory({**SMALL_SEGMENTS, "auth": {"keys": []}}, data=restored, prefix=NO_LINKS)
        alice = await login(again, "alice", token)
        page = await alice.request("history", {"with": "bob", "limit": 1})
        assert page["messages"][0]["seq"] == head
        await alice.close()
        assert again.stop() == 0


# -- a full disk


def fill(disk, name="ballast"):
    """To the last byte."""
    with open(disk / name, "ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    assert os.statvfs(disk).f_bavail == 0


async def is_read_only(server, conversation, head):
    """It reads, says that it takes nothing and why, and refuses."""
    told = await ready_turns(server, 503, "store")
    assert told["failed"] == ["store"] and "full" in told["checks"]["store"]["detail"], told
    assert server.get("/livez")[0] == 200
    alice = await login(server, "alice")
    page = await alice.request("history", {"conversation": conversation, "after_seq": 0, "limit": 5})
    assert [m["seq"] for m in page["messages"]] == [1, 2, 3, 4, 5]
    page = await alice.request("history", {"conversation": conversation, "limit": 1})
    assert page["messages"][0]["seq"] == head
    with pytest.raises(Refused) as refused:
        await alice.send("bob", "no room", f"refused-{time.monotonic_ns()}")
    assert refused.value.name == "store_unavailable" and refused.value.error["temporary"]
    await alice.close()


@pytest.mark.deadline(180)
@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_start_on_a_full_disk_reads_refuses_sends_and_heals(server_factory, tmp_path, end):
    mount = tmp_path / "small"
    mount.mkdir()
    with small_disk(mount) as (prefix, seen_by):
        server = server_factory(SMALL_SEGMENTS, data=mount / "data", prefix=prefix)
        disk = seen_by(server)
        if disk != mount:
            return await without_root(server, disk)
        alice = await login(server, "alice")
        await send_many(alice, "bob", 300, 10_000)
        await until_history(server, alice)
        last = await alice.send("bob", "last", "last")
        await alice.close()
        for _ in range(3):
            server.kill() if end == "kill" else server.stop()
            fill(mount)
            server.forget_log()
            server.start()
            assert "the disk is full" in server.log, (os.statvfs(mount), server.log)
            await is_read_only(server, last["conversation"], last["seq"])
        (mount / "ballast").unlink()
        await ready_turns(server, 200, within_s=40)
        alice = await login(server, "alice")
        assert (await alice.send("bob", "after", "after", abandon=True))["seq"] == last["seq"] + 1
        await alice.close()
        server.restart()
        total = os.statvfs(mount).f_blocks * os.statvfs(mount).f_frsize
        assert (mount / "data" / "reserve").stat().st_size == min(16 << 20, max(1 << 20, total // 64))
        assert server.stop() == 0


@pytest.mark.deadline(120)
async def test_start_on_a_disk_that_takes_no_more_files_reads(server_factory, tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    with small_disk(mount) as (prefix, seen_by):
        server = server_factory(SMALL_SEGMENTS, data=mount / "data", prefix=prefix)
        if seen_by(server) != mount:
            return await without_root(server, seen_by(server))
        alice = await login(server, "alice")
        await send_many(alice, "bob", 300, 10_000)
        await until_history(server, alice)
        await alice.close()
        for end in (server.stop, server.kill, server.kill):
            end()
            disk = os.statvfs(mount)
            subprocess.run(["mount", "-o", f"remount,size=96m,nr_inodes={disk.f_files - disk.f_ffree}", str(mount)], check=True)
            assert os.statvfs(mount).f_favail == 0
            server.start()
            alice = await login(server, "alice")
            page = await alice.request("history", {"with": "bob", "after_seq": 0, "limit": 5})
            assert [m["seq"] for m in page["messages"]] == [1, 2, 3, 4, 5]
            await alice.close()


async def without_root(server, disk):
    """The disk lives in the server's own mount namespace and ends with it, so it is only filled while the server runs."""
    assert (disk / "data" / "reserve").stat().st_size > 0
    fill(disk)
    await ready_turns(server, 503, "store")
    (disk / "ballast").unlink()
    await ready_turns(server, 200, within_s=40)
