"""What an ack at each level is worth when the process dies, and that dying between any two steps of the store loses nothing."""

import asyncio
import shutil

import pytest

from im_client import Closed, TcpClient, WsClient

SMALL = {"store": {"log": {"segment-bytes": 256 * 1024}}, "limits": {"user": {"mode": "off"}}}
# Between the log and history, in the order in which a segment passes them; the last two belong to retention.
STEPS = ["seal", "sort", "volume", "files", "ingest", "recycle", "watermark", "drop"]


async def login(server, user, device="d1", cls=TcpClient, auto_ack=True, **fields):
    client = await cls.open(server)
    client.auto_ack = auto_ack
    await client.connect(server.token(user), device, **fields)
    return client


async def whole_history(client, peer):
    messages, after = [], 0
    while True:
        page = await client.request("history", {"with": peer, "after_seq": after, "limit": 200})
        messages += page["messages"]
        if not page["more"]:
            return messages, page
        after = messages[-1]["seq"]


@pytest.mark.deadline(90)
@pytest.mark.parametrize("step", STEPS)
async def test_kill_at_each_step_between_log_and_history_loses_nothing(server_factory, step):
    retention = {"message": {"history": {"retention-seconds": 2}}} if step in ("watermark", "drop") else {}
    server = server_factory({**SMALL, **retention, "store": {**SMALL["store"], "volume": {"span-seconds": 1}}, "debug": {"unsafe-faults": {"crash-at": step}}})
    alice = await login(server, "alice")
    acked, futures, n = {}, {}, 0
    try:
        while not alice.closed.is_set():
            while len(futures) < 64:
                n += 1
                futures[n] = await alice.raw("send", {"to": "bob", "client_msg_id": f"m{n}", "body": "x" * 2000})
            await asyncio.wait(list(futures.values()), return_when=asyncio.FIRST_COMPLETED, timeout=5)
            for number in [number for number, future in futures.items() if future.done()]:
                future = futures.pop(number)
                if future.exception() is None and "send" in future.result():
                    acked[number] = future.result()["send"]["seq"]
            if retention:
                await asyncio.sleep(0.02)
    except (OSError, Closed):
        pass
    for future in futures.values():
        future.cancel()
    assert await asyncio.to_thread(server.wait, 20) == -9, f"the fault point {step} was not reached\n{server.log[-2000:]}"
    assert len(acked) > 50
    server.config["debug"] = {}
    server.config.pop("message", None)  # with two seconds of retention more would be forgotten between two pages of what is read now
    server.start()
    alice = await login(server, "alice")
    messages, _ = await whole_history(alice, "bob")
    place = {m["client_msg_id"]: m["seq"] for m in messages}
    seqs = [m["seq"] for m in messages]
    assert seqs == list(range(seqs[0], seqs[-1] + 1)) and len(place) == len(seqs)
    if not retention:
        assert seqs[0] == 1
    missing = [number for number, seq in acked.items() if seq >= seqs[0] and place.get(f"m{number}") != seq]
    assert missing == []
    last = max(acked)
    again = await alice.request("send", {"to": "bob", "client_msg_id": f"m{last}", "body": "x" * 2000})
    assert (again["seq"], again["duplicate"]) == (acked[last], True)
    assert (await alice.send("bob", "next", "next"))["seq"] == seqs[-1] + 1


@pytest.mark.deadline(90)
async def test_level_os_survives_kill_with_its_epoch_but_says_less_than_fsync(server_factory, tmp_path):
    """The kernel that took the writes still has them, and the start knows it. A copy of the folder, as from another machine, knows nothing."""
    server = server_factory({"store": {"durability": "os"}})
    epoch, sent = None, 0
    for life in range(3):
        alice, bob = await login(server, "alice"), await login(server, "bob")
        assert epoch in (None, alice.hello["epoch"])
        if life > 0:
            assert bob.hello["resume"] == "complete"
        epoch = alice.hello["epoch"]
        replies = [await alice.send("bob", f"m{sent + i}", f"x{sent + i}") for i in range(50)]
        sent += 50
        assert {r["durability"] for r in replies} == {"os"} and alice.hello["durability"] == "os"
        await bob.messages(50)
        server.kill()
        if life == 2:
            shutil.copytree(server.data, tmp_path / "copy", ignore=shutil.ignore_patterns("control.sock"))
        server.start()
    alice = await login(server, "alice")
    messages, _ = await whole_history(alice, "bob")
    assert [m["client_msg_id"] for m in messages] == [f"x{i}" for i in range(150)]
    assert alice.hello["epoch"] == epoch
    await asyncio.to_thread(server.stop)
    server.config["store"]["path"] = str(tmp_path / "copy")
    server.start()
    assert (await login(server, "alice")).hello["epoch"] != epoch, "nothing tells whether the last acks are in it"


async def test_level_memory_says_so_and_renews_the_epoch_after_a_kill(server_factory):
    server = server_factory({"store": {"durability": "memory", "unsafe-memory-acks": True}})
    alice, bob = await login(server, "alice"), await login(server, "bob", auto_ack=False)
    for i in range(50):
        reply = await alice.send("bob", f"m{i}", f"x{i}")
        assert reply["durability"] == "memory" and reply["seq"] == i + 1  # the level reached, at least the one configured
    await bob.messages(50)
    token = (await bob.request("ack", {"positions": [{"conversation": reply["conversation"], "seq": 50}]}))["sync_token"]
    epoch = bob.hello["epoch"]
    server.kill()
    server.start()
    bob = await login(server, "bob", sync_token=token)
    assert bob.hello["epoch"] != epoch and bob.hello["resume"] == "reset"
    alice = await login(server, "alice")
    messages, _ = await whole_history(alice, "bob")
    kept = [m["seq"] for m in messages]
    assert kept == list(range(1, len(kept) + 1))
    assert (await alice.send("bob", "next", "next"))["seq"] == len(kept) + 1


async def test_clean_stop_keeps_everything_and_the_epoch_at_each_level(server_factory):
    for store in ({}, {"durability": "os"}, {"durability": "memory", "unsafe-memory-acks": True}):
        server = server_factory({"store": store})
        alice = await login(server, "alice")
        for i in range(20):
            await alice.send("bob", f"m{i}", f"x{i}")
        epoch = alice.hello["epoch"]
        await alice.close()
        await asyncio.to_thread(server.restart)
        alice = await login(server, "alice")
        assert alice.hello["epoch"] == epoch
        assert len((await whole_history(alice, "bob"))[0]) == 20
        await alice.close()


async def test_epoch_stays_over_a_kill_at_fsync(server):
    alice = await login(server, "alice")
    await alice.send("bob", "m", "x")
    epoch = alice.hello["epoch"]
    server.kill()
    server.start()
    assert (await login(server, "alice")).hello["epoch"] == epoch


@pytest.mark.deadline(90)
async def test_devices_converge_when_every_push_is_lost(server_factory):
    """Pushes count as sent and never reach the socket; when the fault ends, heartbeats bring everything."""
    server = server_factory({"session": {"heartbeat-interval-ms": 1000, "retransmit-after-ms": 100}, "debug": {"unsafe-faults": {"drop-pushes": True}}})
    alice, bob = await login(server, "alice", cls=WsClient), await login(server, "bob", cls=WsClient)
    for i in range(30):
        await alice.send("bob", f"m{i}", f"x{i}")
    await bob.nothing("message")
    history = await bob.request("history", {"with": "alice", "limit": 100})
    assert len(history["messages"]) == 30  # the timeline is the truth all the time
    server.config["debug"] = {}
    server.reload()
    seen = []
    deadline = asyncio.get_running_loop().time() + 30
    while len(seen) < 30:
        assert asyncio.get_running_loop().time() < deadline, seen
        await bob.ping()
        await asyncio.sleep(0.1)
        while not bob.pushes.empty():
            packet = bob.pushes.get_nowait()
            if packet and "message" in packet:
                seen.append(packet["message"]["seq"])
    assert sorted(set(seen)) == list(range(1, 31))
