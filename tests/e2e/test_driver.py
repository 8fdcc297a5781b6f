"""Random clients against the running server, judged by a reference model (driver.py): what each bound of delivery must not lose, end to end.

`./x test driver 200` runs the seeds 1 to 200; `DUNLIN_DRIVER_SEED=7 python3 -m pytest -s tests/e2e/test_driver.py` runs one. A seed fixes the choices and not
what the kernel does meanwhile, so that one that fails may have to be run some times.
"""

import asyncio
import contextlib
import os
import time
import types

import pytest

from driver import Model, World
from gated_client import GatedProtobuf, GatedTcp, GatedWs
from im_server import merged
from under_test import DRIVER_SEED, DRIVER_SEEDS, ENGINE, SANITIZER

SEEDS = [int(DRIVER_SEED)] if DRIVER_SEED else range(1, DRIVER_SEEDS + 1)
DEADLINE_S = 600 if SANITIZER else 240  # ten to twenty on a quiet machine

# However busy the machine is, nobody is closed for being slow.
PATIENCE = {"heartbeat-interval-ms": 600_000, "slow-consumer-after-ms": 600_000, "auth-deadline-ms": 60_000}
# Every bound within reach of some hundred messages. History is read when a server has started anew, since that begins with an empty window.
SMALL = {
    "limits": {"user": {"mode": "off"}},
    "session": {**PATIENCE, "max-unacked-conversations": 6, "retransmit-after-ms": 60},
    "net": {"write-queue-bytes": 16384},
    "performance": {"max-frame-size": 8192},
    "store": {"log": {"segment-bytes": 262144}, "window-bytes": 1 << 19, "cursor-flush-interval-ms": 200},
    "message": {"history": {"retention-days": 0}},
    "shutdown": {"flush-ms": 200},
}
SHIPPED = {"limits": {"user": {"mode": "off"}}, "session": PATIENCE, "store": {"log": {"segment-bytes": 262144}}, "message": {"history": {"retention-days": 0}}}
# A mailbox may hold 32 MiB, but its worker's share of a sixteenth of all memory at most: with so many workers that is 8 MiB.
WORKERS = min(1024, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 16 // (8 << 20) + 1)
MANY_WORKERS = merged(SHIPPED, {"performance": {"worker-threads": WORKERS}})
# Retention drops whole volumes: they have 256 KiB.
TRIMMED = merged(SMALL, {"store": {"volume": {"max-bytes": 1 << 20}}, "message": {"history": {"retention-bytes": 1 << 20}}})
AFTER_AN_END = [] if ENGINE == "memory" else ["disk_rows", "kills"]
BOUNDS = ["flights", "write_queue", "retransmissions", "message_page", "activity_page", "sync_pages", "duplicates", *AFTER_AN_END]
SMALL_BOUNDS = [*BOUNDS, "history_pages", "history_bytes", "sent_again", "reads", "hints_off", "joined", *(["restarts"] if AFTER_AN_END else [])]
TRIMMED_BOUNDS = ["truncated", "gaps", "gap_page", "gap_live", "history_gaps", "flights", "write_queue", *AFTER_AN_END]
SHIPPED_BOUNDS = [*BOUNDS, "full_acks", "own_forgotten"]
MAILBOX_BOUNDS = ["hints_dropped", "pending_sends"]


@contextlib.contextmanager
def reported(world, wanted):
    """Prints the seed and what was reached, above all when something was found."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # a server that has just been killed counts no more
            print(f"\nseed {world.seed}: {len(world.model.attempts)} messages in {len(world.model.timelines)} conversations\n{world.report(wanted)}")
        print(f"last steps: {' '.join(world.history)}" + "".join(f"\nfound: {found}" for found in world.found[:3]))
        for device in world.devices:
            if any(device.name in str(found) for found in world.found):
                print(f"{device.name}:", *device.trail, sep="\n  ")
        world.close()


def not_reached(world, wanted):
    reached = world.reached()
    return [name for name in wanted if not reached[name]]


async def until_reached(world, wanted, weights=None):
    """More steps, among them those that a bound needs which was not reached yet."""
    for _ in range(20):
        lacking = not_reached(world, wanted)
        if not lacking:
            return
        steps = [World.STEP_FOR[name] for name in lacking if name in World.STEP_FOR]
        await world.steps(len(steps), {name: 1 for name in steps})
        await world.steps(50, weights)


@pytest.mark.deadline(DEADLINE_S)
@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_lost_at_small_limits(server_factory, schema, seed):
    GatedProtobuf.schema = schema
    world = World(server_factory(SMALL), seed, users=3, devices=2, peers=70, classes=(GatedTcp, GatedTcp, GatedWs, GatedProtobuf))
    with reported(world, SMALL_BOUNDS):
        await world.everybody(world.devices)
        await world.steps(300)
        await until_reached(world, SMALL_BOUNDS)
        await world.settle()
        assert not not_reached(world, SMALL_BOUNDS)
        assert world.reached()["gaps"] == 0


@pytest.mark.deadline(DEADLINE_S)
@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_lost_at_the_shipped_limits(server_factory, seed):
    world = World(server_factory(SHIPPED), seed, users=1, devices=4, peers=550)
    with reported(world, SHIPPED_BOUNDS):
        await world.story_of_many(others=600)
        await world.settle()
        assert len(world.model.attempts) > 3000 and len(world.model.timelines) > 1100
        assert not not_reached(world, SHIPPED_BOUNDS)
        assert world.reached()["gaps"] == 0


@pytest.mark.deadline(DEADLINE_S)
@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_lost_when_mailboxes_are_full(server_factory, seed):
    world = World(server_factory(MANY_WORKERS), seed, users=1, devices=3, peers=20)
    with reported(world, MAILBOX_BOUNDS):
        await world.story_of_full_mailboxes(each=15)
        await world.settle()
        assert not not_reached(world, MAILBOX_BOUNDS)
        assert world.reached()["gaps"] == 0


@pytest.mark.deadline(DEADLINE_S)
@pytest.mark.parametrize("seed", SEEDS)
async def test_what_retention_takes_is_named_and_nothing_else(server_factory, schema, seed):
    GatedProtobuf.schema = schema
    world = World(server_factory(TRIMMED), seed, users=2, devices=2, peers=14, classes=(GatedTcp, GatedTcp, GatedWs, GatedProtobuf), may_trim=True)
    world.devices[0].cls = GatedTcp
    weights = {**World.STEPS, "chorus": 0, "sweep": 1}
    with reported(world, TRIMMED_BOUNDS):
        await world.everybody(world.devices)
        await world.steps(100, weights)
        await until_reached(world, TRIMMED_BOUNDS, weights)
        await world.settle()
        assert not not_reached(world, TRIMMED_BOUNDS)


async def until(there, deadline_s=20):
    deadline = time.monotonic() + deadline_s
    while not there():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_the_judge_sees_a_hole(server_factory):
    """The server is made to keep a push for itself: the next one of the conversation comes behind a hole."""
    server = server_factory()
    world = World(server, 1, users=1, devices=1, peers=1, classes=(GatedTcp,))
    device, peer = world.devices[0], world.peers[0]
    await world.everybody([device, peer])
    for pushes, dropped in enumerate((False, True, False), 1):
        server.config["debug"] = {"unsafe-faults": {"drop-pushes": dropped}}
        await world.reload()
        await device.client.request_within("ping", {})  # its worker has come round, and knows
        await world.settled([await peer.say(device.user, "hi", True)])
        await until(lambda: server.metric("dunlin_pushes_total") == pushes)
    await until(lambda: world.found)
    with pytest.raises(AssertionError, match=r"got 3 of .* and lacks \[2\]"):
        world.check()
    world.close()


async def test_the_judge_sees_what_was_acked_and_never_came(server_factory):
    """A push that is lost on its way and acked by a client that never saw it does not come again: in the end it is missing."""
    server = server_factory({"debug": {"unsafe-faults": {"drop-pushes": True}}})
    world = World(server, 1, users=1, devices=1, peers=1, classes=(GatedTcp,))
    device, peer = world.devices[0], world.peers[0]
    await world.everybody([device, peer])
    await world.settled([await peer.say(device.user, "hi", True)])
    (conversation, _), = world.model.of(device.user)
    await device.write({"ack": {"positions": [{"conversation": conversation, "seq": 1}]}})
    await device.client.request_within("ping", {})
    with pytest.raises(AssertionError, match="missing: .*user0/d0"):
        await world.settle(deadline_s=1)
    world.close()


def test_the_judge_sees_what_contradicts_itself():
    """The model alone: what a reply, a push or a page says must agree with all that was said before."""
    model, ann = Model(), types.SimpleNamespace(user="ann")
    one, other = model.attempt(ann, "bob", "a#1", {"text": "1"}), model.attempt(ann, "bob", "a#2", {"text": "2"})
    model.place(one, "c", 1)
    model.place(one, "c", 1)
    with pytest.raises(AssertionError, match="is a#1 and a#2"):
        model.place(other, "c", 1)
    with pytest.raises(AssertionError, match="stored twice"):
        model.place(one, "c", 2)
    with pytest.raises(AssertionError, match="two conversations"):
        model.place(other, "d", 1)
    with pytest.raises(AssertionError, match="another body"):
        model.shown({"from": "ann", "client_msg_id": "a#1", "conversation": "c", "seq": 1, "body": {"text": "2"}})
    with pytest.raises(AssertionError, match="nobody sent"):
        model.shown({"from": "ann", "client_msg_id": "a#3", "conversation": "c", "seq": 3, "body": {}})
