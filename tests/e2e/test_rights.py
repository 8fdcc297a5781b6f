"""Whatever the server and its tools make is for their owner alone, whatever the umask; what was wider is narrowed."""

import os
import pathlib
import stat
import subprocess

import pytest

from im_client import TcpClient
from under_test import CLEAN_ENVIRONMENT


def with_umask(mask):
    return ["sh", "-c", f'umask {mask}; exec "$0" "$@"']


def run(mask, binary, *arguments):
    command = [*with_umask(mask), binary, *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=CLEAN_ENVIRONMENT)


def open_to_others(folder):
    """What of it group or others may use, and how much was looked at."""
    paths = [pathlib.Path(folder), *pathlib.Path(folder).rglob("*")]
    return [f"{p} {stat.filemode(p.lstat().st_mode)}" for p in paths if p.lstat().st_mode & 0o077], len(paths)


def must_be_private(folder, least):
    wide, seen = open_to_others(folder)
    assert not wide, "\n".join(wide)
    assert seen >= least, f"{folder} holds only {seen} files"


async def fill(server, first, count):
    """Enough for some segments of 1 MiB to enter history."""
    alice = await TcpClient.open(server)
    await alice.connect(server.token("alice"))
    for i in range(first, first + count):
        await alice.send("bob", "x" * 30_000, f"m{i}")
    await alice.close()
    assert server.metric("dunlin_store_log_backlog_bytes") >= 0


SMALL_SEGMENTS = {"store": {"log": {"segment-bytes": 1 << 20}}, "limits": {"user": {"mode": "off"}}, "auth": {"keys": []}}


def holds_history(folder):
    """More files than one segment makes of itself: so that one is in for sure."""
    return len(list((pathlib.Path(folder) / "history").glob("*.sst"))) > 6


@pytest.mark.parametrize("mask", ["000", "022"])
async def test_everything_that_is_made_is_for_its_owner_alone(server_factory, binary, tmp_path, mask):
    keyed = server_factory(SMALL_SEGMENTS, prefix=with_umask(mask))  # makes auth.secret itself
    must_be_private(keyed.data, 10)
    keyed.stop()
    server = server_factory({**SMALL_SEGMENTS, "auth": {}}, prefix=with_umask(mask))
    config = server.folder / "dunlin.yaml"
    await fill(server, 0, 150)
    for more in range(100):
        if holds_history(server.data):
            break
        await fill(server, 1000 + more * 10, 10)
    assert holds_history(server.data)
    must_be_private(server.data, 20)
    done = run(mask, binary, "backup", tmp_path / "online", "--config", config)
    assert done.returncode == 0, done.stderr
    must_be_private(tmp_path / "online", 15)
    server.kill()
    server.start()
    must_be_private(server.data, 20)
    assert server.stop() == 0
    must_be_private(server.data, 20)
    steps = [("backup", tmp_path / "offline", "--config", config), ("restore", tmp_path / "online", "--into", tmp_path / "restored"), ("verify", tmp_path / "restored"), ("verify", tmp_path / "online")]
    for step in steps:
        done = run(mask, binary, *step)
        assert done.returncode == 0, done.stderr
    for folder in (server.data, tmp_path / "offline", tmp_path / "online", tmp_path / "restored"):
        assert list((folder / "history").glob("*.sst"))
        must_be_private(folder, 15)
    made = run(mask, binary, "token", "alice", "--config", keyed.folder / "dunlin.yaml")
    assert made.returncode == 0
    must_be_private(keyed.data, 10)


async def test_roots_of_volumes_hold_data_and_copies(server_factory, binary, tmp_path):
    """The file system's own lost+found is neither copied nor in the way; anything else is."""
    data = tmp_path / "data"
    for root in (data, tmp_path / "online", tmp_path / "offline", tmp_path / "restored"):
        (root / "lost+found").mkdir(parents=True)
    (data / "lost+found" / "#12").write_text("a piece of somebody's file")
    server = server_factory({"auth": {}}, data=data)
    config = server.folder / "dunlin.yaml"
    for step in (("backup", tmp_path / "online", "--config", config), None, ("backup", tmp_path / "offline", "--config", config), ("restore", tmp_path / "offline", "--into", tmp_path / "restored"), ("verify", tmp_path / "restored")):
        if step is None:
            assert server.stop() == 0
            continue
        done = run("022", binary, *step)
        assert done.returncode == 0, done.stderr
    for copy in ("online", "offline", "restored"):
        assert not any((tmp_path / copy / "lost+found").iterdir())
    done = run("022", binary, "restore", tmp_path / "offline", "--into", tmp_path / "online")
    assert done.returncode == 2 and "not empty" in done.stderr


async def test_what_was_wide_is_narrowed_and_named(server_factory, binary, tmp_path):
    server = server_factory(SMALL_SEGMENTS | {"auth": {}})
    await fill(server, 0, 150)
    assert server.stop() == 0
    (server.data / "notes of the operator").write_text("not ours")
    wide = [server.data, *server.data.rglob("*")]
    for path in wide:
        path.chmod(0o755 if path.is_dir() else 0o644)
    config = server.folder / "dunlin.yaml"
    for target, command in (("offline", ("backup", tmp_path / "offline", "--config", config)), ("restored", ("restore", tmp_path / "offline", "--into", tmp_path / "restored"))):
        (tmp_path / target).mkdir(mode=0o755)
        os.chmod(tmp_path / target, 0o755)
        done = run("022", binary, *command)
        assert done.returncode == 0, done.stderr
        must_be_private(tmp_path / target, 10)
    server.forget_log()
    server.start()
    narrowed = [line for line in server.log.splitlines() if "for their owner alone" in line]
    assert len(narrowed) == 1 and f"files={len(wide) - 1}" in narrowed[0], server.log
    assert stat.S_IMODE((server.data / "notes of the operator").stat().st_mode) == 0o644
    (server.data / "notes of the operator").chmod(0o600)
    must_be_private(server.data, 10)
    (tmp_path / "online").mkdir()
    os.chmod(tmp_path / "online", 0o777)
    assert run("000", binary, "backup", tmp_path / "online", "--config", config).returncode == 0
    must_be_private(tmp_path / "online", 10)
    server.forget_log()
    server.restart()
    assert "for their owner alone" not in server.log
