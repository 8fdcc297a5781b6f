"""History by seq, the conversation list, unread counts, and who may read what."""

import asyncio
import json
import time

import pytest

from im_client import Refused, TcpClient, WsClient


async def login(server, user, device="d1", cls=WsClient, **fields):
    client = await cls.open(server)
    client.auto_ack = True
    await client.connect(server.token(user), device, **fields)
    return client


async def fill(client, to, count, prefix="f"):
    futures = [await client.raw("send", {"to": to, "client_msg_id": f"{prefix}-{to}-{i}", "body": i}) for i in range(count)]
    replies = await asyncio.gather(*futures)
    assert all("send" in r for r in replies), replies[-1]
    return replies[0]["send"]["conversation"]


async def test_history_pages_both_ways_by_seq_and_gives_each_message_once(server):
    alice = await login(server, "alice")
    conversation = await fill(alice, "bob", 250)
    back, before = [], 251
    while True:
        page = await alice.request("history", {"conversation": conversation, "before_seq": before, "limit": 70})
        back = [m["seq"] for m in page["messages"]] + back
        if not page["more"]:
            break
        before = page["messages"][0]["seq"]
    assert back == list(range(1, 251))
    forth, after = [], 0
    while True:
        page = await alice.request("history", {"conversation": conversation, "after_seq": after, "limit": 70})
        forth += [m["seq"] for m in page["messages"]]
        if not page["more"]:
            break
        after = forth[-1]
    assert forth == list(range(1, 251))
    newest = await alice.request("history", {"conversation": conversation, "limit": 5})
    assert [m["seq"] for m in newest["messages"]] == [246, 247, 248, 249, 250] and newest["more"]


async def test_thousand_messages_of_the_same_moment_are_paged_once_each(server):
    """Sent in one burst, many share a millisecond; odd page sizes end inside such a group."""
    alice = await login(server, "alice", cls=TcpClient)
    conversation = await fill(alice, "bob", 1000)
    for limit in (7, 64, 199):
        got, times, after = [], [], 0
        while True:
            page = await alice.request("history", {"conversation": conversation, "after_seq": after, "limit": limit})
            got += [m["client_msg_id"] for m in page["messages"]]
            times += [m["time_ms"] for m in page["messages"]]
            after = page["messages"][-1]["seq"]
            if not page["more"]:
                break
        assert got == [f"f-bob-{i}" for i in range(1000)]
    assert len(set(times)) < 1000


async def test_history_by_user_and_of_nothing(server):
    alice = await login(server, "alice")
    await fill(alice, "bob", 3)
    assert len((await alice.request("history", {"with": "bob"}))["messages"]) == 3
    empty = await alice.request("history", {"with": "nobody"})
    assert empty["messages"] == [] and not empty["more"]


async def test_reply_is_cut_at_64_kib_with_at_least_one_message(server):
    alice = await login(server, "alice", cls=TcpClient)
    big = "x" * 30000
    for i in range(6):
        await alice.send("bob", big, f"b{i}")
    got, after = [], 0
    while True:
        page = await alice.request("history", {"with": "bob", "after_seq": after, "limit": 100})
        assert len(json.dumps(page)) <= 66000 and page["messages"]
        got += [m["seq"] for m in page["messages"]]
        if not page["more"]:
            break
        after = got[-1]
    assert got == [1, 2, 3, 4, 5, 6]


async def test_nobody_reads_or_touches_a_conversation_that_is_not_his(server):
    alice, eve = await login(server, "alice"), await login(server, "eve")
    conversation = await fill(alice, "bob", 2)
    for target in (conversation, "p5:alice:nobody", "p1:x:y", "garbage", conversation + " "):
        for command, body in (("history", {"conversation": target}), ("read", {"conversation": target, "seq": 1}),
                              ("send", {"conversation": target, "client_msg_id": "e1", "body": 1}), ("typing", {"conversation": target})):
            with pytest.raises(Refused) as refused:
                await eve.request(command, body)
            assert refused.value.name in ("forbidden", "not_found"), (command, target)
    await eve.write({"ack": {"positions": [{"conversation": conversation, "seq": 2}]}})
    assert (await eve.request("sync", {"limit": 10}))["conversations"] == []
    assert [m["seq"] for m in (await alice.request("history", {"conversation": conversation}))["messages"]] == [1, 2]


async def test_list_has_newest_first_with_last_message_unread_and_read_position(server):
    alice, bob = await login(server, "alice"), await login(server, "bob")
    for peer in ("u1", "u2", "u3"):
        await fill(bob, peer, 1)
    first = await fill(alice, "bob", 4)
    await bob.send("alice", "answer", "a1")
    await bob.request("read", {"conversation": first, "seq": 2})
    page = await bob.request("sync", {"limit": 2})
    top = page["conversations"][0]
    assert top["conversation"] == first and top["with"] == "alice" and top["head_seq"] == 5 and top["read_seq"] == 2
    assert top["unread"] == 2  # 3 and 4; 5 is his own
    assert top["last_message"]["body"] == {"text": "answer"}
    assert page["more"] and page["conversations"][1]["with"] == "u3"
    rest = await bob.request("sync", {"limit": 10, "cursor": page["cursor"]})
    assert [c["with"] for c in rest["conversations"]] == ["u2", "u1"] and not rest["more"]


async def test_incremental_list_names_only_what_changed(server):
    alice, bob = await login(server, "alice"), await login(server, "bob")
    for peer in ("u1", "u2", "u3", "u4"):
        await fill(bob, peer, 1)
    shared = await fill(alice, "bob", 2)
    token = (await bob.request("sync", {"limit": 50}))["sync_token"]
    # What was acked in the very instant of the first list may be named once more.
    nothing = await bob.request("sync", {"sync_token": token})
    assert {c["with"] for c in nothing["conversations"]} <= {"alice"}
    deadline = time.monotonic() + 5
    while nothing["conversations"]:
        assert time.monotonic() < deadline, "named again and again"
        nothing = await bob.request("sync", {"sync_token": nothing["sync_token"]})
    await fill(bob, "u2", 1, "more")
    await alice.request("read", {"conversation": shared, "seq": 2})
    changed = await bob.request("sync", {"sync_token": nothing["sync_token"]})
    assert {c["with"] for c in changed["conversations"]} == {"u2", "alice"}
    assert next(c for c in changed["conversations"] if c["with"] == "alice")["peer_read_seq"] == 2


@pytest.mark.deadline(240)
async def test_list_of_50000_conversations_costs_what_it_shows(server_factory):
    server = server_factory({"limits": {"user": {"mode": "off"}}, "store": {"log": {"segment-bytes": 4 << 20}}})
    alice = await login(server, "alice", cls=TcpClient)
    total, in_turn, window = 50_000, 40, []
    for i in range(total - in_turn):
        window.append(await alice.raw("send", {"to": f"peer{i}", "client_msg_id": f"c{i}", "body": {"text": f"hello {i}"}}))
        if len(window) == 512 or i == total - in_turn - 1:
            refused = [r for r in await asyncio.gather(*window) if "send" not in r]
            assert not refused, f"{len(refused)} of the window that ends with {i} were refused, first {refused[0]}"
            window = []
    # Sends to several conversations in one pipeline may be stored in any order: those that the first page shows go one after another.
    for i in range(total - in_turn, total):
        await alice.send(f"peer{i}", f"hello {i}", f"c{i}")
    await alice.close()
    server.restart()
    alice = await login(server, "alice", "viewer", cls=TcpClient)
    before = server.metric("dunlin_store_rows_read_total")
    page = await alice.request("sync", {"limit": 20})
    rows = server.metric("dunlin_store_rows_read_total") - before
    assert [c["with"] for c in page["conversations"]] == [f"peer{total - 1 - i}" for i in range(20)]
    assert len(json.dumps(page)) < 64 * 1024
    assert 20 <= rows <= 20 * 12, f"{rows} rows for 20 conversations"
    other = await login(server, "alice", "writer", cls=TcpClient)
    for peer in ("peer7", "peer49000", "peer25000"):
        await other.send(peer, "new", f"new-{peer}")
    before = server.metric("dunlin_store_rows_read_total")
    changed = await alice.request("sync", {"sync_token": page["sync_token"]})
    rows = server.metric("dunlin_store_rows_read_total") - before
    assert {c["with"] for c in changed["conversations"]} == {"peer7", "peer49000", "peer25000"}
    assert 3 <= rows <= 3 * 12, f"{rows} rows for 3 changed conversations"
