"""A metered link under any traffic: the day's bytes are kept to but for one batch and the alarms; alarms always leave.

The sync machine and the allowance run against a fleet that answers at once; what each batch takes on the wire is drawn.
"""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.allowance import CALL_BYTES, LEAST_BYTES_PER_DAY, Allowance, Metering, Quiet, on_wire
from agent.core.uplink import Uplink
from agent.core.uplink_events import Acked, Built, Committed, Gate, Input, Send, Wake
from agent.wire.limits import STEADY_BATCH_BYTES
from agent.wire.messages import Ack, Lane

DAY_S = 86_400
START_S = 20_000 * DAY_S
BATCH_BYTES = on_wire(STEADY_BATCH_BYTES)


@dataclass
class Device:
    """A device whose rows wait in two counters, and whose fleet is always there."""

    metering: Metering
    sizes: list[int]  # of batches with rows, on the wire; taken in turn
    now_s: float = float(START_S)
    kept: str | None = None
    tops: Counter[Lane] = field(default_factory=Counter)
    marks: Counter[Lane] = field(default_factory=Counter)
    urgent: int = 0
    spent: Counter[int] = field(default_factory=Counter)  # by day, but for alarms
    told_s: int = 0
    asked: int = 0
    batches: int = 0

    def start(self) -> None:
        """Begin a life with what the one before has kept."""
        self.allowance = Allowance()
        self.allowance.metering = self.metering
        self.allowance.restore(self.kept)
        self.gate = Gate()
        ends = {lane: (self.marks[lane], self.tops[lane]) for lane in Lane}
        self.urgent = self.tops[Lane.EVENTS]
        self.uplink = Uplink(ends, 0, lambda: 0.5, self.now_s)
        self.feed(None)

    def feed(self, event: Input | None) -> None:
        """Hand one input over, the gate first, and do what follows until nothing does."""
        inputs = [event]
        while inputs:
            gate = self.allowance.gate(int(self.now_s * 1_000_000))
            actions = [] if gate == self.gate else self.uplink.handle(gate, self.now_s)
            self.gate = gate
            actions += self.uplink.handle(inputs.pop(0), self.now_s)
            self.kept = self.allowance.to_keep() or self.kept
            for action in actions:
                if isinstance(action, Send):
                    inputs += self.carry(action)

    def carry(self, send: Send) -> list[Input]:
        """Take a batch to the fleet; returns what the machine hears of it."""
        self.batches += 1
        rows = self.tops[send.lane] - send.after_seq if send.max_bytes else 0
        size = self.sizes[self.batches % len(self.sizes)] if rows else CALL_BYTES
        self.allowance.spend(size)
        is_alarm = send.lane is Lane.EVENTS and send.after_seq < self.urgent and rows > 0
        assert self.gate.is_open or not rows or is_alarm
        if not is_alarm:
            self.spent[int(self.now_s) // DAY_S] += size
        self.told_s, name = send.call_s, f"b{self.batches}"
        self.marks[send.lane] = max(self.marks[send.lane], send.after_seq + rows)
        ack = Ack(1, name, self.marks[send.lane], 0, 0, 5.0, 0)
        return [Built(send.lane, send.flight, name, send.after_seq + rows if rows else None, more=False), Acked(ack)]

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in steps no longer than the shell's look at the gate."""
        until = self.now_s + seconds
        while self.now_s < until:
            self.now_s = min(until, max(self.uplink.due(), self.now_s + 0.01), self.now_s + 30.0)
            self.tops[Lane.TELEMETRY] += 1
            self.feed(Committed(Lane.TELEMETRY, self.tops[Lane.TELEMETRY]))

    def alarm(self) -> None:
        """Raise an alarm, which has to leave at once."""
        self.tops[Lane.EVENTS] += 1
        self.urgent = self.tops[Lane.EVENTS]
        self.feed(Committed(Lane.EVENTS, self.urgent, urgent=True))
        assert self.marks[Lane.EVENTS] == self.urgent, "an alarm did not leave"


STEPS = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([60.0, 600.0, 3600.0, 6 * 3600.0])),
    st.tuples(st.just("alarm"), st.just(0.0)),
    st.tuples(st.just("wake"), st.just(0.0)),
    st.tuples(st.just("crash"), st.just(0.0)),
)


@settings(max_examples=15, deadline=None)
@given(
    size=st.sampled_from([LEAST_BYTES_PER_DAY, 1_000_000, 20_000_000]),
    quiet=st.sampled_from([(), (Quiet(0, 4 * 3600),), (Quiet(22 * 3600, 3600),)]),
    sizes=st.lists(st.integers(1_200, BATCH_BYTES), min_size=1, max_size=5),
    steps=st.lists(STEPS, min_size=3, max_size=12),
)
def test_a_day_takes_its_bytes_one_batch_and_the_alarms(
    size: int, quiet: tuple[Quiet, ...], sizes: list[int], steps: list[tuple[str, float]]
) -> None:
    device = Device(Metering(size, quiet), sizes)
    device.start()
    acts = {"wait": None, "alarm": device.alarm, "wake": lambda: device.feed(Wake()), "crash": device.start}

    lives = 1 + sum(kind == "crash" for kind, _ in steps)
    for kind, seconds in steps:
        act = acts[kind]
        act() if act else device.pass_time(seconds)

    wakes = sum(kind == "wake" for kind, _ in steps)
    asked = (2 * lives + wakes) * CALL_BYTES  # each start and each wake has a price, which no pace can know
    assert all(spent <= size + BATCH_BYTES + asked for spent in device.spent.values())


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(1_200, BATCH_BYTES), min_size=1, max_size=5))
def test_a_device_that_saves_calls_before_the_fleet_would_miss_it(sizes: list[int]) -> None:
    device = Device(Metering(1_000_000), sizes)
    device.start()
    silent_s, heard_s, batches, told_s = 0.0, device.now_s, device.batches, 5
    while device.now_s < START_S + DAY_S:
        device.pass_time(30.0)
        if device.batches != batches:
            batches, heard_s, told_s = device.batches, device.now_s, max(5, device.told_s)
        silent_s = max(silent_s, (device.now_s - heard_s) / (2 * told_s + 60))

    assert silent_s <= 1.0
    assert device.marks[Lane.TELEMETRY] > 0
    assert device.spent[START_S // DAY_S] > 500_000
