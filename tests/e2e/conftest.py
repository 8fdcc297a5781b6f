"""Fixtures that drive the real binary: a server on free ports, its log, tokens, and clients made of other people's libraries.

Use: `async def test_x(server): ...` (coroutine tests run with a deadline), or `server_factory({"limits": {...}})` for other settings.
DUNLIN_BINARY names the program (default build/release/dunlin).
"""

import asyncio
import importlib
import inspect
import os
import subprocess
import sys

import pytest

from im_server import Server
from under_test import BINARY, ROOT

TEST_DEADLINE_S = 60


def pytest_pyfunc_call(pyfuncitem):
    """Runs coroutine tests, each with a deadline, without a plugin."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    marker = pyfuncitem.get_closest_marker("deadline")
    deadline = marker.args[0] if marker else TEST_DEADLINE_S

    async def bounded():
        await asyncio.wait_for(pyfuncitem.obj(**arguments), deadline)

    asyncio.run(bounded())
    return True


def pytest_configure(config):
    config.addinivalue_line("markers", "deadline(seconds): how long this coroutine test may take")


@pytest.fixture(scope="session")
def binary():
    assert BINARY.exists(), f"{BINARY} is missing: run ./x build, or set DUNLIN_BINARY"
    return BINARY


@pytest.fixture(scope="session", autouse=True)
def clean_environment():
    """Programs that tests start themselves inherit nothing that configures the server."""
    for name in [name for name in os.environ if name.startswith("DUNLIN_")]:
        del os.environ[name]


@pytest.fixture
def server_factory(binary, tmp_path):
    """start(overrides) -> Server. All of them are stopped at the end, and every log is searched for tokens and secrets."""
    servers = []

    def start(overrides=None, data=None, wait_ready=True, prefix=(), stderr=None):
        folder = tmp_path / f"server{len(servers)}"
        folder.mkdir()
        server = Server(binary, folder, overrides or {}, data, prefix, stderr)
        servers.append(server)
        server.start(wait_ready=wait_ready)
        return server

    yield start
    problems = []
    for server in servers:
        problems += server.finish()
    assert not problems, "\n".join(problems)


@pytest.fixture
def server(server_factory):
    return server_factory()


@pytest.fixture(scope="session")
def schema(tmp_path_factory):
    """Classes that protoc generates for Python from the published schema."""
    out = tmp_path_factory.mktemp("proto")
    files = [str(p) for p in (ROOT / "proto").rglob("*.proto")]
    subprocess.run(["protoc", f"-I{ROOT / 'proto'}", f"--python_out={out}", *files], check=True)
    sys.path.insert(0, str(out))
    return importlib.import_module("dunlin.v1.packets_pb2")
