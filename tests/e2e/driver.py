"""Random clients against the running server, and a model that judges what they see.

`World` owns the parties of one run: users with several devices each, which are judged, and peers who only write. All its choices come from one seed.
`Model` is the truth: what was attempted, and where it stands in its conversation as soon as a reply or a push has said so. `Device` is a client as
docs/protocol/delivery.md wants it (outbox, acks, sync_token), and checks each packet as it comes. src/storage/memory/delivery_world.h is the same idea
inside one process and without sockets.

Judged: no device ever sees a hole, or two messages under one seq; what was acked is stored once, where the reply said; a session gets no own message
with an id `<session>-<n>`; every list and page of history agrees with the truth; in the end every device has all from where it began, and a resume then has
nothing to say. A `gap`, and a `resume` of `truncated`, is a fault in a world that keeps everything; in one that does not, what a gap names must be gone for
all. `reset` is always a fault.
"""

import asyncio
import collections
import contextlib
import dataclasses
import random
import time

import websockets

from gated_client import REPLY_DEADLINE_S, GatedTcp, GatedWs
from im_client import Closed
from under_test import ENGINE

MAX_POSITIONS, MAX_LISTED, MAX_PENDING_SENDS = 1000, 100, 512
FAT = 3000  # bytes of a body of which few fill a page or a queue
PAGE_MESSAGES, PAGE_BYTES, PAGE_ENTRIES = 100, 64 << 10, 64


def is_truncated(gap):
    return gap["reason"].removeprefix("REASON_").lower() == "truncated"


# -- the truth


@dataclasses.dataclass(eq=False)
class Attempt:
    """A message that somebody sent, or tries to send."""

    party: object
    to: str
    id: str
    body: dict
    serial: int
    conversation: str = None
    seq: int = 0  # 0: nobody has said yet that it is stored
    acked: bool = False
    session: str = ""  # that sent it last

    @property
    def sender(self):
        return self.party.user

    @property
    def pair(self):
        return frozenset((self.sender, self.to))


class Model:
    """What has been said of every attempt. The first word counts; any later one that contradicts it is a fault."""

    def __init__(self):
        self.attempts = {}  # (sender, id)
        self.timelines = {}  # conversation: {seq: Attempt}
        self.conversations = {}  # pair of users: its id
        self.pairs = {}
        self.read = collections.Counter()  # (user, conversation): what a reply has said

    def attempt(self, party, to, client_msg_id, body):
        assert (party.user, client_msg_id) not in self.attempts
        made = Attempt(party, to, client_msg_id, body, len(self.attempts))
        self.attempts[party.user, client_msg_id] = made
        return made

    def place(self, attempt, conversation, seq):
        """A reply or a push says where it stands: nothing may contradict it, before or after."""
        assert self.conversations.setdefault(attempt.pair, conversation) == conversation, f"{set(attempt.pair)} have two conversations"
        assert self.pairs.setdefault(conversation, attempt.pair) == attempt.pair, f"{conversation} is of two pairs"
        there = self.timelines.setdefault(conversation, {}).setdefault(seq, attempt)
        assert there is attempt, f"{conversation} {seq} is {there.id} and {attempt.id}"
        assert attempt.seq in (0, seq), f"{attempt.id} is stored twice, at {attempt.seq} and {seq}"
        attempt.conversation, attempt.seq = conversation, seq

    def shown(self, m):
        """A message as a push, a page of history or a list shows it."""
        attempt = self.attempts.get((m["from"], m["client_msg_id"]))
        assert attempt, f"nobody sent {m}"
        assert m["body"] == attempt.body, f"{attempt.id} has another body: {m}"
        self.place(attempt, m["conversation"], m["seq"])
        return attempt

    def of(self, user):
        return [(c, line) for c, line in list(self.timelines.items()) if user in self.pairs[c]]

    def line(self, conversation):
        return self.timelines.get(conversation, {})

    def sent_to(self, conversation):
        """How many there may be at most. Of a conversation of which nothing was shown before it was trimmed nobody has said yet whose it is."""
        pair = self.pairs.get(conversation)
        return sum(pair in (None, a.pair) for a in self.attempts.values())

    def acked_head(self, conversation):
        return max((s for s, a in self.line(conversation).items() if a.acked), default=0)

    def check(self):
        """Nobody is in flight any more: each conversation is dense and everything is acked, once."""
        for conversation, line in self.timelines.items():
            assert sorted(line) == list(range(1, len(line) + 1)), f"{conversation} has holes"
        assert all(a.acked for a in self.attempts.values())
        assert sum(len(line) for line in self.timelines.values()) == len(self.attempts)


# -- parties


class Party:
    """A client of one user: connects, keeps its outbox, sends again what has no reply. What is pushed to a mere writer is dropped."""

    def __init__(self, world, user, device, cls=GatedTcp):
        self.world, self.user, self.device, self.cls = world, user, device, cls
        self.name = f"{user}/{device}"
        self.client = None
        self.outbox = {}  # id: Attempt, oldest first
        self.in_flight, self.refused_for_s, self.again = 0, 0, None
        self.session, self.sent, self.free = "", 0, 0
        self.token = world.server.token(user)
        self.truncated = False  # as its session was told when it began
        self.trail = collections.deque(maxlen=300)  # what it saw and said, for whoever has to find out

    def taken(self, packet):
        pass

    @property
    def online(self):
        return self.client is not None

    async def connect(self, **fields):
        self.trail.append(f"connects {fields}, with {len(self.outbox)} to send again")
        client = await self.cls.open(self.world.server)
        self.leave(cut=False)
        client.party = self
        self.client, self.session, self.sent = client, "", 0
        self.before_hello()
        hello = await client.request_within("connect", {"token": self.token, "device": self.device, **fields})
        self.connected(hello)
        self.in_flight, self.refused_for_s = 0, 0
        await self.send_again()
        return hello

    async def send_again(self, after_s=0):
        client = self.client
        await asyncio.sleep(after_s)
        for attempt in list(self.outbox.values()):
            if client is not self.client:
                return
            await self.post(attempt)

    def before_hello(self):
        pass

    def connected(self, hello):
        resume = hello["resume"].removeprefix("RESUME_").lower()
        self.truncated = resume == "truncated"
        assert resume == "complete" or (self.truncated and self.world.may_trim), f"{self.name}: {hello}"
        assert self.truncated == bool(hello.get("truncated")), f"{self.name}: {hello}"
        self.world.bounds["truncated"] += self.truncated

    def leave(self, cut=True):
        """The connection ends, for the server without a word when it is cut, else when a newer one of this device replaces it."""
        client, self.client = self.client, None
        if client is None:
            return
        client.party = None
        client.gate.set()
        if cut:
            client.cut()
        else:
            self.world.replaced.append(client)  # it must not be collected as long as it is open

    async def write(self, packet):
        try:
            await asyncio.wait_for(self.client.write(packet), 1)  # one who does not read may have to wait: the packet stays on its way
        except (OSError, websockets.ConnectionClosed):
            pass  # what is lost so is found to be closed by the next step

    async def say(self, to, text, numbered):
        self.sent += 1
        self.free += 1
        client_msg_id = f"{self.session}-{self.sent}" if numbered else f"{self.name}#{self.free}"
        attempt = self.world.model.attempt(self, to, client_msg_id, {"text": text})
        self.outbox[client_msg_id] = attempt
        return await self.post(attempt)

    async def post(self, attempt):
        """A future of the reply; what comes of it is noted whoever waits for it or not."""
        client = self.client
        attempt.session = self.session
        self.in_flight += 1
        try:
            future = await client.raw("send", {"to": attempt.to, "client_msg_id": attempt.id, "body": attempt.body})
        except (OSError, websockets.ConnectionClosed):
            return None
        future.add_done_callback(lambda done: self.replied(client, attempt, done))
        self.world.bounds["pending_sends"] += len(self.outbox) > MAX_PENDING_SENDS
        return future

    def replied(self, client, attempt, future):
        if future.cancelled() or future.exception() or client is not self.client:
            return
        packet = future.result()
        self.in_flight -= 1
        with self.world.judging():
            if "error" in packet:
                assert packet["error"].get("temporary"), f"{self.name}: {packet}"
                self.world.bounds["refused_sends"] += 1
                self.refused_for_s = max(self.refused_for_s, packet["error"].get("retry_after_ms", 0) / 1000, 0.02)
            if self.refused_for_s and self.in_flight == 0:
                self.again = asyncio.create_task(self.send_again(self.refused_for_s))
                self.refused_for_s = 0
            if "error" in packet:
                return
            reply = packet["send"]
            self.world.model.place(attempt, reply["conversation"], reply["seq"])
            self.world.bounds["sent_again"] += bool(reply.get("duplicate"))
            self.trail.append(f"sent {reply['conversation']} {reply['seq']}{' again' if reply.get('duplicate') else ''}")
            attempt.acked = True
            self.outbox.pop(attempt.id, None)
            self.own(attempt)

    def own(self, attempt):
        pass


@dataclasses.dataclass
class View:
    """What a device has of a conversation."""

    floor: int = None  # where it began; None: at the first push
    top: int = 0  # everything in (floor, top] is there, or owed
    have: set = dataclasses.field(default_factory=set)
    gone: set = dataclasses.field(default_factory=set)  # named by a gap, and not had
    owed: set = dataclasses.field(default_factory=set)  # to be explained by the replies to own sends
    came: collections.deque = dataclasses.field(default_factory=lambda: collections.deque(maxlen=40))  # the last pushes and their sessions, to tell


class Device(Party):
    """One that is judged. `late`: joined when others of its user had acked something, see `may_begin_behind`."""

    def __init__(self, world, user, device, cls, late=False):
        super().__init__(world, user, device, cls)
        self.late = late
        self.views = collections.defaultdict(lambda: View(None if late else 0))
        self.unacked = {}  # conversation: highest seq pushed and not acked
        self.acked = collections.Counter()  # what the server may have been told at most
        self.tokens = []
        self.holds_acks = False
        self.known = False  # the server has answered its first connect, and has saved where it began
        self.began = []  # at each connect until then: what the other devices had acked
        self.gate_open = True

    # packets

    def before_hello(self):
        if not self.late or self.known:
            return
        others = [d for d in self.world.devices if d.user == self.user and d is not self]
        self.began.append((len(self.world.model.attempts), [(d, dict(d.acked)) for d in others]))

    def connected(self, hello):
        super().connected(hello)
        self.trail.append(f"is {self.session} {hello['resume']} from {[c['conversation'] + ' ' + str(c['from_seq']) for c in hello.get('changed', [])][:8]} more {hello.get('more')}")
        self.known = True
        self.keep(hello.get("sync_token"))
        self.gate_open = True
        changed, bounds = hello.get("changed", []), self.world.bounds
        assert len({c["conversation"] for c in changed}) == len(changed) <= PAGE_ENTRIES
        bounds["activity_page"] += len(changed) == PAGE_ENTRIES and bool(hello.get("more"))
        waiting = [a for c in changed for s, a in self.world.model.line(c["conversation"]).items() if c["from_seq"] <= s <= c["head_seq"]]
        bounds["message_page"] += len(waiting) > PAGE_MESSAGES or sum(len(a.body["text"]) for a in waiting) > PAGE_BYTES

    def taken(self, packet):
        with self.world.judging():
            if "gap" in packet:
                self.gap(packet["gap"])
            if "message" in packet:
                self.message(packet["message"])

    def gap(self, g):
        """What it lacks up to `to_seq` will not come. May begin below what it has."""
        conversation, first, last = g["conversation"], g["from_seq"], g["to_seq"]
        assert self.world.may_trim and is_truncated(g), f"{self.name} got {g}"
        assert first <= last <= self.world.model.sent_to(conversation), f"{self.name} got {g}"
        self.unacked[conversation] = max(last, self.unacked.get(conversation, 0))
        view = self.views[conversation]
        view.came.append(f"gap {first}-{last} in {self.session[-6:]}")
        if view.floor is None or first <= view.floor:
            view.floor, view.top = first - 1, first - 1
        while view.top + 1 in view.have or view.top + 1 in view.gone:
            view.top += 1
        self.behind(conversation, view, first)
        lacked = set(range(first, last + 1)) - view.have - view.gone
        view.gone |= lacked
        view.top = max(view.top, last)
        self.world.bounds["gap_page"] += len(lacked) > PAGE_MESSAGES
        self.world.bounds["gap_live"] += bool(lacked) and not self.truncated
        self.world.gaps.append((self, conversation, last))

    def message(self, m):
        conversation, seq = m["conversation"], m["seq"]
        self.trail.append(f"{conversation} {seq}")
        attempt = self.world.model.shown(m)
        assert self.user in attempt.pair, f"{self.name} got {m}"
        assert not attempt.id.startswith(f"{self.session}-"), f"{self.name} got its own {attempt.id}"
        self.world.bounds["own_pushed"] += attempt.party is self and attempt.session == self.session
        self.unacked[conversation] = max(seq, self.unacked.get(conversation, 0))
        view = self.views[conversation]
        view.came.append(f"{seq} in {self.session[-6:]}")
        if view.floor is None or seq <= view.floor:
            view.floor, view.top = seq - 1, seq - 1
        if seq in view.have and seq <= view.top:
            self.world.bounds["duplicates"] += 1
            return
        while view.top + 1 in view.have or view.top + 1 in view.gone:
            view.top += 1
        self.behind(conversation, view, seq)
        view.have.add(seq)
        view.gone.discard(seq)
        view.top = max(view.top, seq)

    def behind(self, conversation, view, seq):
        """What comes begins at `seq`: what lies between it and all that is there can only be own messages that have no reply yet."""
        missing = {s for s in range(view.top + 1, seq) if s not in view.have and s not in view.gone}
        if missing and self.late:  # what another device had acked before this one came may be passed over, also when some of it was pushed once
            missing = {s for s in missing if s > self.may_begin_behind(conversation)}
        pair = self.world.model.pairs.get(conversation)
        mine = sum(pair in (None, a.pair) for a in self.outbox.values()) - len(view.owed - view.have - view.gone)
        assert len(missing) <= mine, f"{self.name} got {seq} of {conversation}, and lacks {sorted(missing)}; began behind {view.floor}, then came {list(view.came)}"
        view.owed |= missing

    def own(self, attempt):
        view = self.views[attempt.conversation]
        view.have.add(attempt.seq)
        if not any(a.pair == attempt.pair for a in self.outbox.values()):
            lost = view.owed - view.have - view.gone
            assert not lost, f"{self.name} never got {sorted(lost)} of {attempt.conversation}"
            view.owed.clear()

    # what it does

    def reads(self, reads):
        self.gate_open = reads
        if reads:
            self.client.gate.set()
        else:
            self.client.gate.clear()

    def keep(self, token):
        if token and token not in self.tokens:
            self.trail.append(f"keeps {token}")
        if token:
            self.tokens = [*self.tokens[-20:], token]

    async def acknowledge(self, lost=False, some=None, everything=False):
        """In as many packets as it takes; `some`: of so many conversations. `everything`: repeats what was acked, as a client may. Lost: on its way."""
        wanted = dict(self.unacked)
        if everything:
            wanted.update({c: max(v.have | v.gone) for c, v in self.views.items() if v.have | v.gone})
        positions = [{"conversation": c, "seq": s} for c, s in wanted.items()][:some]
        for at in range(0, len(positions), MAX_POSITIONS):
            packet = positions[at:at + MAX_POSITIONS]
            self.trail.append(f"acks {[(p['conversation'], p['seq']) for p in packet[:8]]}{' in vain' if lost else ''}")
            self.world.bounds["full_acks"] += len(packet) == MAX_POSITIONS
            for p in packet:
                self.unacked.pop(p["conversation"], None)
            if lost:
                continue
            for p in packet:
                self.acked[p["conversation"]] = max(self.acked[p["conversation"]], p["seq"])
            await self.write({"ack": {"positions": packet}})
        if not lost:
            return positions

    async def take_token(self):
        self.keep((await self.client.request_within("ack", {"positions": []})).get("sync_token"))

    def may_begin_behind(self, conversation):
        """The highest seq that the server may have counted as had by another device, when this one was new: what that one acked, or began behind, and its
        own sends right behind that."""
        line, best = self.world.model.line(conversation), 0
        for serial, others in self.began:
            for device, acked in others:
                at = max(acked.get(conversation, 0), device.may_begin_behind(conversation))
                while at + 1 in line and line[at + 1].party is device and line[at + 1].serial < serial:
                    at += 1
                best = max(best, at)
        return best

    def lacks(self):
        """(conversation, seqs) that it should have by now."""
        out = []
        for conversation, line in self.world.model.of(self.user):
            floor = self.may_begin_behind(conversation) if self.late else 0
            view = self.views[conversation]
            missing = [s for s in line if s > floor and s not in view.have and s not in view.gone]
            if missing:
                out.append((conversation, sorted(missing)))
        return out


# -- the world


# How a metric counts a bound; the others are counted by what clients see.
METRICS = {
    "flights": 'dunlin_delivery_waits_total{for="acks"}',
    "write_queue": 'dunlin_delivery_waits_total{for="queue"}',
    "retransmissions": "dunlin_retransmissions_total",
    "own_forgotten": "dunlin_own_messages_dropped_total",
    "hints_dropped": "dunlin_hints_dropped_total",
    "disk_rows": "dunlin_store_disk_rows_read_total",
    "gaps": "dunlin_gaps_total",
}


class World:
    """One server, its parties and the truth. What callbacks find is raised by check(), which every step ends with."""

    def __init__(self, server, seed, users, devices, peers, classes=(GatedTcp, GatedWs), may_trim=False):
        self.server, self.seed, self.may_trim = server, seed, may_trim
        self.random = random.Random(seed)
        self.model = Model()
        self.bounds = collections.Counter()
        self.found, self.replaced = [], []
        self.gaps = []  # (device, conversation, to_seq), not checked yet
        self.history = collections.deque(maxlen=40)  # the last steps
        self.classes = classes
        self.devices = [Device(self, f"user{u}", f"d{d}", self.random.choice(classes)) for u in range(users) for d in range(devices)]
        self.peers = [Party(self, f"peer{p}", "d") for p in range(peers)]

    @property
    def users(self):
        return sorted({d.user for d in self.devices})

    @contextlib.contextmanager
    def judging(self):
        """Keeps what is found in a callback until the next step raises it."""
        try:
            yield
        except (AssertionError, KeyError, TypeError) as error:
            self.found.append(error)

    def check(self):
        if self.found:
            raise self.found[0]
        for party in (*self.devices, *self.peers):
            if party.online and party.client.closed.is_set():
                raise AssertionError(f"{party.name} was closed: {party.client.kick or party.client.close_code}")

    async def check_gaps(self):
        """What gaps have named can be read by nobody any more."""
        gaps, self.gaps = self.gaps, []
        for device, conversation, last in gaps:
            reader = next((d for d in self.devices if d.user == device.user and d.online and d.gate_open), None)
            if reader is None:
                self.gaps.append((device, conversation, last))
                continue
            (line,) = (await reader.client.request_within("sync", {"conversations": [conversation]}))["conversations"]
            assert line["first_seq"] > last, f"{device.name} got a gap up to {last}, and {line}"

    def fat(self):
        """A text that does not compress, of which few fill a page, a queue or a volume."""
        return self.random.randbytes(FAT // 2).hex()

    def chance(self, share):
        return self.random.random() < share

    def pick_device(self, reads=True, online=True):
        fit = [d for d in self.devices if d.online == online and (not reads or d.gate_open)]
        return self.random.choice(fit) if fit else None

    def reached(self):
        """The bounds so far, with what this process of the server has counted."""
        text = self.server.get("/metrics", 30)[1].splitlines()
        counted = {name: sum(int(float(line.rsplit(" ", 1)[1])) for line in text if line.startswith(metric + " ")) for name, metric in METRICS.items()}
        return self.bounds + collections.Counter(counted)

    async def everybody(self, parties, **fields):
        for at in range(0, len(parties), 40):
            await asyncio.gather(*[p.connect(**fields) for p in parties[at:at + 40] if not p.online])

    # steps

    async def step_send(self):
        device = self.pick_device(reads=False)
        if not device:
            return
        to = self.random.choice([*self.users, *self.users, *[p.user for p in self.peers[:6]]])
        futures = [await device.say(to, "x" * self.random.randrange(60), self.chance(0.6)) for _ in range(self.random.choice((1, 1, 2, 5)))]
        if device.gate_open and self.chance(0.5):
            await self.settled(futures)

    async def settled(self, futures):
        futures = [f for f in futures if f is not None]
        if futures:
            done, waiting = await asyncio.wait(futures, timeout=REPLY_DEADLINE_S)
            assert not waiting, "a send has no reply"

    async def step_burst(self):
        """Several peers write to one user in turn, each after the other or as it comes."""
        user = self.random.choice(self.users)
        peers = self.random.sample(self.peers[:14], self.random.randrange(2, 15))
        await self.everybody(peers)
        in_turn, fat, numbered, futures = self.chance(0.4), self.chance(0.3), self.chance(0.5), []
        for _ in range(self.random.randrange(1, 6)):
            if self.chance(0.3):
                self.random.shuffle(peers)
            for peer in peers:
                future = await peer.say(user, self.fat() if fat else "y" * self.random.randrange(40), numbered)
                futures.append(future)
                if in_turn:
                    await self.settled([future])
        if self.chance(0.8):
            await self.settled(futures)

    async def step_chorus(self):
        """More peers than a page of activity has entries write to one user, two of them in turn at the end. One of his devices, which had everything, is
        away meanwhile."""
        user = self.random.choice(self.users)
        device = self.random.choice([d for d in self.devices if d.user == user])
        await self.everybody([device])
        device.reads(True)
        until = time.monotonic() + REPLY_DEADLINE_S
        while (device.lacks() or device.unacked) and time.monotonic() < until:
            await device.acknowledge()
            await device.client.request_within("ping", {})
            await asyncio.sleep(0.01)
        await device.take_token()
        device.leave()
        peers = self.random.sample(self.peers, len(self.peers))
        await self.everybody(peers)
        await self.settled([await peer.say(user, "c" * self.random.randrange(40), True) for peer in peers])
        for peer in (*peers[-2:], *peers[-2:]):
            await self.settled([await peer.say(user, "t", False)])
        await device.connect(**({"sync_token": device.tokens[-1]} if device.tokens and self.chance(0.5) else {}))

    async def step_sweep(self):
        """Retention takes more of a conversation than a page holds, from a device that is away, or that is there and does not read."""
        fit = [d for d in self.devices if isinstance(d, Device) and issubclass(d.cls, GatedTcp)]
        device = self.random.choice(fit)
        await self.everybody([device])
        if self.chance(0.5):
            device.leave()
        else:
            device.reads(False)
        first, *others = self.random.sample(self.peers[:14], 4)
        await self.everybody([first, *others])
        sent = [await first.say(device.user, "s" * self.random.randrange(40), True) for _ in range(PAGE_MESSAGES + 20)]
        await self.settled(sent)
        stored = [f.result()["send"] for f in sent if f and not f.exception() and "send" in f.result()]
        if not stored:
            return  # refused for now, or cut
        swept = max(stored, key=lambda reply: reply["seq"])
        until = time.monotonic() + REPLY_DEADLINE_S
        while True:
            await self.settled([await peer.say(device.user, self.fat(), True) for _ in range(30) for peer in others])
            page = await first.client.request_within("history", {"conversation": swept["conversation"], "limit": 1, "before_seq": swept["seq"] + 1})
            if not page.get("messages"):
                break
            assert time.monotonic() < until, "retention takes nothing"
            await asyncio.sleep(0.1)
        if device.online:
            device.reads(True)
        else:
            await device.connect(**({"sync_token": device.tokens[-1]} if device.tokens and self.chance(0.5) else {}))

    async def step_flood(self):
        """More than all buffers hold for one who does not read: few conversations, so that it is not the flights which stop the pushes."""
        fit = [d for d in self.devices if d.online and isinstance(d.client, GatedTcp)]
        if not fit:
            return
        device = self.random.choice(fit)
        await device.acknowledge()
        device.reads(False)
        peers = self.random.sample(self.peers, 3)
        await self.everybody(peers)
        await self.settled([await peer.say(device.user, self.fat(), True) for _ in range(40) for peer in peers])
        await asyncio.sleep(0.05)

    async def step_ack(self):
        device = self.pick_device(reads=False)
        if device and device.unacked and not device.holds_acks:
            await device.acknowledge(lost=self.chance(0.2), some=self.random.choice((None, None, 1, 3)))
            if device.gate_open and self.chance(0.3):
                await device.take_token()

    async def step_hold(self):
        device = self.random.choice(self.devices)
        device.holds_acks = not device.holds_acks

    async def step_gate(self):
        """One that stops to read, or begins again."""
        device = self.pick_device(reads=False)
        if device:
            device.reads(not device.gate_open)

    async def step_cut(self):
        device = self.pick_device(reads=False)
        if not device:
            return
        if self.chance(0.3) and device.gate_open:
            client, device.client = device.client, None
            client.party = None
            await client.close()
        else:
            device.leave()

    async def step_connect(self):
        device = self.pick_device(reads=False, online=self.chance(0.15)) or self.pick_device(reads=False, online=False)
        if not device:
            return
        fields = {}
        if device.tokens and self.chance(0.6):
            fields["sync_token"] = device.tokens[-1] if self.chance(0.7) else self.random.choice(device.tokens)
        if device.views and self.chance(0.4):
            fields["open"] = [{"conversation": c, "seq": device.views[c].top} for c in self.random.sample(sorted(device.views), min(3, len(device.views)))]
        await device.connect(**fields)

    async def step_ping(self):
        """A heartbeat, behind a pause in which nobody acked."""
        device = self.pick_device()
        if not device:
            return
        if self.chance(0.5):
            await asyncio.sleep(self.server.config["session"]["retransmit-after-ms"] / 1000 * 1.2)
        if isinstance(device.client, GatedWs) and self.chance(0.5):
            await asyncio.wait_for(await device.client.socket.ping(), REPLY_DEADLINE_S)
        else:
            await device.client.request_within("ping", {})

    async def step_sync(self):
        """The list page by page while others write, then what changed since: nothing that was acked before may be missing."""
        device = self.pick_device()
        if not device:
            return
        known = {c: self.model.acked_head(c) for c, _ in self.model.of(device.user)}
        told = collections.Counter({c: seq for (user, c), seq in self.model.read.items() if user == device.user})
        heads, token = collections.Counter(), None
        for since in (False, True):
            fields, first = ({"sync_token": token} if since else {}), True
            while True:
                page = await device.client.request_within("sync", {"limit": self.random.choice((2, 5, 100)), **fields})
                assert not page.get("reset")
                if first:
                    token = page["sync_token"]
                first = False
                for c in page.get("conversations", []):
                    heads[c["conversation"]] = max(heads[c["conversation"]], c["head_seq"])
                    if "last_message" in c:
                        assert self.model.shown(c["last_message"]).seq == c["head_seq"]
                    assert "last_message" in c or c["first_seq"] > c["head_seq"], f"{device.name}: {c}"
                    assert c["first_seq"] == 1 or self.may_trim, f"{device.name}: {c}"
                    line, read = self.model.line(c["conversation"]), c.get("read_seq", 0)
                    assert read >= told[c["conversation"]], f"{device.name}: had read up to {told[c['conversation']]} and {c}"
                    unread = range(max(read + 1, c["first_seq"]), c["head_seq"] + 1)
                    if all(s in line for s in unread):
                        others, counted = sum(line[s].sender != device.user for s in unread), c.get("unread", 0)
                        # Retention may go on between the two.
                        assert counted == others or (self.may_trim and counted < others), f"{device.name}: {others} of others and {c}"
                if not page.get("more"):
                    break
                self.bounds["sync_pages"] += 1
                fields = {"cursor": page["cursor"]}
        lacking = [c for c, head in known.items() if heads[c] < head]
        if lacking and self.may_trim:  # one of which nothing is left is in no list
            page = await device.client.request_within("sync", {"conversations": lacking[:MAX_LISTED]})
            left = {c["conversation"] for c in page["conversations"] if "last_message" in c}
            lacking = [c for c in lacking[:MAX_LISTED] if c in left]
        assert not lacking, f"{device.name}: lists lack {lacking}"
        if self.chance(0.5):
            device.keep(token)

    async def step_history(self):
        device = self.pick_device()
        lines = device and self.model.of(device.user)
        if not lines:
            return
        conversation, _ = self.random.choice(lines)
        if self.chance(0.3):
            conversation, _ = max(lines, key=lambda of: sum(len(a.body["text"]) for a in of[1].values()))
        await self.read_history(device, conversation, self.random.choice((3, 20, 200)), self.chance(0.5))

    async def read_history(self, device, conversation, limit, upwards):
        """All of a conversation, page by page: dense with its gaps, and what was acked is in it."""
        head, seqs, bound = self.model.acked_head(conversation), [], None
        if upwards:
            bound = 0
        while True:
            fields = {} if bound is None else {"after_seq" if upwards else "before_seq": bound}
            page = await device.client.request_within("history", {"conversation": conversation, "limit": limit, **fields})
            gaps, got = page.get("gaps", []), [self.model.shown(m).seq for m in page.get("messages", [])]
            assert not gaps or (self.may_trim and all(map(is_truncated, gaps))), gaps
            covered = sorted([*got, *[s for g in gaps for s in range(g["from_seq"], g["to_seq"] + 1)]])
            self.bounds["history_gaps"] += bool(gaps)
            seqs = seqs + covered if upwards else covered + seqs
            if not page.get("more"):
                break
            assert covered and len(got) <= limit
            self.bounds["history_pages"] += 1
            self.bounds["history_bytes"] += len(got) < limit and not gaps
            bound = covered[-1] if upwards else covered[0]
        assert seqs == list(range(1, len(seqs) + 1)) and len(seqs) >= head, f"history of {conversation}, acked to {head}: {seqs}"

    async def step_read(self):
        """The user has read up to some message that this device has. Lists count from there, whatever happens to the server."""
        device = self.pick_device()
        seen = device and [(c, max(v.have)) for c, v in device.views.items() if v.have]
        if not seen:
            return
        conversation, head = self.random.choice(sorted(seen))
        seq = self.random.randrange(1, head + 1)
        reply = await device.client.request_within("read", {"conversation": conversation, "seq": seq})
        assert reply["read_seq"] >= max(seq, self.model.read[device.user, conversation]), f"{device.name} read {seq}: {reply}"
        self.model.read[device.user, conversation] = reply["read_seq"]
        self.bounds["reads"] += 1

    async def step_hints(self):
        """For a while no push hint reaches a worker: what comes then is found by heartbeats and by the next hint."""
        faults = self.server.config.setdefault("debug", {}).setdefault("unsafe-faults", {})
        faults["drop-hints"] = not faults.get("drop-hints", False)
        self.bounds["hints_off"] += faults["drop-hints"]
        await self.reload()

    async def reload(self):
        before = self.server.metric("dunlin_config_reloads_total")
        self.server.reload()
        until = time.monotonic() + 20
        while self.server.metric("dunlin_config_reloads_total") == before:
            assert time.monotonic() < until, "the configuration was not read again"
            await asyncio.sleep(0.01)

    async def step_join(self):
        """A new device of a user."""
        user = self.random.choice(self.users)
        devices = [d for d in self.devices if d.user == user]
        if len(devices) >= 6:
            return
        device = Device(self, user, f"d{len(devices)}", self.random.choice(self.classes), late=True)
        self.devices.append(device)
        self.bounds["joined"] += 1
        await device.connect()

    async def step_kill(self):
        if ENGINE == "memory":
            return
        for _ in range(self.random.randrange(3)):
            await self.step_send()
        await self.kill()

    async def step_restart(self):
        """A graceful stop, at which the log enters history as far as it is sealed."""
        if ENGINE != "memory":
            await self.kill(self.server.stop, "restarts")

    async def kill(self, end=None, bound="kills"):
        for device in self.devices:
            device.trail.append(bound)
        """kill -9, or another end, and another one on the same data."""
        self.bounds = self.reached()
        self.bounds[bound] += 1
        await asyncio.to_thread(end or self.server.kill)
        for party in (*self.devices, *self.peers):
            party.leave()
        await asyncio.to_thread(self.server.start)

    STEPS = {"send": 30, "burst": 8, "chorus": 0.7, "flood": 1, "ack": 30, "hold": 3, "gate": 5, "cut": 5, "connect": 14, "ping": 8, "sync": 4, "history": 4, "read": 4, "hints": 1, "join": 1, "kill": 0.8, "restart": 0.4}
    # What a bound needs that others reach by chance.
    STEP_FOR = {"activity_page": "chorus", "write_queue": "flood", "hints_off": "hints", "joined": "join", "kills": "kill", "restarts": "restart", "reads": "read", "history_bytes": "history", "sync_pages": "sync", "truncated": "sweep", "gap_page": "sweep", "gap_live": "sweep"}

    async def steps(self, count, weights=None):
        weights = weights or self.STEPS
        for name in self.random.choices(list(weights), list(weights.values()), k=count):
            self.history.append(name)
            try:
                await getattr(self, f"step_{name}")()
            except Closed as closed:
                raise AssertionError(f"{name}: {closed}") from closed
            self.check()
            await self.check_gaps()
            await asyncio.sleep(0)

    # more than one of everything: for the limits that the server is shipped with

    async def story_of_many(self, others):
        """The one user's devices: one is away, one acks late, one reads late, one writes to `others` users; and all peers write to him in turn."""
        writer, late, away, slow = self.devices[:4]
        slow.cls = GatedTcp  # so that the server's queue is what fills, not the kernel's
        await self.everybody([*self.devices, *self.peers])
        away.leave()
        late.holds_acks = True
        slow.reads(False)
        targets = [f"other{i}" for i in range(others)]
        for round_ in range(3):
            self.random.shuffle(targets)
            self.random.shuffle(self.peers)
            futures = []
            for at in range(max(len(targets), len(self.peers))):
                if at < len(targets):
                    futures.append(await writer.say(targets[at], "w" * self.random.randrange(200, 1400), round_ < 2))
                if at < len(self.peers):
                    futures.append(await self.peers[at].say(writer.user, "p" * self.random.randrange(200, 1400), self.chance(0.5)))
                if round_ < 2 and self.chance(0.01):
                    await self.settled(futures)
            await self.settled(futures)
            self.check()
            await away.connect(**({"sync_token": away.tokens[-1]} if self.chance(0.5) else {}))
            await away.client.request_within("ping", {})
            await away.acknowledge(lost=round_ == 0)
            away.leave()
            if round_ == 1 and ENGINE != "memory":
                await self.kill()
                await self.everybody([*self.devices, *self.peers])
                away.leave()
        slow.reads(False)
        await self.settled([await peer.say(slow.user, self.fat() * 5, True) for _ in range(40) for peer in self.peers[:3]])
        await asyncio.sleep(0.1)
        slow.reads(True)
        await self.step_sync()
        for pause_s in (0, self.server.config["session"].get("retransmit-after-ms", 5000) / 1000 + 0.2):
            await asyncio.sleep(pause_s)
            for device in (late, slow):
                await device.client.request_within("ping", {})
        late.holds_acks = False

    async def story_of_full_mailboxes(self, each):
        """The store holds its answers back until `each` peer has sent so many, and one more than may be unanswered; it gives them while no worker runs:
        more hints than a mailbox takes."""
        faults = self.server.config.setdefault("debug", {}).setdefault("unsafe-faults", {})
        await self.everybody([*self.devices, *self.peers])
        for _ in range(2):
            faults.update({"store-delay-ms": 60_000, "worker-stall-ms": 0})
            await self.reload()
            one, *peers = self.peers
            futures = [await peer.say(self.users[0], "m" * 40_000, self.chance(0.5)) for _ in range(each) for peer in peers]
            futures += [await one.say(self.users[0], "one of many", self.chance(0.5)) for _ in range(MAX_PENDING_SENDS + 100)]
            await asyncio.gather(*[peer.client.request_within("ping", {}) for peer in peers])  # so all of theirs are with the store
            faults.update({"store-delay-ms": 0, "worker-stall-ms": 1500})
            await self.reload()
            await self.settled(futures)
            self.check()
        faults["worker-stall-ms"] = 0

    # the end

    async def settle(self, deadline_s=40):
        """Everybody comes back, reads, acks and pings until nothing is missing."""
        if self.server.config.get("debug", {}).get("unsafe-faults", {}).get("drop-hints"):
            await self.step_hints()
        for device in self.devices:
            if device.online:
                device.reads(True)
        await self.everybody([*self.devices, *[p for p in self.peers if p.outbox]])
        until = time.monotonic() + deadline_s
        while True:
            self.check()
            for device in self.devices:
                await device.acknowledge()
            await asyncio.gather(*[d.client.request_within("ping", {}) for d in self.devices])
            open_ = [a.id for p in (*self.devices, *self.peers) for a in p.outbox.values()]
            lacking = [] if open_ else [(d.name, d.lacks()) for d in self.devices if d.lacks()]
            if not open_ and not lacking and not any(d.unacked for d in self.devices):
                break
            assert time.monotonic() < until, f"no reply to {open_[:5]}; missing: {lacking}; unacked: {[(d.name, d.unacked) for d in self.devices if d.unacked]}"
            await asyncio.sleep(0.05)
        self.model.check()
        await self.check_gaps()
        await self.nothing_to_say()
        reader = {user: next(d for d in self.devices if d.user == user) for user in self.users}
        for user in self.users:
            for conversation, _ in self.model.of(user)[:200]:
                await self.read_history(reader[user], conversation, 200, self.chance(0.5))
        self.check()
        assert all(not v.owed - v.have - v.gone for d in self.devices for v in d.views.values())

    async def nothing_to_say(self):
        """With the newest token, and from the stored cursor."""
        for how in ("token", "cursor"):
            for device in self.devices:
                await device.acknowledge(everything=how == "token")
                await device.take_token()
            said = {name: self.bounds[name] for name in ("duplicates", "truncated")}
            for device in self.devices:
                client, device.client = device.client, None
                client.party = None
                await client.close()
            await self.sessions_end()
            for device in self.devices:
                hello = await device.connect(**({"sync_token": device.tokens[-1]} if how == "token" else {}))
                assert not hello.get("changed") and not hello.get("more"), f"{device.name} by {how}: {hello}"
            for _ in range(2):
                await asyncio.gather(*[d.client.request_within("ping", {}) for d in self.devices])
            await asyncio.sleep(0.05)
            self.check()
            assert not any(d.unacked for d in self.devices) and all(self.bounds[name] == count for name, count in said.items()), f"something came again, by {how}"

    async def sessions_end(self):
        left = sum(p.online for p in (*self.devices, *self.peers))
        until = time.monotonic() + 20
        while self.server.metric("dunlin_sessions") > left:
            assert time.monotonic() < until, "sessions never ended"
            await asyncio.sleep(0.01)

    def close(self):
        for party in (*self.devices, *self.peers):
            party.leave()

    def report(self, wanted):
        """One line of the bounds that a run has to reach, and what else was counted."""
        reached = self.reached()
        besides = sorted({*reached, *METRICS} - set(wanted))
        line, rest = (" ".join(f"{name}={reached[name]}" for name in names) for names in (wanted, besides))
        return f"bounds reached: {line}\nbesides: {rest}"
