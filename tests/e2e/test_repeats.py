"""What is pushed again after kill -9 in the middle of a steady load: what a device has acked since its cursor last rode with the log."""

import asyncio
import json
import threading
import time

import pytest

PAIRS = 150  # so that the one worker has more sessions than it notes in one turn
IN_FLIGHT = 16
EVERY_S = 0.1  # a message of each pair; this program must keep up, else its own pauses are what is measured
LOAD_S = 10
QUIET_S = 2


class Link(asyncio.Protocol):
    """Newline-delimited JSON, as little work as it takes."""

    def __init__(self):
        self.rest = b""
        self.connected = asyncio.get_running_loop().create_future()
        self.last = 0.0  # when something last came
        self.up = True

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, _):
        self.up = False

    def data_received(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.last = time.monotonic()
        for line in lines:
            packet = json.loads(line)
            if "connect" in packet:
                self.connected.set_result(packet["connect"])
            elif "error" in packet and not self.connected.done():
                self.connected.set_exception(AssertionError(packet))
            else:
                self.take(packet)
        self.end_of_read()

    def end_of_read(self):
        pass

    def write(self, **packet):
        if self.up:
            self.transport.write(json.dumps(packet).encode() + b"\n")


class Sender(Link):
    to = ""
    sent = stored = 0  # stored: of those acked, the highest seq

    def send_one(self):
        if self.sent - self.stored >= IN_FLIGHT:
            return
        self.sent += 1
        self.write(id=self.sent, send={"to": self.to, "client_msg_id": f"{self.session}-{self.sent}", "body": {"n": self.sent, "pad": "x" * 40}})

    def take(self, packet):
        if "send" in packet:
            self.stored = max(self.stored, packet["send"]["seq"])
        assert "error" not in packet, packet


class Receiver(Link):
    """Acks cumulatively, and knows which of its acks the server has confirmed."""

    got = asked = confirmed = 0
    under_way = False

    def take(self, packet):
        if "message" in packet:
            self.conversation = packet["message"]["conversation"]
            self.got = packet["message"]["seq"]
        elif "ack" in packet:
            self.under_way = False
            self.confirmed = self.asked

    def end_of_read(self):
        if self.got > self.asked and not self.under_way:
            self.under_way, self.asked = True, self.got
            self.write(id=self.got, ack={"positions": [{"conversation": self.conversation, "seq": self.got}]})


class Returned(Link):
    """A device after the restart: counts what it gets though the server had known that it has it."""

    known = again = 0

    def take(self, packet):
        if "message" in packet and packet["message"]["seq"] <= self.known:
            self.again += 1


async def login(server, kind, user, tokens, **fields):
    link = (await asyncio.get_running_loop().create_connection(kind, *server.tcp_address))[1]
    vars(link).update(fields)
    link.write(id=0, connect={"token": tokens[user], "device": "d1"})
    link.session = (await asyncio.wait_for(link.connected, 20))["session"]
    return link


@pytest.mark.deadline(180)
async def test_at_most_one_percent_comes_again_after_a_kill_under_load(server_factory):
    server = server_factory({"limits": {"user": {"mode": "off"}}, "performance": {"worker-threads": 1}})
    tokens = {f"{side}{n}": server.token(f"{side}{n}") for n in range(PAIRS) for side in "sr"}
    senders = [await login(server, Sender, f"s{n}", tokens) for n in range(PAIRS)]
    receivers = [await login(server, Receiver, f"r{n}", tokens) for n in range(PAIRS)]
    for n, sender in enumerate(senders):
        sender.to = f"r{n}"
    # From beside: this program's loop would kill when it has just sent or just read.
    killer = threading.Timer(LOAD_S, server.process.kill)
    killer.start()
    started = time.monotonic()
    parts = 20
    for turn in range(int(2 * LOAD_S / EVERY_S) * parts):
        for sender in senders[turn % parts :: parts]:
            sender.send_one()
        await asyncio.sleep(max(0, started + (turn + 1) * EVERY_S / parts - time.monotonic()))
        if not any(link.up for link in senders):
            break
    seconds = time.monotonic() - started
    killer.join()
    server.wait(20)
    delivered = sum(receiver.confirmed for receiver in receivers)
    assert all(receiver.confirmed > 10 for receiver in receivers)
    server.start()
    returned = []
    for n in range(PAIRS):
        for side, known in (("s", senders[n].stored), ("r", receivers[n].confirmed)):
            returned.append(await login(server, Returned, f"{side}{n}", tokens, known=known))
    while time.monotonic() - max(link.last for link in returned) < QUIET_S:
        await asyncio.sleep(0.1)
    to_receivers = sum(link.again for link in returned[1::2])
    to_senders = sum(link.again for link in returned[0::2])
    again = to_receivers + to_senders
    print(f"\n{delivered} acked in {seconds:.1f} s, {again} came again: {100 * again / delivered:.2f} % ({to_receivers} acked, {to_senders} own)")
    assert again <= 0.01 * delivered + PAIRS
