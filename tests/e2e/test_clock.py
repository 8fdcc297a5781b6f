"""The server's wall clock is moved under it (libfaketime; the monotonic clock stays): order, deduplication and delivery must not notice."""

import asyncio
import os
import pathlib
import time

import jwt
import pytest

from im_client import Refused, TcpClient, WsClient
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


async def until_closed(client, seconds=15):
    await asyncio.wait_for(client.closed.wait(), seconds)
    return client.kick["name"]


async def test_tokens_are_judged_by_the_clock_that_is_not_by_the_one_at_login(server_factory, clock):
    server = server_factory({}, prefix=clock.prefix)  # heartbeats every 30 s: nothing else looks at the sessions soon
    now = int(time.time())

    async def with_claims(user, **claims):
        client = await WsClient.open(server)
        client.claims = jwt.encode({"sub": user, **claims}, server.secret, "HS256")
        reply = await asyncio.wait_for(await client.raw("connect", {"token": client.claims, "device": "d"}), 10)
        return client, reply

    short, _ = await with_claims("short", exp=now + 3600)
    long, _ = await with_claims("long", exp=now + 3 * 86_400)
    early, _ = await with_claims("early", exp=now + 3 * 86_400, nbf=now)
    clock.step(-3000)
    assert await until_closed(early) == "token_not_yet_valid"
    assert early.kick["reconnect"] == "yes" and early.close_code == 4011
    clock.step(3540)  # by 6,540 s at once, to 60 s before the end
    await asyncio.sleep(3)
    await short.ping()
    clock.step(3700)
    assert await until_closed(short) == "token_expired"
    clock.step(0)
    await asyncio.sleep(3)
    await long.ping()
    assert "connect" in (await with_claims("short", exp=now + 3600))[1]

    # What is good within five minutes is refused for now; the client comes back with the same token.
    soon, reply = await with_claims("soon", exp=now + 3600, nbf=int(time.time()) + 120)
    assert reply["error"]["name"] == "token_not_yet_valid" and reply["error"]["temporary"]
    assert 60_000 < reply["error"]["retry_after_ms"] <= 120_000
    await until_closed(soon)
    assert soon.close_code == 4011
    clock.step(reply["error"]["retry_after_ms"] // 1000 + 1)
    assert "connect" in (await with_claims("soon", exp=now + 3600, nbf=now + 120))[1]
    later, reply = await with_claims("later", exp=now + 7200, nbf=now + 3600)
    assert reply["error"]["name"] == "unauthorized"
    await until_closed(later)
    assert later.close_code == 4500


async def test_a_token_that_is_good_soon_refreshes_nothing_and_ends_nothing(server_factory, clock):
    server = server_factory({}, prefix=clock.prefix)
    client = await login(server, "alice", "d")
    soon = jwt.encode({"sub": "alice", "exp": int(time.time()) + 7200, "nbf": int(time.time()) + 120}, server.secret, "HS256")
    with pytest.raises(Refused) as refused:
        await client.request("refresh", {"token": soon})
    assert refused.value.name == "token_not_yet_valid" and refused.value.error["retry_after_ms"] > 0
    clock.step(120)
    assert (await client.request("refresh", {"token": soon}))["expires_ms"]


async def test_a_connected_device_is_not_idle_when_the_clock_steps_over_two_months(server_factory, clock):
    server = server_factory({"session": {"max-devices": 2}}, prefix=clock.prefix)
    forever = jwt.encode({"sub": "alice", "exp": int(time.time()) + 300 * 86_400}, server.secret, "HS256")

    async def connect(device, **more):
        client = await TcpClient.open(server)
        await client.connect(forever, device, **more)
        return client

    stays, goes = await connect("stays"), await connect("goes")
    await goes.close()
    while any(one["connected"] for one in (await stays.request("devices", {}))["devices"] if one["device"] == "goes"):
        await asyncio.sleep(0.01)  # its end is of the time before the step
    clock.step(61 * 86_400)
    new = await connect("new")
    assert {one["device"] for one in (await stays.request("devices", {}))["devices"]} == {"stays", "new"}
    await asyncio.sleep(3)  # the step is noticed
    stays.cut()
    await new.close()
    assert (await connect("stays")).hello["resume"] == "complete"
    clock.step(0)
    back = await connect("goes")
    assert back.hello["resume"] == "complete"  # idle only by a clock that was wrong
    assert all(one["last_seen_ms"] / 1000 < time.time() + 62 * 86_400 for one in (await back.request("devices", {}))["devices"])


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
