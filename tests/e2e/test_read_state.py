"""Read positions and unread counts: one truth in the server, whatever the order in which devices speak, and whoever is away."""

import asyncio
import random

from im_client import TcpClient, WsClient


async def login(server, user, device="d1", cls=WsClient, **fields):
    client = await cls.open(server)
    client.auto_ack = True
    await client.connect(server.token(user), device, **fields)
    return client


async def listed(client, peer):
    """What the conversation list says of the private conversation with `peer`."""
    page = await client.request("sync", {"limit": 50})
    return next(c for c in page["conversations"] if c["with"] == peer)


async def test_five_devices_that_read_in_any_order_converge_to_the_highest(server):
    rng = random.Random(31)
    alice = await login(server, "alice", cls=TcpClient)
    for i in range(60):
        conversation = (await alice.send("bob", f"m{i}", f"x{i}"))["conversation"]
    devices = {name: await login(server, "bob", name) for name in ("d1", "d2", "d3", "d4", "d5")}
    highest = 0
    for _ in range(80):
        name = rng.choice(list(devices))
        if devices[name] is None:
            devices[name] = await login(server, "bob", name)
        elif rng.random() < 0.2:
            devices[name].cut()
            devices[name] = None
            continue
        seq = rng.randrange(1, 55)
        highest = max(highest, seq)
        assert (await devices[name].request("read", {"conversation": conversation, "seq": seq}))["read_seq"] == highest
    for name, device in devices.items():
        device = device or await login(server, "bob", name)
        devices[name] = device
        assert (await listed(device, "alice"))["read_seq"] == highest
    assert (await listed(alice, "bob"))["peer_read_seq"] == highest
    server.restart()
    alone = await login(server, "bob", "d3")
    assert (await listed(alone, "alice"))["read_seq"] == highest


async def test_read_positions_that_were_answered_outlive_a_kill(server):
    alice = await login(server, "alice")
    for peer in ("bob", "carol"):
        for i in range(20):
            conversation = (await alice.send(peer, f"m{i}", f"{peer}-{i}"))["conversation"]
    carol = await login(server, "carol", cls=TcpClient)
    for seq in range(1, 20):
        assert (await carol.request("read", {"conversation": conversation, "seq": seq}))["read_seq"] == seq
    server.kill()
    server.start()
    carol = await login(server, "carol")
    line = await listed(carol, "alice")
    assert (line["read_seq"], line["unread"]) == (19, 1)
    assert (await listed(await login(server, "alice"), "carol"))["peer_read_seq"] == 19


async def test_a_sender_who_was_away_learns_by_name_how_far_his_messages_came(server):
    alice = await login(server, "alice")
    conversation = (await alice.send("bob", "hello", "x1"))["conversation"]
    other = (await alice.send("carol", "hello", "x2"))["conversation"]
    token = (await alice.request("sync", {}))["sync_token"]
    while (page := await alice.request("sync", {"sync_token": token}))["conversations"]:
        token = page["sync_token"]
    alice.cut()
    bob = await login(server, "bob")
    await bob.messages(1)
    await bob.request("ack", {"positions": [{"conversation": conversation, "seq": 1}]})
    alice = await login(server, "alice", sync_token=token)
    assert (await alice.request("sync", {"sync_token": token}))["conversations"] == []  # nothing that a log would tell
    deadline = asyncio.get_running_loop().time() + 10
    while True:  # cursors are written every 2 s
        page = await alice.request("sync", {"conversations": [other, conversation, "p5:alice:dora"]})
        assert [c["with"] for c in page["conversations"]] == ["carol", "bob"]
        assert not page["more"] and "sync_token" not in page  # it would cover more than was listed
        if [c["peer_delivered_seq"] for c in page["conversations"]] == [0, 1]:
            break
        assert asyncio.get_running_loop().time() < deadline, page
        await asyncio.sleep(0.2)


async def test_unread_is_what_a_model_computes_from_seqs_and_the_read_position(server):
    rng = random.Random(32)
    alice, bob = await login(server, "alice"), await login(server, "bob")
    senders, read = [], {"alice": 0, "bob": 0}
    conversation = None
    for step in range(400):
        kind = rng.random()
        if kind < 0.7 or conversation is None:
            name, client, peer = ("alice", alice, "bob") if rng.random() < 0.5 else ("bob", bob, "alice")
            conversation = (await client.send(peer, "m", f"s{step}"))["conversation"]
            senders.append(name)
        elif kind < 0.85:
            name, client = ("alice", alice) if rng.random() < 0.5 else ("bob", bob)
            seq = rng.randrange(1, len(senders) + 1)
            read[name] = max(read[name], seq)
            assert (await client.request("read", {"conversation": conversation, "seq": seq}))["read_seq"] == read[name]
        else:
            for name, client, peer in (("alice", alice, "bob"), ("bob", bob, "alice")):
                entry = await listed(client, peer)
                unread = sum(1 for seq, sender in enumerate(senders, 1) if seq > read[name] and sender != name)
                assert (entry["head_seq"], entry["read_seq"], entry["unread"]) == (len(senders), read[name], unread), step


async def test_reading_the_same_twice_is_the_same_and_clears_unread_everywhere(server_factory):
    server = server_factory({"session": {"receipt-interval-ms": 50}})
    alice = await login(server, "alice")
    online, offline = await login(server, "bob", "online"), await login(server, "bob", "offline")
    for i in range(7):
        conversation = (await alice.send("bob", f"m{i}", f"x{i}"))["conversation"]
    await offline.messages(7)
    await offline.ping()
    await offline.close()
    reader = await login(server, "bob", "reader")
    for _ in range(3):
        assert (await reader.request("read", {"conversation": conversation, "seq": 7}))["read_seq"] == 7
    receipt = await online.push("receipt")
    while receipt["user"] != "bob" or receipt.get("read_seq") != 7:
        receipt = await online.push("receipt")
    for client in (online, await login(server, "bob", "offline")):
        assert (await listed(client, "alice"))["unread"] == 0


async def test_fresh_device_sees_the_badge_in_one_request(server):
    alice, carol, bob = await login(server, "alice"), await login(server, "carol"), await login(server, "bob", "old")
    for i in range(9):
        first = (await alice.send("bob", f"a{i}", f"a{i}"))["conversation"]
    for i in range(4):
        await carol.send("bob", f"c{i}", f"c{i}")
    await bob.messages(13)
    await bob.request("read", {"conversation": first, "seq": 5})
    await bob.close()
    fresh = await login(server, "bob", "fresh")
    page = await fresh.request("sync", {"limit": 20})
    assert {c["with"]: (c["unread"], c["read_seq"]) for c in page["conversations"]} == {"alice": (4, 5), "carol": (4, 0)}
    assert sum(c["unread"] for c in page["conversations"]) == 8
