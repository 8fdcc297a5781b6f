"""The server's wall clock is moved under it (libfaketime; the monotonic clock stays): order, deduplication and delivery must not notice."""

import asyncio
import os
import pathlib
import time

import pytest

from im_client import TcpClient, WsClient
from under_test import CLEAN_ENVIRONMENT

LIBRARY = next(iter(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
STEPS_S = [0, 600, -600, 0, 86_400, -86_400]
MESSAGES = 40  # in each direction at each step


class Clock:
    """The offset of the server's wall clock from ours, in seconds, moved while it runs."""

    def __init__(self, folder):
        self.file = folder / "offset"
        self.step(0)
        asan = CLEAN_ENVIRONMENT.get("ASAN_OPTIONS", "")
        self.prefix = [
            "env",
            f"LD_PRELOAD={LIBRARY}",
            f"FAKETIME_TIMESTAMP_FILE={self.file}",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            f"ASAN_OPTIONS={asan}{':' if asan else ''}verify_asan_link_order=0",
        ]

    def step(self, seconds):
        """Moves it at one go: a file that is half written would be a clock that stops."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}")
        os.replace(new, self.file)


@pytest.fixture
def clock(tmp_path):
    assert LIBRARY, "libfaketime is missing: ./x test installs it"
    return Clock(tmp_path)


def token(server, user):
    return server.token(user, ttl=3 * 86_400)  # must outlive the largest step


async def login(server, user, device, transport=WsClient, **more):
    client = await transport.open(server)
    await client.connect(token(server, user), device, **more)
    client.auto_ack = True
    return client


async def send_each_other(alice, bob, name):
    sends = []
    for i in range(MESSAGES):
        sends.append(await alice.raw("send", {"to": "bob", "client_msg_id": f"a-{name}-{i}", "body": i}))
        sends.append(await bob.raw("send", {"to": "alice", "client_msg_id": f"b-{name}-{i}", "body": i}))
    replies = await asyncio.wait_for(asyncio.gather(*sends), 20)
    assert all("send" in reply for reply in replies), replies
    return [reply["send"] for reply in replies]


async def test_steps_of_the_wall_clock_leave_order_and_delivery_alone(server_factory, clock):
    server = server_factory({"session": {"heartbeat-interval-ms": 500}}, prefix=clock.prefix)
    alice, bob = await login(server, "alice", "phone"), await login(server, "bob", "phone")
    tablet = await login(server, "bob", "tablet", TcpClient)  # receives only
    stored = []
    for offset in STEPS_S:
        sending = asyncio.create_task(send_each_other(alice, bob, f"during{offset}-{len(stored)}"))
        clock.step(offset)  # in the middle of it
        stored += await sending
        stored += await send_each_other(alice, bob, f"after{offset}-{len(stored)}")
        shift = stored[-1]["time_ms"] / 1000 - time.time()
        assert abs(shift - offset) < 30, f"the clock did not step: {shift} s instead of {offset}"
    total = len(STEPS_S) * 4 * MESSAGES
    assert sorted(reply["seq"] for reply in stored) == list(range(1, total + 1))
    assert not any(reply.get("duplicate") for reply in stored)
    seen = [m["seq"] for m in await tablet.messages(total)]
    assert seen == list(range(1, total + 1))

    # It starts again in the past: what was stored in the future is neither passed over nor given a second seq.
    clock.step(-3600)
    server.restart()
    alice, laptop = await login(server, "alice", "phone"), await login(server, "bob", "laptop")
    first, last = stored[0], stored[-1]
    for name, body, original in [("a-during0-0-0", 0, first), (f"b-after{STEPS_S[-1]}-{total - 2 * MESSAGES}-{MESSAGES - 1}", MESSAGES - 1, last)]:
        sender, to = (alice, "bob") if name.startswith("a") else (laptop, "alice")
        again = await sender.request("send", {"to": to, "client_msg_id": name, "body": body})
        assert again["duplicate"] and (again["seq"], again["time_ms"]) == (original["seq"], original["time_ms"]), again
    assert (await alice.send("bob", "new", "new"))["seq"] == total + 1
    assert (await laptop.push("message"))["seq"] == total + 1
    paged, page = [], {"more": True}
    while page["more"]:
        before = {"before_seq": paged[0]} if paged else {}
        page = await laptop.request("history", {"conversation": first["conversation"], "limit": 100, **before})
        paged = [m["seq"] for m in page["messages"]] + paged
    assert paged == list(range(1, total + 2))
