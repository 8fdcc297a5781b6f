"""The devices of a user: how many there may be, who makes room, listing and forgetting them."""

import asyncio
import time

import pytest

from im_client import Closed, Refused, TcpClient, WsClient

LIMIT = 32  # session.max-devices by default


async def login(server, user, device, transport=TcpClient, **more):
    client = await transport.open(server)
    client.auto_ack = True
    await client.connect(server.token(user), device, **more)
    return client


async def try_login(server, user, device):
    """The client, or the name of what it was refused with."""
    try:
        return await login(server, user, device)
    except Refused as refused:
        return refused.name


async def devices(client):
    reply = await client.request("devices", {})
    assert not reply["more"]
    return {one["device"]: one for one in reply["devices"]}


async def gone(server, client, device):
    """Waits until the device counts as not connected."""
    deadline = time.monotonic() + 10
    while (await devices(client))[device]["connected"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("at_once", [60, 300])
async def test_no_more_devices_than_allowed_get_in_whoever_comes_at_once(server, at_once):
    outcomes = await asyncio.gather(*(try_login(server, "alice", f"d{i}") for i in range(at_once)))
    inside = [one for one in outcomes if not isinstance(one, str)]
    assert len(inside) == LIMIT
    assert {one for one in outcomes if isinstance(one, str)} == {"device_limit"}
    assert len(await devices(inside[0])) == LIMIT
    for client in inside:
        await client.ping()
    server.kill()
    server.clean = False
    server.start()
    again = await login(server, "alice", "d-after-the-end")
    assert len(await devices(again)) == LIMIT  # the rows too: one made room for this one


async def test_devices_that_come_and_go_at_once_stay_within_the_limit(server_factory):
    server = server_factory({"session": {"max-devices": 4}})
    stop = time.monotonic() + 4

    async def come_and_go(number):
        rounds = 0
        while time.monotonic() < stop:
            rounds += 1
            try:
                client = await try_login(server, "alice", f"d{(number * 7 + rounds) % 20}")
                if isinstance(client, str):
                    assert client == "device_limit"
                    continue
                assert len(await devices(client)) <= 4
                if rounds % 5 == 0:
                    await client.raw("logout", {})
                elif rounds % 5 == 1:
                    await client.raw("forget_device", {"device": f"d{(number + rounds) % 20}"})
                elif rounds % 5 == 2:
                    await client.close()
                else:
                    client.cut()
            except (Closed, OSError):
                pass  # it was replaced or forgotten
        return rounds

    assert sum(await asyncio.gather(*(come_and_go(i) for i in range(12)))) > 100
    last = await login(server, "alice", "last")
    assert len(await devices(last)) <= 4


async def test_the_device_that_was_away_longest_makes_room_and_everybody_is_told(server_factory):
    server = server_factory({"session": {"max-devices": 3}})
    bob = await login(server, "bob", "d")
    stays = await login(server, "alice", "stays", platform="ios")
    tokens = {}
    for device in ("first", "second"):
        client = await login(server, "alice", device, WsClient)
        await bob.send("alice", "hi", f"for-{device}")
        await client.push("message")
        tokens[device] = (await client.request("ack", {"positions": []}))["sync_token"]
        await client.close()
        await gone(server, stays, device)
    third = await login(server, "alice", "third", WsClient)
    for client in (stays, third):
        notice = await client.push("notice")
        assert notice["name"] == "device_forgotten" and notice["device"] == "first" and "first" in notice["text"]
    listed = await devices(stays)
    assert {name: one["connected"] for name, one in listed.items()} == {"stays": True, "third": True, "second": False}
    assert listed["stays"]["platform"] == "ios" and "platform" not in listed["third"]
    assert [name for name, one in listed.items() if one.get("current")] == ["stays"]  # who asks
    assert all(abs(one["last_seen_ms"] / 1000 - time.time()) < 60 for one in listed.values())

    back = await login(server, "alice", "first", sync_token=tokens["first"])
    assert back.hello["resume"] == "reset"  # it is told, though its token is good
    assert (await third.push("notice"))["device"] == "second"
    await back.close()
    await gone(server, stays, "first")
    assert (await login(server, "alice", "second")).hello["resume"] == "reset"  # also without one
    assert (await try_login(server, "alice", "fourth")) == "device_limit"
    await third.close()
    await gone(server, stays, "third")
    assert not isinstance(await try_login(server, "alice", "fourth"), str)


async def test_refused_only_while_all_are_connected(server_factory):
    server = server_factory({"session": {"max-devices": 2}})
    held = [await login(server, "alice", device) for device in ("a", "b")]
    client = await WsClient.open(server)
    with pytest.raises(Refused) as refused:
        await client.connect(server.token("alice"), "c")
    assert refused.value.name == "device_limit" and refused.value.error["code"] == 4518
    await client.closed.wait()
    assert client.close_code == 4518
    again = await login(server, "alice", "a")  # a known one is never refused
    await held[1].close()
    await gone(server, again, "b")
    assert (await login(server, "alice", "c")).hello["resume"] == "complete"


@pytest.mark.parametrize("transport", [WsClient, TcpClient])
async def test_a_user_forgets_a_device(server, transport):
    phone, laptop = await login(server, "alice", "phone", transport), await login(server, "alice", "laptop", transport)
    other = await login(server, "alice", "other", transport)
    mallory = await login(server, "mallory", "d", transport)
    await mallory.send("alice", "hi", "m1")
    await laptop.push("message")
    token = (await laptop.request("ack", {"positions": []}))["sync_token"]
    assert await phone.request("forget_device", {"device": "laptop"}) == {}
    await asyncio.wait_for(laptop.closed.wait(), 10)
    assert laptop.kick["name"] == "kicked" and laptop.kick["reconnect"] == "never"
    assert (await other.push("notice"))["device"] == "laptop"
    assert set(await devices(phone)) == {"phone", "other"}
    for name, error in (("laptop", "not_found"), ("nobody", "not_found"), ("phone", "bad_request"), ("", "bad_request"), ("x" * 65, "bad_request")):
        with pytest.raises(Refused) as refused:
            await phone.request("forget_device", {"device": name})
        assert refused.value.name == error, name
    with pytest.raises(Refused) as refused:
        await mallory.request("forget_device", {"device": "phone"})
    assert refused.value.name == "not_found"  # only one's own
    server.restart()
    back = await login(server, "alice", "laptop", transport, sync_token=token)
    assert back.hello["resume"] == "reset"
    assert (await devices(back))["laptop"]["connected"]
    again = await login(server, "alice", "laptop", transport)
    assert again.hello["resume"] == "complete"


async def test_a_forgotten_device_is_not_brought_back_by_what_it_acked_last(server):
    bob = await login(server, "bob", "d")
    keeps = await login(server, "alice", "keeps")
    for i in range(20):
        leaves = await login(server, "alice", "leaves")
        await bob.send("alice", "hi", f"m{i}")
        await leaves.push("message")
        await leaves.close()  # its cursor is on its way to the store
        await keeps.request("forget_device", {"device": "leaves"})
        assert set(await devices(keeps)) == {"keeps"}
    await asyncio.sleep(2.5)  # longer than the interval at which cursors are written
    assert set(await devices(keeps)) == {"keeps"}


async def test_devices_that_forget_each_other_while_they_log_out_all_end(server):
    for _ in range(20):
        one, two = await login(server, "alice", "one"), await login(server, "alice", "two")
        for client, other in ((one, "two"), (two, "one")):
            await client.raw("forget_device", {"device": other})
            await client.raw("logout", {})
        for client in (one, two):
            await asyncio.wait_for(client.closed.wait(), 10)
            assert client.kick["name"] in ("logged_out", "kicked")
    last = await login(server, "alice", "last")
    assert (await devices(last))["last"]["connected"]


async def test_logout_of_a_device_whose_cursor_another_worker_keeps(server):
    """Its earlier sessions may have been on the other worker."""
    bob = await login(server, "bob", "d")
    keeps = await login(server, "alice", "keeps")
    for i in range(20):
        leaves = await login(server, "alice", "leaves")
        await bob.send("alice", "hi", f"m{i}")
        await leaves.push("message")
        await leaves.close()
        leaves = await login(server, "alice", "leaves")
        await leaves.request("logout", {})
    await asyncio.sleep(2.5)
    assert set(await devices(keeps)) == {"keeps"}


ONE_LOGIN_AT_A_TIME = {"debug": {"unsafe-faults": {"store-delay-ms": 0}}, "limits": {"server": {"logins": 1}}, "performance": {"worker-threads": 1}}


async def stuck_session(server, user, device):
    """A session that cannot end: what it has sent is with a store that does not answer."""
    client = await login(server, user, device)
    await client.raw("send", {"to": "bob", "client_msg_id": f"{device}-stuck", "body": 1})
    await client.ping()  # the server has it
    return client


async def delay_store(server, delay_ms):
    reloads = server.metric("dunlin_config_reloads_total")
    server.config["debug"]["unsafe-faults"]["store-delay-ms"] = delay_ms
    server.reload()
    deadline = time.monotonic() + 10
    while server.metric("dunlin_config_reloads_total") == reloads:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_a_session_that_does_not_end_keeps_nobody_waiting_for_ever(server_factory):
    server = server_factory(ONE_LOGIN_AT_A_TIME)
    await delay_store(server, 60_000)
    await stuck_session(server, "alice", "phone")
    for _ in range(2):
        again = await TcpClient.open(server)
        reply = await asyncio.wait_for(await again.raw("connect", {"token": server.token("alice"), "device": "phone"}), 9)
        assert reply["error"]["name"] == "timeout" and reply["error"]["temporary"]
        await asyncio.wait_for(again.closed.wait(), 5)
        assert again.kick["name"] == "timeout" and again.kick["reconnect"] == "yes"
    carol = await login(server, "carol", "phone")  # the one login that may be under way is nobody's any more
    await carol.ping()
    await delay_store(server, 0)
    await login(server, "alice", "phone")


async def test_forgetting_a_device_whose_session_does_not_end_is_refused_and_holds_up_nothing(server_factory):
    server = server_factory(ONE_LOGIN_AT_A_TIME)
    await delay_store(server, 60_000)
    laptop = await login(server, "alice", "laptop")
    await stuck_session(server, "alice", "phone")
    with pytest.raises(Refused) as refused:
        await asyncio.wait_for(laptop.request("forget_device", {"device": "phone"}), 9)
    assert refused.value.name == "timeout"
    tablet = await login(server, "alice", "tablet")  # in a turn of the user's
    assert {"laptop", "tablet", "phone"} == set(await devices(tablet))
    await delay_store(server, 0)
    await gone(server, tablet, "phone")
    await laptop.request("forget_device", {"device": "phone"})
    assert {"laptop", "tablet"} == set(await devices(tablet))


async def test_a_session_whose_place_is_wanted_is_closed_though_its_sends_do_not_settle(server_factory):
    server = server_factory(ONE_LOGIN_AT_A_TIME)
    await delay_store(server, 60_000)
    older = await stuck_session(server, "alice", "phone")
    newer = await TcpClient.open(server)
    reply = await asyncio.wait_for(await newer.raw("connect", {"token": server.token("alice"), "device": "phone"}), 9)
    assert reply["error"]["name"] == "timeout"
    await asyncio.wait_for(older.closed.wait(), 5)
    assert older.kick["name"] == "replaced"
    await delay_store(server, 0)
    await login(server, "alice", "phone")  # its place is free when what it has sent is settled


async def test_a_logout_whose_sends_do_not_settle_is_refused_and_holds_up_nothing(server_factory):
    server = server_factory(ONE_LOGIN_AT_A_TIME)
    await delay_store(server, 60_000)
    phone = await stuck_session(server, "alice", "phone")
    leaving = asyncio.ensure_future(phone.request("logout", {}))
    with pytest.raises(Refused) as refused:
        await asyncio.wait_for(leaving, 9)
    assert refused.value.name == "timeout"
    tablet = await asyncio.wait_for(login(server, "alice", "tablet"), 9)  # in a turn of the user's
    assert {"tablet", "phone"} == set(await devices(tablet)), "the device was not forgotten"
    await delay_store(server, 0)
    await gone(server, tablet, "phone")
