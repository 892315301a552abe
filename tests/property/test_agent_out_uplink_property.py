"""The sync machine against a model of the fleet, under any schedule of crash, loss, doubling, reordering and restore.

The model server follows the contract as `agent.wire.messages` states it, in as few lines as it takes; the model buffer
keeps what SQLite would. Hypothesis chooses what happens next. Held throughout: a row is stored once, and is given up
only if the fleet had it. Held at the end, once the network behaves: every row that is still kept has arrived.
"""

import random
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.core.uplink import Uplink
from agent.core.uplink_events import (
    Acked,
    Action,
    Built,
    Committed,
    Connect,
    Deliver,
    Disconnect,
    Failed,
    GiveUp,
    Input,
    LinkDown,
    LinkUp,
    Pushed,
    Rewind,
    Road,
    Send,
    SetAside,
    Wake,
)
from agent.wire.messages import Ack, ConfigDocument, Lane, Refusal

ROWS_A_BATCH = {64 * 1024: 3, 512 * 1024: 7}
LANES = st.sampled_from(Lane)


@dataclass(frozen=True)
class Message:
    """A batch under way."""

    batch: str
    lane: Lane
    flight: int
    road: Road
    prev_seq: int
    rows: tuple[int, ...]
    life: int  # of the agent that sent it


@dataclass
class Server:
    """The fleet: per lane the rows it stored, its mark, what it quarantined."""

    stored: dict[Lane, list[int]] = field(default_factory=lambda: {lane: [] for lane in Lane})
    quarantined: set[tuple[Lane, int]] = field(default_factory=set)

    def mark(self, lane: Lane) -> int:
        return self.stored[lane][-1] if self.stored[lane] else 0

    def take(self, message: Message, poison: set[tuple[Lane, int]]) -> tuple[int | None, Refusal | None]:
        """Return acked_seq and refusal, having stored what is to be stored."""
        mark = self.mark(message.lane)
        bad = {(message.lane, seq) for seq in message.rows} & poison
        if bad:
            self.quarantined |= {(message.lane, seq) for seq in message.rows}
            return None, Refusal("$.rows", "poison", quarantined=True)
        if message.prev_seq <= mark:
            fresh = [seq for seq in message.rows if seq > mark]
            assert not set(fresh) & set(self.stored[message.lane]), "stored twice"
            self.stored[message.lane] += fresh
        return self.mark(message.lane), None


@dataclass
class Disk:
    """The buffer: rows, marks (the written one may lag), rows set aside, rows deleted after their ack."""

    rows: dict[Lane, list[int]] = field(default_factory=lambda: {lane: [] for lane in Lane})
    next_seq: dict[Lane, int] = field(default_factory=lambda: dict.fromkeys(Lane, 1))
    mark: dict[Lane, int] = field(default_factory=lambda: dict.fromkeys(Lane, 0))
    written_mark: dict[Lane, int] = field(default_factory=lambda: dict.fromkeys(Lane, 0))
    aside: set[tuple[Lane, int]] = field(default_factory=set)
    deleted: set[tuple[Lane, int]] = field(default_factory=set)

    def sendable(self, lane: Lane, after: int) -> list[int]:
        return [seq for seq in self.rows[lane] if seq > after and (lane, seq) not in self.aside]


class SyncSchedule(RuleBasedStateMachine):
    """What may happen between a device and its fleet."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.life = 0
        self.built = 0
        self.disk = Disk()
        self.server = Server()
        self.backups: list[Server] = []
        self.ever_stored: set[tuple[Lane, int]] = set()
        self.ever_quarantined: set[tuple[Lane, int]] = set()
        self.poison: set[tuple[Lane, int]] = set()
        self.sends: list[Send] = []
        self.network: list[Message] = []
        self.acks: list[Ack] = []
        self.configs: list[ConfigDocument] = []
        self.wants_link = False
        self.has_link = False

    @initialize(seed=st.integers(0, 2**16), link_port=st.sampled_from([0, 8883]))
    def start(self, seed: int, link_port: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a schedule that can be repeated
        self.link_port = link_port
        self.boot()

    def boot(self) -> None:
        self.sends = []
        self.wants_link = self.has_link = False
        self.life += 1
        ends = {}
        for lane in Lane:
            self.disk.mark[lane] = self.disk.written_mark[lane]
            rows = self.disk.sendable(lane, self.disk.mark[lane])
            ends[lane] = (self.disk.mark[lane], rows[-1] if rows else self.disk.mark[lane])
        self.uplink = Uplink(ends, self.link_port, self.rng.random, self.now)
        assert self.uplink.due() <= self.now, "it has to be started"
        self.feed(None)

    def feed(self, event: Input | None) -> None:
        for action in self.uplink.handle(event, self.now):
            self.do(action)
        assert self.uplink.due() > self.now, "the timer would spin"

    def do(self, action: Action) -> None:
        match action:
            case Send():
                assert not self.wants_link or self.has_link or action.road is Road.GATEWAY
                self.sends.append(action)
            case Connect():
                self.wants_link, self.has_link = True, False
            case Disconnect():
                self.wants_link = self.has_link = False
            case GiveUp(lane=lane, through_seq=through):
                known = self.ever_stored | self.ever_quarantined
                assert all((lane, seq) in known for seq in self.disk.rows[lane] if seq <= through), "given up unstored"
                self.disk.mark[lane] = max(self.disk.mark[lane], through)
            case Rewind(lane=lane, to_seq=to):
                self.disk.mark[lane] = to
            case SetAside(lane=lane, first_seq=first, through_seq=through):
                aside = {(lane, seq) for seq in self.disk.sendable(lane, first - 1) if seq <= through}
                assert aside <= self.ever_quarantined, "set aside what the fleet does not hold"
                self.disk.aside |= aside
            case Deliver(config=config):
                self.configs.append(config)

    # The device.

    @rule(lane=LANES, count=st.integers(1, 9), urgent=st.booleans(), bad=st.integers(0, 30))
    def commit(self, *, lane: Lane, count: int, urgent: bool, bad: int) -> None:
        for i in range(count):
            seq = self.disk.next_seq[lane]
            self.disk.next_seq[lane] += 1
            self.disk.rows[lane].append(seq)
            if bad == i:
                self.poison.add((lane, seq))
        self.disk.written_mark = dict(self.disk.mark)
        self.feed(Committed(lane, self.disk.rows[lane][-1], urgent))

    @rule(seconds=st.sampled_from([0.01, 0.5, 2.0, 5.0, 10.0, 25.0, 60.0, 1000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.feed(None)

    @rule()
    def wake(self) -> None:
        self.feed(Wake())

    @rule()
    def crash(self) -> None:
        self.boot()

    @rule(data=st.data())
    @precondition(lambda self: self.sends)
    def build(self, data: st.DataObject) -> None:
        send = self.sends.pop(data.draw(st.integers(0, len(self.sends) - 1)))
        self.build_one(send)

    def build_one(self, send: Send) -> None:
        rows = self.disk.sendable(send.lane, send.after_seq)
        assert not [
            seq
            for seq in self.disk.sendable(send.lane, send.prev_seq)
            if seq <= send.after_seq and (send.lane, seq) not in self.ever_quarantined
        ], "prev_seq promises that nothing lies between"
        take = tuple(rows[: ROWS_A_BATCH[send.max_bytes]])
        self.built += 1
        batch = f"b{self.built}"
        message = Message(batch, send.lane, send.flight, send.road, send.prev_seq, take, self.life)
        self.feed(Built(send.lane, send.flight, batch, take[-1] if take else None, len(rows) > len(take)))
        self.network.append(message)

    @rule(data=st.data())
    @precondition(lambda self: self.sends)
    def fail_to_build(self, data: st.DataObject) -> None:
        send = self.sends.pop(data.draw(st.integers(0, len(self.sends) - 1)))
        self.feed(Failed(send.lane, send.flight))

    @rule(lane=LANES, count=st.integers(1, 20))
    def delete_acked(self, lane: Lane, count: int) -> None:
        gone = [seq for seq in self.disk.rows[lane] if seq <= self.disk.mark[lane]][:count]
        self.disk.rows[lane] = self.disk.rows[lane][len(gone) :]
        self.disk.deleted |= {(lane, seq) for seq in gone}

    # The network.

    @rule()
    @precondition(lambda self: self.wants_link)
    def link_comes(self) -> None:
        self.has_link = True
        self.feed(LinkUp())

    @rule()
    @precondition(lambda self: self.wants_link)
    def link_goes(self) -> None:
        self.wants_link = self.has_link = False
        self.feed(LinkDown())

    @rule(data=st.data(), doubled=st.booleans())
    @precondition(lambda self: self.network)
    def arrive(self, *, data: st.DataObject, doubled: bool) -> None:
        i = data.draw(st.integers(0, len(self.network) - 1))
        message = self.network[i] if doubled else self.network.pop(i)
        self.acks.append(self.answer(message))

    @rule(data=st.data(), wait_s=st.sampled_from([None, 1.0, 30.0]), refused=st.booleans())
    @precondition(lambda self: self.network)
    def get_lost(self, *, data: st.DataObject, wait_s: float | None, refused: bool) -> None:
        message = self.network.pop(data.draw(st.integers(0, len(self.network) - 1)))
        if message.road is Road.GATEWAY and message.life == self.life:
            self.feed(Failed(message.lane, message.flight, wait_s, refused))

    @rule(data=st.data(), doubled=st.booleans())
    @precondition(lambda self: self.acks)
    def hear(self, *, data: st.DataObject, doubled: bool) -> None:
        i = data.draw(st.integers(0, len(self.acks) - 1))
        self.feed(Acked(self.acks[i] if doubled else self.acks.pop(i)))

    @rule(data=st.data())
    @precondition(lambda self: self.acks)
    def lose_ack(self, data: st.DataObject) -> None:
        self.acks.pop(data.draw(st.integers(0, len(self.acks) - 1)))

    # The fleet.

    def answer(self, message: Message) -> Ack:
        acked_seq, refused = self.server.take(message, self.poison)
        self.ever_stored |= {(lane, seq) for lane in Lane for seq in self.server.stored[lane]}
        self.ever_quarantined |= self.server.quarantined
        return Ack(1, message.batch, acked_seq, 0, 0, 5.0, self.link_port, refused=refused)

    @rule(data=st.data())
    @precondition(lambda self: self.network)
    def refuse_for_now(self, data: st.DataObject) -> None:
        message = self.network.pop(data.draw(st.integers(0, len(self.network) - 1)))
        refusal = Refusal("$.version", "not spoken here", quarantined=False)
        self.acks.append(Ack(1, message.batch, None, 0, 0, 5.0, self.link_port, refused=refusal))

    @rule()
    def back_up(self) -> None:
        self.backups.append(deepcopy(self.server))

    @rule(data=st.data())
    @precondition(lambda self: self.backups)
    def restore(self, data: st.DataObject) -> None:
        self.server = deepcopy(self.backups[data.draw(st.integers(0, len(self.backups) - 1))])

    @rule(revision=st.integers(1, 3))
    def push_config(self, revision: int) -> None:
        self.feed(Pushed(ConfigDocument(revision, f"h{revision}", "")))

    @rule(port=st.sampled_from([0, 8883, 8884]))
    def move_link(self, port: int) -> None:
        self.link_port = port

    # Chance alone seldom carries a batch all the way there and back; these two do.

    @rule(steps=st.integers(1, 6))
    def carry_on(self, steps: int) -> None:
        for _ in range(steps):
            self.carry_over()

    @rule(lane=LANES, steps=st.integers(1, 4), lost=st.integers(0, 3))
    def commit_and_carry_on(self, lane: Lane, steps: int, lost: int) -> None:
        self.commit(lane=lane, count=4, urgent=True, bad=30)
        for step in range(steps):
            self.carry_over(keep_ack=step == lost)

    def carry_over(self, *, keep_ack: bool = False) -> None:
        if self.wants_link and not self.has_link:
            self.link_comes()
        while self.sends:
            self.build_one(self.sends.pop(0))
        while self.network:
            ack = self.answer(self.network.pop(0))
            if keep_ack:
                self.acks.append(ack)
            else:
                self.feed(Acked(ack))
        if not self.sends:
            self.now = self.uplink.due()
            self.feed(None)

    # What holds.

    @invariant()
    def rows_are_stored_in_order_and_once(self) -> None:
        for rows in self.server.stored.values():
            assert all(a < b for a, b in pairwise(rows))

    @invariant()
    def a_config_is_delivered_once(self) -> None:
        assert all(a != b for a, b in pairwise(self.configs)) or self.life > 1

    def teardown(self) -> None:
        if not hasattr(self, "uplink"):
            return
        for _ in range(2000):
            if not self.sends and not self.missing() and all(seq <= self.disk.mark[lane] for lane, seq in self.due()):
                break
            self.carry_over()
        assert not self.missing(), "kept, and never arrived"

    def due(self) -> list[tuple[Lane, int]]:
        return [(lane, seq) for lane in Lane for seq in self.disk.rows[lane] if (lane, seq) not in self.disk.aside]

    def missing(self) -> set[tuple[Lane, int]]:
        stored = {(lane, seq) for lane in Lane for seq in self.server.stored[lane]}
        return set(self.due()) - stored


TestSyncSchedule = SyncSchedule.TestCase
TestSyncSchedule.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
