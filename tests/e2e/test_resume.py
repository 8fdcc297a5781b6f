"""Reconnecting: complete, truncated or reset, never a silent hole."""

import asyncio
import shutil
import subprocess

import pytest

from im_client import WsClient


async def login(server, user, device="d1", auto_ack=True, **fields):
    client = await WsClient.open(server)
    client.auto_ack = auto_ack
    await client.connect(server.token(user), device, **fields)
    return client


async def gone(server, left):
    """Waits until the server has only `left` sessions: it notices the end of one a moment after its client."""
    deadline = asyncio.get_running_loop().time() + 20
    while server.metric("dunlin_sessions") > left:
        assert asyncio.get_running_loop().time() < deadline, "the session never ended"
        await asyncio.sleep(0.01)


async def acked_token(client, conversation, seq):
    """A sync_token after an ack."""
    return (await client.request("ack", {"positions": [{"conversation": conversation, "seq": seq}]}))["sync_token"]


async def test_nothing_new_is_complete_without_a_store_read(server):
    alice, bob = await login(server, "alice"), await login(server, "bob", auto_ack=False)
    conversation = (await alice.send("bob", "m", "x1"))["conversation"]
    await bob.push("message")
    token = await acked_token(bob, conversation, 1)
    await bob.close()
    before = server.metric("dunlin_store_rows_read_total")
    bob = await login(server, "bob", auto_ack=False, sync_token=token)
    assert bob.hello["resume"] == "complete" and not bob.hello.get("changed")
    assert server.metric("dunlin_store_rows_read_total") == before
    await bob.nothing("message")


async def test_what_was_missed_is_read_from_memory_though_history_has_it_too(server_factory):
    server = server_factory({"store": {"log": {"segment-bytes": 262144}}, "limits": {"user": {"mode": "off"}}})
    alice, bob = await login(server, "alice"), await login(server, "bob", auto_ack=False)
    conversation = (await alice.send("bob", "m", "x1"))["conversation"]
    await bob.push("message")
    token = await acked_token(bob, conversation, 1)
    await bob.close()
    for i in range(20):
        await alice.send("bob", f"missed{i}", f"y{i}")
    for i in range(20):  # three segments more, so that the first is sealed and enters history
        await alice.send("others", "z" * 40000, f"z{i}")
    deadline = asyncio.get_running_loop().time() + 20
    while server.metric("dunlin_store_log_backlog_bytes") >= 262144:
        assert asyncio.get_running_loop().time() < deadline, "history never took the segments"
        await asyncio.sleep(0.05)

    all_rows, disk_rows = server.metric("dunlin_store_rows_read_total"), server.metric("dunlin_store_disk_rows_read_total")
    bob = await login(server, "bob", auto_ack=False, sync_token=token)
    assert bob.hello["resume"] == "complete"
    assert bob.hello["changed"] == [{"conversation": conversation, "from_seq": 2, "head_seq": 21}]
    assert [m["seq"] for m in await bob.messages(20)] == list(range(2, 22))
    await bob.ping()
    assert server.metric("dunlin_store_rows_read_total") >= all_rows + 20
    assert server.metric("dunlin_store_disk_rows_read_total") == disk_rows
    await bob.close()

    server.restart()  # with nothing in memory but the last segment: now the same resume has to read
    bob = await login(server, "bob", auto_ack=False, sync_token=token)
    assert [m["seq"] for m in await bob.messages(20)] == list(range(2, 22))
    assert server.metric("dunlin_store_disk_rows_read_total") >= 20


async def test_what_came_while_away_is_delivered_in_order(server):
    alice, bob = await login(server, "alice"), await login(server, "bob", auto_ack=False)
    conversation = (await alice.send("bob", "m", "x1"))["conversation"]
    await bob.push("message")
    token = await acked_token(bob, conversation, 1)
    await bob.close()
    for i in range(30):
        await alice.send("bob", f"m{i}", f"y{i}")
    bob = await login(server, "bob", sync_token=token)
    assert bob.hello["resume"] == "complete"
    assert [m["seq"] for m in await bob.messages(30)] == list(range(2, 32))


async def test_connect_names_what_has_changed_and_where_its_pushes_begin(server):
    bob = await login(server, "bob", auto_ack=False)
    old, new = {}, {}
    for peer in ("quiet", "u1", "u2"):
        writer = await login(server, peer)
        for i in range(3):
            old[peer] = await writer.send("bob", f"m{i}", f"{peer}-{i}")
        await writer.close()
    await bob.messages(9)
    for reply in old.values():
        token = await acked_token(bob, reply["conversation"], reply["seq"])
    await bob.close()
    for peer in ("u1", "u2", "new"):
        writer = await login(server, peer)
        for i in range(2):
            new[peer] = await writer.send("bob", f"later{i}", f"{peer}-later{i}")
        await writer.close()
    expected = [{"conversation": new[peer]["conversation"], "from_seq": new[peer]["seq"] - 1, "head_seq": new[peer]["seq"]} for peer in ("u1", "u2", "new")]
    for how in ("token", "cursor", "restart"):
        if how == "restart":
            server.restart()
        bob = await login(server, "bob", auto_ack=False, **({} if how == "cursor" else {"sync_token": token}))
        assert bob.hello["resume"] == "complete" and bob.hello["more"] is False
        assert sorted(bob.hello["changed"], key=lambda c: c["conversation"]) == sorted(expected, key=lambda c: c["conversation"]), how
        pushed = {}
        for m in await bob.messages(6):
            pushed.setdefault(m["conversation"], []).append(m["seq"])
        assert pushed == {c["conversation"]: [c["from_seq"], c["head_seq"]] for c in expected}, how
        bob.cut()
        await bob.closed.wait()


async def test_changed_counts_from_what_was_not_acked(server):
    alice, bob = await login(server, "alice"), await login(server, "bob", auto_ack=False)
    for i in range(4):
        conversation = (await alice.send("bob", f"m{i}", f"x{i}"))["conversation"]
    await bob.messages(4)
    await bob.ack(conversation, 2)
    await bob.ping()
    await bob.close()
    await alice.send("bob", "m4", "x4")
    bob = await login(server, "bob", auto_ack=False)
    assert bob.hello["changed"] == [{"conversation": conversation, "from_seq": 3, "head_seq": 5}] and bob.hello["more"] is False
    assert [m["seq"] for m in await bob.messages(3)] == [3, 4, 5]


async def test_changed_names_a_page_and_says_that_there_is_more(server_factory):
    server = server_factory({"limits": {"user": {"mode": "off"}}})
    bob = await login(server, "bob")
    await bob.close()
    alice = await login(server, "alice")
    users = [f"u{i}" for i in range(100)]
    for user in users:  # alice's other device is the one that comes back
        await alice.send(user, "hello", f"to-{user}")
    other = await login(server, "alice", "other")
    await other.close()
    writers = [await login(server, user) for user in users]
    for writer in writers:
        await writer.send("alice", "answer", "a1")
    other = await login(server, "alice", "other")
    changed = {c["conversation"]: c for c in other.hello["changed"]}
    assert 0 < len(changed) == len(other.hello["changed"]) <= 64 and other.hello["more"] is True
    pushed = await other.messages(100)
    for m in pushed:
        if m["conversation"] in changed:
            assert changed[m["conversation"]]["from_seq"] <= m["seq"]
    assert len({m["conversation"] for m in pushed}) == 100


async def test_resume_survives_restarts_and_repeats(server):
    alice, bob = await login(server, "alice"), await login(server, "bob", auto_ack=False)
    conversation = (await alice.send("bob", "m", "x1"))["conversation"]
    await bob.push("message")
    token = await acked_token(bob, conversation, 1)
    await bob.close()
    await alice.send("bob", "while away", "x2")
    await alice.close()
    server.restart()
    for _ in range(3):  # a token is good more than once: nothing was acked in between
        bob = await login(server, "bob", auto_ack=False, sync_token=token)
        assert bob.hello["resume"] == "complete"
        assert (await bob.push("message"))["seq"] == 2
        bob.cut()


async def test_older_token_of_a_reinstalled_app_wins_over_the_stored_cursor(server):
    alice, bob = await login(server, "alice"), await login(server, "bob", auto_ack=False)
    conversation = (await alice.send("bob", "m", "x1"))["conversation"]
    await bob.push("message")
    old = await acked_token(bob, conversation, 1)
    await alice.send("bob", "m2", "x2")
    await bob.push("message")
    await acked_token(bob, conversation, 2)
    await bob.close()
    bob = await login(server, "bob", sync_token=old)
    assert (await bob.push("message"))["seq"] == 2


async def test_device_without_token_goes_on_from_its_stored_cursor(server):
    alice, bob = await login(server, "alice"), await login(server, "bob")
    await alice.send("bob", "m1", "x1")
    await bob.push("message")
    await bob.ping()
    await bob.close()
    await alice.send("bob", "m2", "x2")
    bob = await login(server, "bob")
    assert (await bob.push("message"))["seq"] == 2
    await bob.nothing("message")


async def test_second_device_starts_where_the_first_one_is(server):
    alice, bob = await login(server, "alice"), await login(server, "bob", "phone")
    await alice.send("bob", "m1", "x1")
    await bob.push("message")
    await bob.ping()
    await bob.close()
    await gone(server, 1)
    laptop = await login(server, "bob", "laptop")
    await laptop.nothing("message")
    await alice.send("bob", "m2", "x2")
    assert (await laptop.push("message"))["seq"] == 2


async def test_malformed_and_foreign_tokens_are_reset_not_trusted(server):
    alice, bob = await login(server, "alice"), await login(server, "bob", auto_ack=False)
    conversation = (await alice.send("bob", "m", "x1"))["conversation"]
    await bob.push("message")
    token = await acked_token(bob, conversation, 1)
    await bob.close()
    for user, device, bad in (("bob", "d1", token[:-2] + ("AA" if not token.endswith("AA") else "BB")), ("eve", "d1", token), ("bob", "d2", token), ("bob", "d1", "%%%")):
        client = await WsClient.open(server)
        reply = await (await client.raw("connect", {"token": server.token(user), "device": device, "sync_token": bad}))
        known = (user, device) == ("bob", "d1")  # then what the server itself remembers counts
        assert "error" in reply or reply["connect"]["resume"] == ("complete" if known else "reset"), (user, device, bad)
        await client.nothing("message")
        client.cut()


async def test_conversation_trimmed_while_away_is_truncated_and_named(server_factory):
    server = server_factory({"message": {"history": {"retention-seconds": 2}}, "store": {"volume": {"span-seconds": 1}, "log": {"segment-bytes": 1 << 20}}})
    alice, bob = await login(server, "alice"), await login(server, "bob", auto_ack=False)
    conversation = (await alice.send("bob", "m", "x0"))["conversation"]
    await bob.push("message")
    token = await acked_token(bob, conversation, 1)
    await bob.close()
    await alice.send("bob", "lost to retention", "x1")
    deadline = asyncio.get_running_loop().time() + 45
    n = 0
    while True:  # new traffic seals segments and lets old volumes go
        for _ in range(40):
            n += 1
            await alice.send("carol", "x" * 30000, f"fill{n}")
        page = await alice.request("history", {"conversation": conversation, "after_seq": 1})
        if not page["messages"]:
            break
        assert asyncio.get_running_loop().time() < deadline, "retention never trimmed"
        await asyncio.sleep(0.3)
    assert page["gaps"] == [{"conversation": conversation, "from_seq": 2, "to_seq": 2, "reason": "truncated"}]
    server.stop()
    server.config["message"] = {}  # what comes now stays, however slow this machine is
    server.start()
    alice = await login(server, "alice")
    last = await alice.send("bob", "after", "x2")
    assert last["seq"] == 3  # an emptied conversation goes on counting
    bob = await login(server, "bob", auto_ack=False, sync_token=token)
    assert bob.hello["resume"] == "truncated"
    assert [(t["conversation"], t["from_seq"]) for t in bob.hello["truncated"]] == [(conversation, 3)]
    gap = await bob.push("gap")
    # Where in a trimmed timeline a position was can no longer be told: the gap may begin earlier, never later.
    assert (gap["conversation"], gap["to_seq"], gap["reason"]) == (conversation, 2, "truncated") and gap["from_seq"] in (1, 2)
    assert (await bob.push("message"))["seq"] == 3
    await bob.ack(conversation, 3)
    await bob.ping()
    bob.cut()
    bob = await login(server, "bob")
    await bob.nothing("gap")


async def test_restored_store_answers_reset_to_higher_positions(server_factory, binary, tmp_path):
    server = server_factory()
    alice, bob = await login(server, "alice"), await login(server, "bob", auto_ack=False)
    conversation = (await alice.send("bob", "m1", "x1"))["conversation"]
    await bob.push("message")
    subprocess.run([binary, "backup", str(tmp_path / "backup"), "--config", str(server.folder / "dunlin.yaml")], check=True, timeout=60)
    await alice.send("bob", "m2", "x2")
    await bob.push("message")
    token = await acked_token(bob, conversation, 2)
    epoch = bob.hello["epoch"]
    await asyncio.gather(alice.close(), bob.close())
    server.stop()
    subprocess.run([binary, "restore", str(tmp_path / "backup"), "--into", str(tmp_path / "restored")], check=True, timeout=60)
    again = subprocess.run([binary, "restore", str(tmp_path / "backup"), "--into", str(tmp_path / "restored")], timeout=60)
    assert again.returncode != 0, "restore must not overwrite"
    shutil.rmtree(server.data)
    shutil.move(str(tmp_path / "restored"), server.data)
    server.start()
    bob = await login(server, "bob", auto_ack=False, sync_token=token)
    assert bob.hello["resume"] == "reset" and bob.hello["epoch"] != epoch
    history = await bob.request("history", {"conversation": conversation})
    assert [m["seq"] for m in history["messages"]] == [1]
    alice = await login(server, "alice")
    assert (await alice.send("bob", "m2 again", "x3"))["seq"] == 2
    assert (await bob.push("message"))["seq"] == 2
    renewed = bob.hello["sync_token"]
    await bob.close()
    bob = await login(server, "bob", auto_ack=False, sync_token=token)
    assert bob.hello["resume"] == "reset", "the token of before means reset every time"
    await bob.nothing("message")
    await bob.close()
    bob = await login(server, "bob", auto_ack=False, sync_token=renewed)
    assert bob.hello["resume"] == "complete"
    assert (await bob.push("message"))["seq"] == 2
    await bob.close()
    bob = await login(server, "bob", auto_ack=False)
    assert bob.hello["resume"] == "complete", "none goes on from where the device stands"


async def test_an_older_token_after_logout_goes_on_behind_what_it_covers(server):
    alice, bob = await login(server, "alice"), await login(server, "bob", auto_ack=False)
    conversation = (await alice.send("bob", "m1", "x1"))["conversation"]
    await bob.push("message")
    token = await acked_token(bob, conversation, 1)
    await alice.send("bob", "m2", "x2")
    await bob.push("message")
    await acked_token(bob, conversation, 2)
    await bob.request("logout", {})
    await asyncio.wait_for(bob.closed.wait(), 10)
    other = await login(server, "bob", "another", auto_ack=False, sync_token=token)
    assert other.hello["resume"] == "reset", "a token is of one device"
    bob = await login(server, "bob", auto_ack=False, sync_token=token)
    assert bob.hello["resume"] == "complete"
    assert (await bob.push("message"))["seq"] == 2


async def test_ack_without_positions_asks_for_the_token_alone(server):
    alice, bob = await login(server, "alice"), await login(server, "bob", auto_ack=False)
    assert await bob.request("ack", {}) == {}, "nothing is known yet"
    conversation = (await alice.send("bob", "m1", "x1"))["conversation"]
    await bob.push("message")
    await acked_token(bob, conversation, 1)
    for body in ({}, {"positions": []}, {"positions": None}):
        assert set(await bob.request("ack", body)) == {"sync_token"}, body
        await bob.write({"ack": body})
    await bob.ping()
    assert not [packet for packet in bob.seen if "error" in packet]


async def test_history_is_answered_while_a_device_is_catching_up(server_factory):
    """What the app shows does not wait behind what it has missed elsewhere."""
    server = server_factory({"limits": {"user": {"mode": "off"}}, "net": {"write-queue-bytes": 65536}, "performance": {"max-frame-size": 32768}})
    bob = await login(server, "bob")
    await bob.close()
    alice, carol = await login(server, "alice"), await login(server, "carol")
    for i in range(60):
        await alice.send("bob", "x" * 20000, f"x{i}")
    await carol.send("bob", "what bob wants to see", "c1")
    bob = await login(server, "bob", auto_ack=False)
    page = await bob.request("history", {"with": "carol"})
    assert page["messages"][0]["body"] == {"text": "what bob wants to see"}


@pytest.mark.parametrize("stop", ["kill", "stop"])
async def test_acked_position_survives_the_end_of_the_server(server, stop):
    alice, bob = await login(server, "alice"), await login(server, "bob", auto_ack=False)
    conversation = (await alice.send("bob", "m1", "x1"))["conversation"]
    await bob.push("message")
    token = await acked_token(bob, conversation, 1)
    getattr(server, stop)()
    server.start()
    bob = await login(server, "bob", sync_token=token)
    assert bob.hello["resume"] == "complete"
    await bob.nothing("message")


async def test_conversation_that_the_app_shows_is_delivered_before_all_others(server):
    bob = await login(server, "bob")
    await bob.close()
    conversations = {}
    for peer in ("u1", "u2", "u3", "u4"):
        writer = await login(server, peer)
        for i in range(20):
            conversations[peer] = (await writer.send("bob", f"m{i}", f"{peer}-{i}"))["conversation"]
        await writer.close()
    shown = conversations["u3"]
    bob = await login(server, "bob", open=[{"conversation": shown, "seq": 0}, {"conversation": "p1:x:y", "seq": 0}])
    messages = await bob.messages(80)
    assert [(m["conversation"], m["seq"]) for m in messages[:20]] == [(shown, i + 1) for i in range(20)]
    assert len({(m["conversation"], m["seq"]) for m in messages}) == 80
