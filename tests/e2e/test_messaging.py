"""The messaging core as clients see it: acks, order, deduplication, devices, receipts, read state, transient messages."""

import asyncio

import pytest

from im_client import Refused, TcpClient, WsClient

FAST = {"session": {"heartbeat-interval-ms": 1000, "retransmit-after-ms": 200, "receipt-interval-ms": 50}}


async def login(server, user, device="d1", cls=WsClient, auto_ack=True, **fields):
    client = await cls.open(server)
    client.auto_ack = auto_ack
    await client.connect(server.token(user), device, **fields)
    return client


async def test_ack_names_place_and_durability(server):
    alice = await login(server, "alice")
    reply = await alice.send("bob", "hi", "x1")
    assert reply["seq"] == 1 and reply["durability"] == "fsync" and reply["duplicate"] is False and reply["time_ms"] > 0
    assert (await alice.send("bob", "again", "x2"))["seq"] == 2


async def test_message_reaches_every_device_of_both_users_but_not_its_own_session(server):
    first, second = await login(server, "alice", "phone"), await login(server, "alice", "laptop")
    bob_ws, bob_tcp = await login(server, "bob", "a"), await login(server, "bob", "b", cls=TcpClient)
    reply = await first.send("bob", "hi", "x1")
    for client in (second, bob_ws, bob_tcp):
        message = await client.push("message")
        assert message == {**message, "conversation": reply["conversation"], "seq": 1, "from": "alice", "client_msg_id": "x1", "body": {"text": "hi"}}
    await first.nothing("message")


async def test_conversation_is_in_order_without_holes_from_both_sides(server):
    alice, bob, watcher = await login(server, "alice"), await login(server, "bob"), await login(server, "bob", "tablet")
    sends = [await (alice if i % 2 else bob).raw("send", {"to": "bob" if i % 2 else "alice", "client_msg_id": f"m{i}", "body": i}) for i in range(200)]
    await asyncio.gather(*sends)
    seen = [m["seq"] for m in await watcher.messages(200)]
    assert seen == list(range(1, 201))


async def test_pipelined_sends_of_one_session_keep_their_order(server):
    alice, bob = await login(server, "alice"), await login(server, "bob")
    for i in range(100):
        await alice.raw("send", {"to": "bob", "client_msg_id": f"p{i}", "body": i})
    assert [m["body"] for m in await bob.messages(100)] == list(range(100))


async def test_user_who_never_connected_gets_his_messages_later(server):
    alice = await login(server, "alice")
    for i in range(5):
        await alice.send("newcomer", f"m{i}", f"n{i}")
    newcomer = await login(server, "newcomer")
    assert [m["seq"] for m in await newcomer.messages(5)] == [1, 2, 3, 4, 5]


async def test_chat_with_oneself(server):
    phone, laptop = await login(server, "alice", "phone"), await login(server, "alice", "laptop")
    reply = await phone.send("alice", "note", "s1")
    message = await laptop.push("message")
    assert message["conversation"] == reply["conversation"] and message["from"] == "alice"
    await phone.nothing("message")
    await laptop.nothing("message")


@pytest.mark.parametrize("form", ["free", "session"])
async def test_repeated_send_is_stored_once_and_gets_the_original_place(server, form):
    alice, bob = await login(server, "alice"), await login(server, "bob")
    prefix = alice.hello["session"] + "-" if form == "session" else "id"
    first = await alice.send("bob", "one", prefix + "1")
    await alice.send("bob", "two", prefix + "2")
    again = await alice.send("bob", "one", prefix + "1")
    assert again["duplicate"] is True and (again["seq"], again["time_ms"]) == (first["seq"], first["time_ms"])
    assert [m["seq"] for m in await bob.messages(2)] == [1, 2]
    await bob.nothing("message")


async def test_repeat_after_reconnect_and_restart_is_a_duplicate(server):
    alice = await login(server, "alice")
    session = alice.hello["session"]
    await alice.send("bob", "one", f"{session}-1")
    await alice.send("bob", "free", "free-1")
    alice.cut()
    alice = await login(server, "alice")
    assert (await alice.send("bob", "one", f"{session}-1"))["duplicate"]
    await alice.close()
    server.restart()
    alice = await login(server, "alice")
    assert (await alice.send("bob", "one", f"{session}-1"))["duplicate"]
    assert (await alice.send("bob", "free", "free-1"))["duplicate"]
    assert (await alice.send("bob", "new", "free-2"))["seq"] == 3


async def test_same_id_with_another_body_is_a_conflict(server):
    alice = await login(server, "alice")
    await alice.send("bob", "one", "x1")
    with pytest.raises(Refused) as refused:
        await alice.send("bob", "other", "x1")
    assert refused.value.name == "client_msg_id_conflict"
    assert (await alice.send("carol", "other", "x1"))["seq"] == 1  # another conversation, another message


async def test_same_id_of_both_users_are_two_messages(server):
    alice, bob = await login(server, "alice"), await login(server, "bob")
    assert (await alice.send("bob", "one", "x1"))["seq"] == 1
    assert (await bob.send("alice", "other", "x1"))["seq"] == 2


async def test_unacked_message_comes_again_on_reconnect_and_acked_does_not(server):
    alice = await login(server, "alice")
    bob = await login(server, "bob", auto_ack=False)
    for i in range(4):
        await alice.send("bob", f"m{i}", f"x{i}")
    messages = await bob.messages(4)
    await bob.ack(messages[0]["conversation"], 2)
    await bob.ping()
    bob.cut()
    bob = await login(server, "bob", auto_ack=False)
    assert [m["seq"] for m in await bob.messages(2)] == [3, 4]
    await bob.nothing("message")


async def test_ack_counts_only_up_to_what_was_pushed(server_factory):
    server = server_factory({"debug": {"unsafe-faults": {"drop-hints": True}}})
    alice = await login(server, "alice")
    bob = await login(server, "bob", auto_ack=False)
    await alice.send("bob", "m1", "x1")
    await bob.ping()
    message = await bob.push("message")
    await alice.send("bob", "m2", "x2")
    await bob.ack(message["conversation"], 2)  # there is such a message, and it was not pushed
    await bob.ping()
    assert (await bob.push("message"))["seq"] == 2
    bob.cut()
    bob = await login(server, "bob", auto_ack=False)
    assert (await bob.push("message"))["seq"] == 2


async def test_lost_ack_makes_heartbeat_send_again(server_factory):
    server = server_factory(FAST)
    alice, bob = await login(server, "alice"), await login(server, "bob", auto_ack=False)
    await alice.send("bob", "m", "x1")
    message = await bob.push("message")
    await asyncio.sleep(0.3)
    await bob.ping()
    assert await bob.push("message") == message
    await bob.ack(message["conversation"], 1)
    await bob.ping()
    await asyncio.sleep(0.6)
    await bob.ping()
    await bob.nothing("message")
    assert server.metric("dunlin_retransmissions_total") >= 1


async def test_websocket_ping_frame_is_a_heartbeat_too(server_factory):
    server = server_factory(FAST)
    alice, bob = await login(server, "alice"), await login(server, "bob", auto_ack=False)
    await alice.send("bob", "m", "x1")
    await bob.push("message")
    await asyncio.sleep(0.3)
    await (await bob.socket.ping())
    assert (await bob.push("message"))["seq"] == 1


@pytest.mark.deadline(90)
async def test_devices_converge_when_every_hint_is_dropped(server_factory):
    # Bob is silent while alice sends, and pings by hand: the usual heartbeat, so that a slow machine does not end his session meanwhile.
    server = server_factory({"debug": {"unsafe-faults": {"drop-hints": True}}})
    alice, bob = await login(server, "alice"), await login(server, "bob")
    for i in range(50):
        await alice.send("bob", f"m{i}", f"x{i}")
    await bob.nothing("message")
    await bob.ping()
    assert [m["seq"] for m in await bob.messages(50)] == list(range(1, 51))
    await alice.send("bob", "later", "later")
    await bob.ping()
    assert (await bob.push("message"))["seq"] == 51
    assert 'dunlin_config_unsafe{option="debug.unsafe-faults.drop-hints"} 1' in server.get("/metrics")[1]
    assert "WARN" in server.log and "debug.unsafe-faults.drop-hints" in server.log


async def test_receipts_tell_the_sender_delivered_and_read(server_factory):
    server = server_factory(FAST)
    alice, bob = await login(server, "alice"), await login(server, "bob")
    reply = await alice.send("bob", "m", "x1")
    await bob.push("message")
    receipt = await alice.push("receipt")
    assert receipt["user"] == "bob" and receipt["conversation"] == reply["conversation"] and receipt["delivered_seq"] == 1
    await bob.request("read", {"conversation": reply["conversation"], "seq": 1})
    while receipt.get("read_seq", 0) != 1:
        receipt = await alice.push("receipt")
    assert receipt["user"] == "bob"


async def test_read_position_only_rises_and_reaches_the_readers_other_devices(server_factory):
    server = server_factory(FAST)
    alice = await login(server, "alice")
    phone, laptop = await login(server, "bob", "phone"), await login(server, "bob", "laptop")
    for i in range(5):
        conversation = (await alice.send("bob", f"m{i}", f"x{i}"))["conversation"]
    await laptop.messages(5)
    assert (await phone.request("read", {"conversation": conversation, "seq": 4}))["read_seq"] == 4
    assert (await phone.request("read", {"conversation": conversation, "seq": 2}))["read_seq"] == 4
    while True:
        receipt = await laptop.push("receipt")
        if receipt["user"] == "bob" and receipt.get("read_seq"):
            assert receipt["read_seq"] == 4
            break
    assert (await laptop.request("read", {"conversation": conversation, "seq": 5}))["read_seq"] == 5


async def test_typing_reaches_the_peer_and_is_not_stored(server):
    alice, bob = await login(server, "alice"), await login(server, "bob")
    await alice.write({"typing": {"to": "bob"}})
    typing = await bob.push("typing")
    assert typing["from"] == "alice"
    assert (await bob.request("sync", {"limit": 10}))["conversations"] == []


async def test_transient_message_is_delivered_now_and_never_stored(server):
    alice, bob = await login(server, "alice"), await login(server, "bob")
    reply = await alice.request("send", {"to": "bob", "client_msg_id": "t1", "body": "wave", "transient": True})
    assert reply.get("seq", 0) == 0
    message = await bob.push("message")
    assert message["body"] == "wave" and message.get("seq", 0) == 0
    history = await bob.request("history", {"conversation": message["conversation"]})
    assert history["messages"] == []


async def test_more_durability_than_configured_is_refused(server_factory):
    server = server_factory({"store": {"durability": "os"}})
    alice = await login(server, "alice")
    with pytest.raises(Refused) as refused:
        await alice.send("bob", "m", "x1", durability="fsync")
    assert refused.value.name == "durability_unavailable"
    assert (await alice.send("bob", "m", "x1"))["durability"] == "os"


async def test_less_durability_can_be_asked_for(server):
    alice = await login(server, "alice")
    assert (await alice.send("bob", "m", "x1", durability="os"))["durability"] in ("os", "fsync")


async def test_body_is_kept_verbatim_but_for_line_breaks(server):
    alice, bob = await login(server, "alice", cls=TcpClient), await login(server, "bob", cls=TcpClient)
    body = '{"a" : 1.0e2,\n\t"b":"\\u00e9\\n", "a":[ ]}'
    await alice.write(b'{"id":77,"send":{"to":"bob","client_msg_id":"v1","body":' + body.encode() + b"}}")
    received = asyncio.get_running_loop().create_future()

    original = bob._take

    async def raw_take(packet):
        await original(packet)

    bob._take = raw_take
    message = await bob.push("message")
    assert message["body"] == {"a": [], "b": "é\n"}
    received.cancel()


async def test_sender_is_the_session_never_the_packet(server):
    alice, bob = await login(server, "alice"), await login(server, "bob")
    await alice.request("send", {"to": "bob", "from": "root", "sender": "root", "client_msg_id": "x1", "body": 1})
    assert (await bob.push("message"))["from"] == "alice"


async def test_logout_ends_the_session(server):
    alice = await login(server, "alice")
    await alice.request("logout", {})
    await asyncio.wait_for(alice.closed.wait(), 10)
    assert alice.close_code == 4502
