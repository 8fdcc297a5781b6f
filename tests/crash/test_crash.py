"""kill -9 at random points under load: every acked message is there exactly once, in order, after the restart.

One data folder lives through all runs (1 MiB segments, so that sealing and ingesting happen all the time). In each run several users pipeline sends to
each other; then the process is killed: at a random moment, or a few milliseconds after it has said that it begins to seal a segment. After the restart history
is compared with what was acked and sent, what is new after each run, and all of it once at the end. DUNLIN_CRASH_RUNS sets the number of runs, DUNLIN_CRASH_SEED repeats one sequence.
"""
import asyncio
import collections
import pathlib
import random
import subprocess
import sys
import time

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "e2e")]

from im_server import Server  # noqa: E402
from lines import LineClient  # noqa: E402
from under_test import BINARY, CLEAN_ENVIRONMENT, CRASH_RUNS, CRASH_SEED  # noqa: E402

RUNS = CRASH_RUNS
SEED = int(CRASH_SEED or time.time())
PAIRS = 6
PIPELINE = 32
SEAL_BEGINS = "indexer: segment begins"
SEAL_ENDS = "indexer: segment done"


class Chat:
    """One sender and one receiver, and what they know of their conversation over all runs."""

    def __init__(self, number):
        self.sender, self.receiver = f"s{number}", f"r{number}"
        self.conversation = None
        self.sent = {}      # client_msg_id -> position in the order of sending; everything ever put on a socket
        self.open = {}      # those of them that were not acked, in the same order
        self.acked = {}     # client_msg_id -> seq, of this run
        self.place = {}     # client_msg_id -> seq, by seq, of all messages whose place was confirmed after a restart
        self.in_flight = 0
        self.delivered = 0  # highest seq the receiver saw

    def on_push(self, packet):
        if "message" in packet:
            seq = packet["message"]["seq"]
            # At least once: a repeat is allowed, a hole is not.
            assert seq <= self.delivered + 1, f"{self.conversation}: seq {seq} after {self.delivered}"
            self.delivered = max(self.delivered, seq)
            self.client.ack(packet["message"]["conversation"], seq)


async def one_sender(server, chat, run, stop):
    sender = await LineClient().login(server.tcp_address, server.token(chat.sender))
    receiver = LineClient(chat.on_push)
    chat.client = receiver
    await receiver.login(server.tcp_address, server.token(chat.receiver))
    session = sender.connected["session"]
    numbered = run % 2 == 0
    n = 0
    pending = {}

    def settle(future, client_msg_id):
        pending.pop(client_msg_id, None)
        chat.in_flight = len(pending)
        if future.exception() is None:
            reply = future.result()
            chat.conversation = reply["conversation"]
            assert reply["durability"] == "fsync"
            known = chat.acked.get(client_msg_id, chat.place.get(client_msg_id, reply["seq"]))
            assert known == reply["seq"], f"{client_msg_id} is acked as {reply['seq']} and stands at {known}"
            chat.acked[client_msg_id] = reply["seq"]
            chat.open.pop(client_msg_id, None)

    # What the last run left open is sent again first, as a client that resumes does.
    retry = collections.deque(chat.open)
    try:
        while not stop.is_set() and not sender.closed.is_set():
            while len(pending) < PIPELINE and not sender.closed.is_set():
                if retry:
                    client_msg_id = retry.popleft()
                else:
                    n += 1
                    client_msg_id = f"{session}-{n}" if numbered else f"run{run}-{n}"
                if client_msg_id not in chat.sent:
                    chat.sent[client_msg_id] = len(chat.sent)
                    chat.open[client_msg_id] = None
                future = sender.request("send", to=chat.receiver, client_msg_id=client_msg_id, body={"n": client_msg_id, "pad": "x" * 100})
                pending[client_msg_id] = future
                chat.in_flight = len(pending)
                future.add_done_callback(lambda f, i=client_msg_id: settle(f, i))
            await sender.writer.drain()
            await asyncio.sleep(0)
            if pending:
                await asyncio.wait(list(pending.values()), return_when=asyncio.FIRST_COMPLETED, timeout=1)
    except ConnectionError:
        pass


async def load_and_kill(server, chats, run, rng, summary):
    """Runs the load until the process is dead; counts what the kill hit."""
    stop = asyncio.Event()
    senders = [asyncio.create_task(one_sender(server, chat, run, stop)) for chat in chats]
    at_seal = rng.random() < 0.5
    started = time.monotonic()
    await asyncio.sleep(rng.uniform(0.05, 0.6))
    if at_seal:
        seen = server.log.count(SEAL_BEGINS)
        while time.monotonic() - started < 8 and server.log.count(SEAL_BEGINS) == seen:
            await asyncio.sleep(0.001)
        await asyncio.sleep(rng.uniform(0, 0.02))
    in_flight = sum(chat.in_flight for chat in chats)
    server.kill()
    stop.set()
    for result in await asyncio.wait_for(asyncio.gather(*senders, return_exceptions=True), 30):
        if isinstance(result, AssertionError):
            raise result
    summary["kills with sends in flight"] += in_flight > 0
    summary["kills during seal or ingest"] += server.log.count(SEAL_BEGINS) > server.log.count(SEAL_ENDS)
    server.forget_log()


async def check(server, chats, summary):
    """What history has gained since the last check, against what was sent and acked."""
    for chat in chats:
        if chat.conversation is None:
            continue
        client = await LineClient().login(server.tcp_address, server.token(chat.sender), device="checker")
        messages = await client.history(chat.conversation, after_seq=len(chat.place))
        await client.close()
        for message in messages:
            client_msg_id = message["client_msg_id"]
            assert message["seq"] == len(chat.place) + 1, f"hole or repeat at {message['seq']} in {chat.conversation}"
            assert client_msg_id in chat.sent, "a message that nobody sent"
            assert message["body"]["n"] == client_msg_id
            assert client_msg_id not in chat.place, f"{client_msg_id} is stored twice in {chat.conversation}"
            chat.place[client_msg_id] = message["seq"]
        for client_msg_id, seq in chat.acked.items():
            assert chat.place.get(client_msg_id) == seq, f"acked as {seq}, found at {chat.place.get(client_msg_id)}: {client_msg_id}"
        chat.acked.clear()
        summary["messages checked"] += len(messages)


async def check_all_again(server, chats):
    """The whole of history is what the checks between the runs have seen."""
    for chat in chats:
        client = await LineClient().login(server.tcp_address, server.token(chat.sender), device="checker")
        messages = await client.history(chat.conversation)
        await client.close()
        assert {m["client_msg_id"]: m["seq"] for m in messages} == chat.place and len(messages) == len(chat.place), chat.conversation


def in_sending_order(chat):
    """First sends of one sender keep their order; ids that were sent again after a crash may come later, never twice."""
    orders = [chat.sent[i] for i in chat.place]
    return all(a < b for a, b in zip(orders, orders[1:]))


def test_nothing_acked_is_lost_duplicated_or_reordered(tmp_path):
    rng = random.Random(SEED)
    server = Server(BINARY, tmp_path, {"store": {"log": {"segment-bytes": 1 << 20}}, "limits": {"user": {"mode": "off"}}, "log": {"level": "debug"}})
    chats = [Chat(number) for number in range(PAIRS)]
    summary = {"kills with sends in flight": 0, "kills during seal or ingest": 0, "messages checked": 0}
    try:
        for run in range(RUNS):
            server.start()
            asyncio.run(check(server, chats, summary))
            asyncio.run(load_and_kill(server, chats, run, rng, summary))
            if (run + 1) % 100 == 0:
                print(f"\ncrash test: seed {SEED}, {run + 1} of {RUNS} runs, {summary}", flush=True)
        server.start()
        asyncio.run(check(server, chats, summary))
        asyncio.run(check_all_again(server, chats))
        assert server.finish() == []
    finally:
        server.process.kill()  # one that never got ready too
    verified = subprocess.run([BINARY, "verify", str(tmp_path / "data"), "--json"], capture_output=True, text=True, env=CLEAN_ENVIRONMENT)
    print(f"\ncrash test: seed {SEED}, {RUNS} runs, {summary}")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    for chat in chats:
        assert in_sending_order(chat), f"{chat.conversation} is not in the order of sending"
    assert summary["kills with sends in flight"] > 0
    assert summary["kills during seal or ingest"] > 0
    assert summary["messages checked"] > RUNS * 50
