"""The shortest way through everything, for any store and sanitizer: log in, send, ack, deliver, reconnect, a storm. When this fails, look here first."""

import asyncio

import pytest

from im_client import TcpClient, WsClient
from storm import storm


async def login(server, user, device="d1", cls=WsClient, **fields):
    client = await cls.open(server)
    client.auto_ack = True
    await client.connect(server.token(user), device, **fields)
    return client


@pytest.mark.parametrize("transport", [WsClient, TcpClient])
async def test_two_users_chat_and_reconnect(server, transport):
    alice, bob = await transport.open(server), await transport.open(server)
    hello = await alice.connect(server.token("alice"))
    assert hello["user"] == "alice" and hello["heartbeat_interval_ms"] == 30000 and len(hello["epoch"]) == 16
    await bob.connect(server.token("bob"), "phone")
    sent = await alice.send("bob", "hi", "x1")
    assert sent["seq"] == 1 and not sent["duplicate"]
    got = await bob.push("message")
    assert (got["from"], got["seq"], got["client_msg_id"], got["body"]) == ("alice", 1, "x1", {"text": "hi"})
    assert got["conversation"] == sent["conversation"]
    await bob.ack(got["conversation"], got["seq"])
    assert (await bob.ping())["time_ms"] > 0
    await bob.close()

    assert (await alice.send("bob", "while away", "x2"))["seq"] == 2
    bob = await transport.open(server)
    assert (await bob.connect(server.token("bob"), "phone"))["resume"] == "complete"
    assert (await bob.push("message"))["seq"] == 2
    await alice.close()
    await bob.close()


async def test_chat_over_both_transports_in_order(server):
    alice, bob = await login(server, "alice"), await login(server, "bob", cls=TcpClient)
    sends = [await (alice if i % 2 else bob).raw("send", {"to": "bob" if i % 2 else "alice", "client_msg_id": f"m{i}", "body": i}) for i in range(300)]
    watcher = await login(server, "bob", "tablet")
    assert all("send" in reply for reply in await asyncio.gather(*sends))
    last = await alice.send("bob", "end", "end")
    assert last["seq"] == 301
    newest = (await watcher.request("history", {"with": "alice", "limit": 200}))["messages"]
    assert [m["seq"] for m in newest] == list(range(102, 302))


async def test_cut_device_resumes_without_a_hole(server):
    alice, bob = await login(server, "alice"), await login(server, "bob")
    for n in range(10):
        bob.cut()
        futures = [await alice.raw("send", {"to": "bob", "client_msg_id": f"{n}-{i}", "body": i}) for i in range(20)]
        bob = await login(server, "bob")
        seen = []
        while not seen or seen[-1] < 20 * (n + 1):
            seen.append((await bob.push("message"))["seq"])
        assert seen == list(range(seen[0], 20 * (n + 1) + 1)) and seen[0] <= 20 * n + 1
        await asyncio.gather(*futures)
        await bob.ping()


async def test_storm_leaves_a_server_that_serves(server):
    await storm(server, seconds=5, connections=12, seed=7)
    await storm(server, seconds=3, connections=4, seed=8)
