"""Standard descriptors that are closed, full, halted or broken neither get into the data nor hold the server up."""

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import pty
import select
import signal
import socket
import subprocess
import time

import pytest

from im_client import TcpClient
from under_test import CLEAN_ENVIRONMENT, ECHO

WAIT_S = 30
CLOSINGS = [closed for n in range(4) for closed in itertools.combinations((0, 1, 2), n)]


@contextlib.contextmanager
def ended(process):
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(WAIT_S)


@contextlib.contextmanager
def notify_socket(folder):
    """systemd's side of readiness, which needs none of the three descriptors."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(folder / "notify"))
        sock.settimeout(WAIT_S)

        def wait_for(state):
            while state not in sock.recv(4096).decode():
                pass

        yield str(folder / "notify"), wait_for


def descriptors(process):
    found = {}
    for link in pathlib.Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            found[int(link.name)] = os.readlink(link)
    return found


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def config_of(folder, **more):
    config = {"websocket": {"port": 0, "listen": "127.0.0.1"}, "tcpsocket": {"port": 0, "listen": "127.0.0.1"}, "admin": {"listen": f"127.0.0.1:{free_port()}"}, "store": {"path": str(folder / "data")}, "shutdown": {"ready-delay-ms": 0, "timeout-ms": 5000}, **more}
    file = folder / "dunlin.yaml"
    file.write_text(json.dumps(config))
    return file


@pytest.mark.parametrize("closed", CLOSINGS, ids=lambda closed: "".join(map(str, closed)) or "none")
def test_closed_standard_descriptors_are_no_files_of_the_store(binary, tmp_path, closed):
    config = config_of(tmp_path)
    command = 'exec "$0" serve --config "$1" ' + " ".join(f"{fd}>&-" if fd else "0<&-" for fd in closed)
    with notify_socket(tmp_path) as (path, wait_for), open(tmp_path / "out", "wb") as out, open(tmp_path / "err", "wb") as err:
        process = subprocess.Popen(["sh", "-c", command, binary, config], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**CLEAN_ENVIRONMENT, "NOTIFY_SOCKET": path})
        with ended(process):
            wait_for("READY=1")
            opened = descriptors(process)
            for fd in closed:
                assert opened[fd] == "/dev/null", opened
            lock = (tmp_path / "data" / "LOCK").read_text()
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0
    assert lock == f"{process.pid}\n" and (tmp_path / "data" / "LOCK").read_text() == lock
    for file in (tmp_path / "data").rglob("*"):
        assert not file.is_file() or b"INFO server: " not in file.read_bytes(), file
    assert ("ready ws=" in (tmp_path / "out").read_text()) == (1 not in closed)
    assert ("INFO server: ready" in (tmp_path / "err").read_text()) == (2 not in closed)


@pytest.mark.parametrize("closed", CLOSINGS, ids=lambda closed: "".join(map(str, closed)) or "none")
def test_closed_standard_descriptors_are_no_sockets_of_the_echo_server(closed):
    port = free_port()
    command = 'exec "$0" "$1" ' + " ".join(f"{fd}>&-" if fd else "0<&-" for fd in closed)
    process = subprocess.Popen(["sh", "-c", command, ECHO, str(port)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=CLEAN_ENVIRONMENT)
    with ended(process):
        deadline = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        assert [descriptors(process)[fd] for fd in (0, 1, 2)] == ["/dev/null"] * 3


# -- descriptors that take nothing


def fill_pipe(fd):
    """To the last byte, without leaving it non-blocking for the server."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    filled = 0
    for size in (65536, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                filled += os.write(fd, b"." * size)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags)
    return filled


class Stuck:
    """A descriptor that takes nothing; let_go() gives what it takes from then on, None where that cannot be."""

    def __init__(self, kind, folder):
        self.filled = 0
        if kind == "pipe":
            self.reading, self.fd = os.pipe()
            self.filled = fill_pipe(self.fd)
        elif kind == "fifo":
            os.mkfifo(folder / "fifo")
            self.reading = os.open(folder / "fifo", os.O_RDWR)
            self.fd = os.open(folder / "fifo", os.O_WRONLY)
            self.filled = fill_pipe(self.fd)
        elif kind == "terminal":
            self.reading, self.fd = pty.openpty()
            fcntl.fcntl(self.fd, fcntl.F_SETFL, os.O_NONBLOCK)
            with contextlib.suppress(BlockingIOError):
                while True:
                    self.filled += os.write(self.fd, b"." * 512)
            fcntl.fcntl(self.fd, fcntl.F_SETFL, 0)
        elif kind == "socket":
            reading, writing = socket.socketpair()
            self.reading = reading.detach()
            writing.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    self.filled += writing.send(b"." * 4096)
            writing.setblocking(True)
            self.fd = writing.detach()
        else:
            assert kind == "full disk"
            self.reading, self.fd = -1, os.open("/dev/full", os.O_WRONLY)

    async def read_until(self, text, within_s=WAIT_S):
        def read():
            got = b""
            deadline = time.monotonic() + within_s
            while text not in got and time.monotonic() < deadline:
                if select.select([self.reading], [], [], 0.2)[0]:
                    got += os.read(self.reading, 65536)
            return got

        got, filled = await asyncio.to_thread(read), self.filled
        self.filled = 0
        return got[filled:].decode(errors="replace").replace("\r\n", "\n")


def log_much(server):
    """Long lines about requests to the control socket that fail, until some are dropped."""
    deadline = time.monotonic() + WAIT_S
    while server.metric("dunlin_log_lines_dropped_total") == 0:
        assert time.monotonic() < deadline
        for _ in range(500):
            with socket.socket(socket.AF_UNIX) as control:
                control.connect(str(server.data / "control.sock"))
                control.sendall(b"backup /missing/" + b"x" * 450 + b"\n")
                assert control.recv(4096).startswith(b"error ")


KINDS = ["pipe", "fifo", "terminal", "socket", "full disk"]


async def talk(server, count):
    alice = await TcpClient.open(server)
    await alice.connect(server.token("alice"))
    for i in range(count):
        assert (await alice.send("bob", "m", f"m{time.monotonic_ns()}"))["seq"] > 0
    await alice.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_stderr_that_takes_nothing_holds_up_neither_work_nor_stop(server_factory, tmp_path, kind):
    stuck = Stuck(kind, tmp_path)
    server = server_factory({"shutdown": {"timeout-ms": 5000}}, stderr=stuck.fd)
    await talk(server, 20)
    await asyncio.to_thread(log_much, server)
    await talk(server, 20)
    assert server.get("/livez")[0] == 200
    begun = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begun < 5
    os.close(stuck.fd)


async def test_lines_that_a_full_pipe_did_not_take_are_counted_and_told(server_factory, tmp_path):
    stuck = Stuck("pipe", tmp_path)
    server = server_factory({}, stderr=stuck.fd)
    await asyncio.to_thread(log_much, server)
    await talk(server, 5)
    told = await stuck.read_until(b"lines=%d\n" % server.metric("dunlin_log_lines_dropped_total"))
    assert told.startswith("20") and "INFO server: ready" in told, told[:2000]
    assert "WARN log: lines are missing here" in told.splitlines()[-1], told[-2000:]
    assert server.stop() == 0
    assert "INFO server: stopped" in await stuck.read_until(b"server: stopped")


@pytest.mark.parametrize("kind", KINDS)
async def test_stdout_that_takes_nothing_holds_up_neither_start_nor_stop(binary, tmp_path, kind):
    stuck = Stuck(kind, tmp_path)
    config = config_of(tmp_path)
    with notify_socket(tmp_path) as (path, wait_for), open(tmp_path / "err", "wb") as err:
        process = subprocess.Popen([binary, "serve", "--config", config], stdin=subprocess.DEVNULL, stdout=stuck.fd, stderr=err, env={**CLEAN_ENVIRONMENT, "NOTIFY_SOCKET": path})
        with ended(process):
            wait_for("READY=1")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
    assert "INFO server: stopped" in (tmp_path / "err").read_text()


async def test_second_signal_ends_a_server_whose_stderr_takes_nothing(server_factory, tmp_path):
    stuck = Stuck("pipe", tmp_path)
    server = server_factory({"shutdown": {"ready-delay-ms": 20000, "timeout-ms": 30000}}, stderr=stuck.fd)
    server.clean = False
    server.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    server.process.send_signal(signal.SIGTERM)
    assert server.wait(5) == 1


@pytest.mark.parametrize("how", [signal.SIGABRT, signal.SIGSEGV])
async def test_crash_waits_for_no_reader_of_stderr(server_factory, tmp_path, how):
    stuck = Stuck("pipe", tmp_path)
    server = server_factory({}, stderr=stuck.fd)
    server.clean = False
    server.process.send_signal(how)
    assert server.wait(10) == -how


async def test_manager_that_does_not_empty_its_socket_holds_up_nobody(binary, tmp_path):
    config = config_of(tmp_path)
    with notify_socket(tmp_path) as (path, _), open(tmp_path / "err", "wb") as err, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                filler.sendto(b"x", path)
        process = subprocess.Popen([binary, "serve", "--config", config], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err, env={**CLEAN_ENVIRONMENT, "NOTIFY_SOCKET": path})
        with ended(process):
            assert process.stdout.readline().startswith(b"ready")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
    assert "cannot notify" in (tmp_path / "err").read_text()
