"""The sync machine against a model of the fleet, under any schedule of crash, loss, doubling, reordering and restore.

The model server follows the contract as `agent.wire.messages` states it, in as few lines as it takes; the model buffer
keeps what SQLite would. Each row is known by what is in it, not by its seq: a card that is put back to an older image
numbers other rows with seqs that were used before. Hypothesis chooses what happens next. Held throughout: a row is
stored once, and is given up only if the fleet had it. Held at the end, once the network behaves: every row that is
still kept has arrived.
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
    Gate,
    GiveUp,
    Input,
    LinkDown,
    LinkUp,
    Pushed,
    Renew,
    Renewed,
    Rewind,
    Road,
    Send,
    SetAside,
    Wake,
)
from agent.wire.messages import Ack, ConfigDocument, Lane, Refusal

ROWS_A_BATCH = {0: 0, 64 * 1024: 3, 512 * 1024: 7}
LANES = st.sampled_from(Lane)
MOST_CALLS = 2000  # until all has arrived, once the network behaves; most often a few
IDLE_CALLS = 10  # after that, which bring nothing and change nothing


@dataclass(frozen=True)
class Message:
    """A batch under way."""

    batch: str
    lane: Lane
    flight: int
    road: Road
    prev_seq: int
    store: int
    rows: tuple[tuple[int, int], ...]  # seq and content
    life: int  # of the agent that sent it


@dataclass
class Server:
    """The fleet: per store and lane the rows it stored, as seq and content; what it quarantined."""

    stored: dict[tuple[int, Lane], list[tuple[int, int]]] = field(default_factory=dict)
    quarantined: set[int] = field(default_factory=set)

    def mark(self, store: int, lane: Lane) -> int:
        rows = self.stored.get((store, lane))
        return rows[-1][0] if rows else 0

    def contents(self) -> set[int]:
        return {content for rows in self.stored.values() for _, content in rows}

    def take(self, message: Message, poison: set[int]) -> tuple[int | None, Refusal | None]:
        """Return acked_seq and refusal, having stored what is to be stored."""
        mark = self.mark(message.store, message.lane)
        if {content for _, content in message.rows} & poison:
            self.quarantined |= {content for _, content in message.rows}
            return None, Refusal("$.rows", "poison", quarantined=True)
        if message.prev_seq <= mark:
            fresh = [row for row in message.rows if row[0] > mark]
            assert not {content for _, content in fresh} & self.contents(), "stored twice"
            self.stored.setdefault((message.store, message.lane), []).extend(fresh)
        return self.mark(message.store, message.lane), None


@dataclass
class Disk:
    """The buffer: rows (seq → content), marks and bases (what is written may lag), rows set aside."""

    store: int = 1
    rows: dict[Lane, dict[int, int]] = field(default_factory=lambda: {lane: {} for lane in Lane})
    next_seq: dict[Lane, int] = field(default_factory=lambda: dict.fromkeys(Lane, 1))
    mark: dict[Lane, int] = field(default_factory=lambda: dict.fromkeys(Lane, 0))
    written_mark: dict[Lane, int] = field(default_factory=lambda: dict.fromkeys(Lane, 0))
    base: dict[Lane, int | None] = field(default_factory=lambda: dict.fromkeys(Lane))
    written_base: dict[Lane, int | None] = field(default_factory=lambda: dict.fromkeys(Lane))
    aside: set[tuple[Lane, int]] = field(default_factory=set)

    def sendable(self, lane: Lane, after: int) -> list[int]:
        return [seq for seq in self.rows[lane] if seq > after and (lane, seq) not in self.aside]

    def is_in_step(self) -> bool:
        return all(base is None or base == self.next_seq[lane] - 1 for lane, base in self.written_base.items())

    def write(self) -> None:
        self.written_mark = dict(self.mark)
        self.written_base = dict(self.base)


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
        self.images: list[Disk] = []
        self.contents = 0  # counted, so that each row has its own
        self.stores = 1
        self.ever_stored: set[int] = set()
        self.ever_quarantined: set[int] = set()
        self.ever_shed: set[int] = set()  # and told as a gap, which holds where an older image has the rows again
        self.poison: set[int] = set()
        self.sends: list[Send] = []
        self.network: list[Message] = []
        self.acks: list[Ack] = []
        self.configs: list[ConfigDocument] = []
        self.renewals: list[dict[Lane, int]] = []
        self.wants_link = False
        self.has_link = False
        self.gate = Gate()

    @initialize(seed=st.integers(0, 2**16), link_port=st.sampled_from([0, 8883]))
    def start(self, seed: int, link_port: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a schedule that can be repeated
        self.link_port = link_port
        self.boot()

    def boot(self) -> None:
        self.sends, self.renewals = [], []
        self.wants_link = self.has_link = False
        self.life += 1
        ends, bases = {}, {}
        self.is_proven = False
        for lane in Lane:
            self.disk.mark[lane] = self.disk.written_mark[lane]
            base = self.disk.written_base[lane]
            bases[lane] = self.disk.base[lane] = self.disk.next_seq[lane] - 1 if base is None else base
            rows = self.disk.sendable(lane, self.disk.mark[lane])
            ends[lane] = (self.disk.mark[lane], rows[-1] if rows else self.disk.mark[lane])
        self.gate, self.urgent = Gate(), self.disk.next_seq[Lane.EVENTS] - 1
        self.uplink = Uplink(ends, self.link_port, self.rng.random, self.now, bases=bases)
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
                if not self.gate.is_open and action.max_bytes:
                    assert action.lane is Lane.EVENTS, "readings went through a closed gate"
                    assert action.after_seq < self.urgent, "events went through a closed gate that are not urgent"
                assert action.call_s == self.gate.call_s
                self.sends.append(action)
            case Connect():
                self.wants_link, self.has_link = True, False
            case Disconnect():
                self.wants_link = self.has_link = False
            case GiveUp(lane=lane, through_seq=through):
                known = self.accounted()
                given = {content for seq, content in self.disk.rows[lane].items() if seq <= through}
                assert given <= known, "given up unstored"
                self.disk.mark[lane] = max(self.disk.mark[lane], through)
            case Rewind(lane=lane, to_seq=to):
                self.disk.mark[lane] = to
            case SetAside(lane=lane, first_seq=first, through_seq=through):
                aside = [seq for seq in self.disk.sendable(lane, first - 1) if seq <= through]
                contents = {self.disk.rows[lane][seq] for seq in aside}
                assert contents <= self.ever_quarantined, "set aside what the fleet does not hold"
                self.disk.aside |= {(lane, seq) for seq in aside}
            case Renew(bases=bases):
                self.renewals.append(dict(bases))
            case Deliver(config=config):
                self.configs.append(config)

    # The device.

    @rule(lane=LANES, count=st.integers(1, 9), urgent=st.booleans(), bad=st.integers(0, 30))
    def commit(self, *, lane: Lane, count: int, urgent: bool, bad: int) -> None:
        for i in range(count):
            seq = self.disk.next_seq[lane]
            self.disk.next_seq[lane] += 1
            self.contents += 1
            self.disk.rows[lane][seq] = self.contents
            if bad == i:
                self.poison.add(self.contents)
        self.disk.write()
        if urgent and lane is Lane.EVENTS:
            self.urgent = self.disk.next_seq[lane] - 1
        self.feed(Committed(lane, self.disk.next_seq[lane] - 1, urgent))

    @rule(seconds=st.sampled_from([0.01, 0.5, 2.0, 5.0, 10.0, 25.0, 60.0, 1000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.feed(None)

    @rule(is_open=st.booleans(), call_s=st.sampled_from([900, 5400]), is_metered=st.booleans())
    def meter(self, *, is_open: bool, call_s: int, is_metered: bool) -> None:
        self.gate = Gate(is_open, 0 if is_open else call_s, is_metered)
        self.feed(self.gate)

    @rule()
    def wake(self) -> None:
        self.feed(Wake())

    @rule()
    def crash(self) -> None:
        self.boot()

    @rule()
    @precondition(lambda self: self.disk.is_in_step())  # else rows may come twice, rather than never: decision 121
    def take_image(self) -> None:
        self.images.append(deepcopy(self.disk))

    @rule(data=st.data())
    @precondition(lambda self: self.images)
    def put_image_back(self, data: st.DataObject) -> None:
        self.disk = deepcopy(self.images[data.draw(st.integers(0, len(self.images) - 1))])
        self.network, self.acks = [], []  # it takes longer than anything is under way
        self.backups = []  # a fleet and a device that both went back have lost what was between: nobody keeps it
        self.boot()

    @rule(is_done=st.booleans())
    @precondition(lambda self: self.renewals)
    def renew(self, *, is_done: bool) -> None:
        bases = self.renewals.pop(0)
        if is_done:
            self.stores += 1
            self.disk.store = self.stores
            for lane, base in bases.items():
                forgotten = {it for seq, it in self.disk.rows[lane].items() if seq <= base}
                assert forgotten <= self.accounted(), "forgot what the fleet never had"
                self.disk.rows[lane] = {seq: it for seq, it in self.disk.rows[lane].items() if seq > base}
                self.disk.mark[lane], self.disk.base[lane] = 0, None
            self.is_proven = True
            self.disk.write()
        self.feed(Renewed(is_done))

    @rule(data=st.data())
    @precondition(lambda self: self.sends)
    def build(self, data: st.DataObject) -> None:
        send = self.sends.pop(data.draw(st.integers(0, len(self.sends) - 1)))
        self.build_one(send)

    def build_one(self, send: Send) -> None:
        rows = self.disk.sendable(send.lane, send.after_seq) if send.max_bytes else []
        assert not [
            seq
            for seq in self.disk.sendable(send.lane, send.prev_seq)
            if seq <= send.after_seq and self.disk.rows[send.lane][seq] not in self.ever_quarantined
        ], "prev_seq promises that nothing lies between"
        if send.max_bytes and not self.is_proven:
            self.is_proven = True
            self.disk.base = dict.fromkeys(Lane)
            self.disk.write()
        take = tuple(rows[: ROWS_A_BATCH[send.max_bytes]])
        self.built += 1
        batch = f"b{self.built}"
        message = Message(
            batch,
            send.lane,
            send.flight,
            send.road,
            send.prev_seq,
            self.disk.store,
            self.content(send.lane, take),
            self.life,
        )
        self.feed(Built(send.lane, send.flight, batch, take[-1] if take else None, len(rows) > len(take)))
        self.network.append(message)

    def content(self, lane: Lane, seqs: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        return tuple((seq, self.disk.rows[lane][seq]) for seq in seqs)

    @rule(data=st.data())
    @precondition(lambda self: self.sends)
    def fail_to_build(self, data: st.DataObject) -> None:
        send = self.sends.pop(data.draw(st.integers(0, len(self.sends) - 1)))
        self.feed(Failed(send.lane, send.flight))

    @rule(lane=LANES, count=st.integers(1, 20))
    def delete_acked(self, lane: Lane, count: int) -> None:
        gone = [seq for seq in self.disk.rows[lane] if seq <= self.disk.mark[lane]][:count]
        for seq in gone:
            del self.disk.rows[lane][seq]

    @rule(lane=LANES, count=st.integers(1, 20))
    def shed(self, lane: Lane, count: int) -> None:
        gone = [seq for seq in self.disk.rows[lane] if seq > self.disk.mark[lane]][:count]
        for seq in gone[:-1]:  # never the newest row: it is the lane's counter
            self.ever_shed.add(self.disk.rows[lane].pop(seq))

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
        self.ever_stored |= self.server.contents()
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
        while self.renewals:
            self.renew(is_done=True)
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
            assert all(a[0] < b[0] for a, b in pairwise(rows))

    @invariant()
    def a_config_is_delivered_once(self) -> None:
        assert all(a != b for a, b in pairwise(self.configs)) or self.life > 1

    def teardown(self) -> None:
        if not hasattr(self, "uplink"):
            return
        self.meter(is_open=True, call_s=0, is_metered=False)
        for _ in range(MOST_CALLS):
            if not self.missing() and all(seq <= self.disk.mark[lane] for lane, seq in self.due()):
                break
            self.carry_over()
        for _ in range(IDLE_CALLS):
            self.carry_over()
        assert not self.missing(), "kept, and never arrived"

    def due(self) -> list[tuple[Lane, int]]:
        return [(lane, seq) for lane in Lane for seq in self.disk.rows[lane] if (lane, seq) not in self.disk.aside]

    def missing(self) -> set[int]:
        return {self.disk.rows[lane][seq] for lane, seq in self.due()} - self.server.contents() - self.ever_shed

    def accounted(self) -> set[int]:
        return self.ever_stored | self.ever_quarantined | self.ever_shed


TestSyncSchedule = SyncSchedule.TestCase
TestSyncSchedule.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
