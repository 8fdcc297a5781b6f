"""An earlier copy of the data folder is put back under clients that have had more since: nobody may drop a new message as a known one."""

import asyncio
import re
import shutil

import pytest

from im_client import Closed, WsClient

DURABILITIES = ["fsync", "os"]
RESET_REQUIRED = 4012


async def login(server, user, device="d1", auto_ack=False, **fields):
    client = await WsClient.open(server)
    client.auto_ack = auto_ack
    await client.connect(server.token(user), device, **{k: v for k, v in fields.items() if v is not None})
    return client


async def acked_token(client, conversation, seq):
    return (await client.request("ack", {"positions": [{"conversation": conversation, "seq": seq}]}))["sync_token"]


async def kicked(client):
    await asyncio.wait_for(client.closed.wait(), 10)
    return client.kick["code"], client.close_code


class PutBack:
    """alice has written 20 messages to bob, carol one to dave before all of it; bob has acked all 20. The store is that of after the tenth."""

    @classmethod
    async def make(cls, server_factory, durability="fsync"):
        self = cls()
        server = self.server = server_factory({"store": {"durability": durability}})
        carol = await login(server, "carol")
        self.others = (await carol.send("dave", "hello", "c1"))["conversation"]
        dave = await login(server, "dave")
        await dave.push("message")
        self.dave_token = await acked_token(dave, self.others, 1)
        self.older, self.epoch = await self.deliver(1, 10), dave.hello["epoch"]
        await asyncio.gather(carol.close(), dave.close())
        server.stop()
        copy = server.folder / "copy"
        shutil.copytree(server.data, copy)
        server.start()
        self.newer = await self.deliver(11, 20)
        server.stop()
        shutil.rmtree(server.data)
        shutil.move(str(copy), server.data)
        server.start()
        server.forget_log()
        return self

    async def deliver(self, first, last):
        """bob's token after the last of them."""
        alice, bob = await login(self.server, "alice"), await login(self.server, "bob")
        for seq in range(first, last + 1):
            self.conversation = (await alice.send("bob", f"first life {seq}", f"a{seq}"))["conversation"]
        assert [m["seq"] for m in await bob.messages(last - first + 1)] == list(range(first, last + 1))
        token = await acked_token(bob, self.conversation, last)
        await asyncio.gather(alice.close(), bob.close())
        return token

    async def one_error(self):
        """What is logged is written a moment later."""
        deadline = asyncio.get_running_loop().time() + 10
        while not self.errors():
            assert asyncio.get_running_loop().time() < deadline, "nothing was logged"
            await asyncio.sleep(0.02)
        return len(self.errors()) == 1

    def errors(self):
        return re.findall(r"(?im)^.*\berror\b.*put back to an earlier state.*$", self.server.log)

    async def written_again(self, alice, bob):
        """The seq that was given twice arrives as what it is now."""
        seq = (await alice.send("bob", "second life", "again"))["seq"]
        message = await bob.push("message")
        assert (message["seq"], message["body"]) == (seq, {"text": "second life"})
        return seq

    async def resets_bob_alone(self, dave, bob_elsewhere):
        """Nobody else has noticed anything, and the epoch goes on."""
        await dave.ping()
        await bob_elsewhere.ping()
        dave = await login(self.server, "dave", "d1", sync_token=self.dave_token)
        assert (dave.hello["resume"], dave.hello["epoch"]) == ("complete", self.epoch)
        await dave.close()
        assert self.errors() == []


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_token_of_the_life_that_was_undone_ends_the_epoch_for_all(server_factory, durability):
    story = await PutBack.make(server_factory, durability)
    server = story.server
    alice, dave = await login(server, "alice"), await login(server, "dave", sync_token=story.dave_token)
    assert dave.hello["resume"] == "complete" and dave.hello["epoch"] == story.epoch

    bob = await login(server, "bob", sync_token=story.newer)
    assert bob.hello["resume"] == "reset" and bob.hello["epoch"] != story.epoch
    assert await kicked(alice) == await kicked(dave) == (RESET_REQUIRED, RESET_REQUIRED)
    await bob.ping()
    assert await story.one_error()
    told = dict(re.findall(r"(known_through|newest)=(\d+)", story.errors()[0]))
    assert 0 < int(told["newest"]) < int(told["known_through"]), "operators read how far the store was put back"
    # Whatever the others come with, they are told.
    for user, token in (("carol", None), ("dave", story.dave_token), ("dave", dave.hello["sync_token"])):
        told = await login(server, user, sync_token=token)
        assert (told.hello["resume"], told.hello["epoch"]) == ("reset", bob.hello["epoch"]), user
        told.cut()
    dave = await login(server, "dave", sync_token=told.hello["sync_token"])
    assert dave.hello["resume"] == "complete"

    alice = await login(server, "alice")
    assert alice.hello["resume"] == "reset"
    assert await story.written_again(alice, bob) == 11
    token = await acked_token(bob, story.conversation, 11)
    server.restart()
    bob = await login(server, "bob", sync_token=token)
    assert bob.hello["resume"] == "complete"
    assert bob.hello["epoch"] == alice.hello["epoch"], "the new epoch is durable"
    assert (await login(server, "bob", sync_token=story.newer)).hello["resume"] == "reset"


async def test_token_of_the_undone_life_proves_it_however_far_the_log_has_grown(server_factory):
    story = await PutBack.make(server_factory)
    alice = await login(story.server, "alice")
    for i in range(30):
        await alice.send("carol", "in between", f"i{i}")
    assert (await alice.send("bob", "second life", "again"))["seq"] == 11
    bob = await login(story.server, "bob", sync_token=story.newer)
    assert bob.hello["resume"] == "reset" and bob.hello["epoch"] != story.epoch
    assert await kicked(alice) == (RESET_REQUIRED, RESET_REQUIRED)
    assert await story.one_error()


async def test_the_same_proof_from_many_at_once_begins_one_epoch(server_factory):
    story = await PutBack.make(server_factory)
    clients = [await WsClient.open(story.server) for _ in range(8)]
    await asyncio.gather(*(c.write({"id": 1, "connect": {"token": story.server.token("bob"), "device": "d1", "sync_token": story.newer}}) for c in clients))
    await asyncio.sleep(0.5)
    bob = await login(story.server, "bob", sync_token=story.newer)
    assert bob.hello["resume"] == "reset"
    assert await story.one_error()
    assert (await login(story.server, "dave")).hello["epoch"] == bob.hello["epoch"]


async def test_token_in_sync_proves_it_too(server_factory):
    story = await PutBack.make(server_factory)
    bob, dave = await login(story.server, "bob"), await login(story.server, "dave")
    assert bob.hello["resume"] == "complete"
    with pytest.raises(Closed):
        await bob.request("sync", {"sync_token": story.newer})
    assert await kicked(bob) == await kicked(dave) == (RESET_REQUIRED, RESET_REQUIRED)
    for user in ("bob", "dave"):
        assert (await login(story.server, user)).hello["resume"] == "reset"
    assert await story.one_error()


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("token", ["older", None])
async def test_open_beyond_the_head_resets_that_device_alone(server_factory, durability, token):
    story = await PutBack.make(server_factory, durability)
    token = token and story.older
    dave, elsewhere = await login(story.server, "dave"), await login(story.server, "bob", "d2")
    for seq, resume in ((10, "complete"), (11, "reset"), (20, "reset")):
        bob = await login(story.server, "bob", sync_token=token, open=[{"conversation": story.conversation, "seq": seq}])
        assert (bob.hello["resume"], bob.hello["epoch"]) == (resume, story.epoch), seq
    await story.resets_bob_alone(dave, elsewhere)
    assert await story.written_again(await login(story.server, "alice"), bob) == 11
    assert (await elsewhere.push("message"))["seq"] == 11


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("token", ["older", None])
@pytest.mark.parametrize("how", ["ack", "read"])
async def test_ack_or_read_beyond_the_head_resets_that_device_alone(server_factory, durability, token, how):
    story = await PutBack.make(server_factory, durability)
    token = token and story.older
    alice, dave = await login(story.server, "alice"), await login(story.server, "dave")
    elsewhere = await login(story.server, "bob", "d2")
    bob = await login(story.server, "bob", sync_token=token)
    assert bob.hello["resume"] == "complete"
    assert await story.written_again(alice, bob) == 11  # which its app drops: it has a seq 11
    if how == "ack":
        await bob.ack(story.conversation, 20)
    else:
        await bob.write({"read": {"conversation": story.conversation, "seq": 20}})
    assert await kicked(bob) == (RESET_REQUIRED, RESET_REQUIRED)
    page = await elsewhere.request("sync", {"limit": 5})
    assert page["conversations"][0]["read_seq"] == 0 and page["conversations"][0]["unread"] == 11
    assert (await elsewhere.push("message"))["seq"] == 11
    await story.resets_bob_alone(dave, elsewhere)

    bob = await login(story.server, "bob", sync_token=token)
    assert (bob.hello["resume"], bob.hello["epoch"]) == ("reset", story.epoch)
    await bob.nothing("message")
    assert (await alice.send("bob", "third", "third"))["seq"] == 12
    assert (await bob.push("message"))["seq"] == 12
    token = await acked_token(bob, story.conversation, 12)
    await bob.close()
    for given in (token, None):
        assert (await login(story.server, "bob", sync_token=given)).hello["resume"] == "complete"


async def test_reset_of_one_device_outlives_the_server(server_factory):
    story = await PutBack.make(server_factory)
    bob = await login(story.server, "bob")
    await bob.ack(story.conversation, 20)
    assert await kicked(bob) == (RESET_REQUIRED, RESET_REQUIRED)
    story.server.restart()
    assert (await login(story.server, "bob")).hello["resume"] == "reset"


async def test_what_an_honest_client_knows_is_never_beyond_the_head(server):
    """Acks of one's own messages, of pages, of others' pushes before their own, all at once and at once."""
    alice, bob = await login(server, "alice"), await login(server, "bob", "d1")
    elsewhere = await login(server, "bob", "d2")
    for i in range(200):
        sender, peer = (alice, "bob") if i % 2 else (bob, "alice")
        reply = await sender.send(peer, f"m{i}", f"x{i}")
        for client in (sender, bob, elsewhere):
            await client.ack(reply["conversation"], reply["seq"])
            await client.write({"read": {"conversation": reply["conversation"], "seq": reply["seq"]}})
    page = await elsewhere.request("history", {"conversation": reply["conversation"], "limit": 1})
    await elsewhere.ack(reply["conversation"], page["messages"][0]["seq"])
    for client in (alice, bob, elsewhere):
        await client.ping()
        assert client.kick is None
    assert server.metric('dunlin_disconnects_total{reason="reset_required"}') == 0


async def test_positions_in_conversations_of_others_tell_nothing(server):
    alice, eve = await login(server, "alice"), await login(server, "eve")
    conversation = (await alice.send("bob", "hello", "x1"))["conversation"]
    for seq in (1, 2, 10**9):
        await eve.ack(conversation, seq)
        await eve.ack("no conversation", seq)
    await eve.ping()
    again = await login(server, "eve", "d2", open=[{"conversation": conversation, "seq": 7}])
    assert again.hello["resume"] == "complete"


async def test_many_claims_of_one_ack_are_judged_and_none_is_forgotten(server):
    """As many as an ack may hold, the one that is not there among them, in conversations that no memory holds."""
    bob = await login(server, "bob")
    conversations = [(await bob.send(f"u{i}", "hello", f"x{i}"))["conversation"] for i in range(300)]
    server.restart()
    bob = await login(server, "bob")
    positions = [{"conversation": c, "seq": 1} for c in conversations]
    for _ in range(3):  # pipelined behind what is being looked up
        await bob.write({"ack": {"positions": positions}})
    await bob.ping()
    assert bob.kick is None
    positions[137]["seq"] = 2
    await bob.write({"ack": {"positions": positions}})
    await bob.write({"ack": {"positions": [{"conversation": conversations[0], "seq": 1}]}})
    assert await kicked(bob) == (RESET_REQUIRED, RESET_REQUIRED)
    assert (await login(server, "bob")).hello["resume"] == "reset"


async def test_page_cursor_cannot_make_a_token_that_resets_everybody(server):
    alice = await login(server, "alice")
    for i in range(5):
        await alice.send(f"u{i}", "hello", f"x{i}")
    page = await alice.request("sync", {"limit": 2})
    parts = page["cursor"].split(".")
    epoch = parts.index(alice.hello["epoch"].lstrip("0")) if alice.hello["epoch"].lstrip("0") in parts else 1
    tokens = 0
    for at in range(epoch + 1, len(parts)):
        forged = list(parts)
        forged[at] = "7fffffffffff"
        reply = await (await alice.raw("sync", {"cursor": ".".join(forged), "limit": 2}))
        token = reply.get("sync", {}).get("sync_token")
        if token is None:
            continue
        tokens += 1
        await alice.request("sync", {"sync_token": token})
        again = await login(server, "alice", "d1", sync_token=token)
        assert again.hello["epoch"] == alice.hello["epoch"]
        alice = again
    await alice.ping()
    assert tokens > 0
    assert "put back to an earlier state" not in server.log
