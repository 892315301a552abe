"""The supervisor of protocols: whatever one does, the agent and the other sources go on.

A protocol is code that meets bytes nobody has seen before, and it may be a stranger's. If it raises, the fault is told
with the place in its code, its dialogue is dropped, and after a rest a new one is opened, as if the port had just been
opened: 1 s, then 2 s, 4 s … up to `MAX_REST_S`, and from 1 s on again after as long without a fault. Meanwhile what
comes on the port is not for it. The port stays open, and so do the other dialogues on it.

What a stranger's dialogue returns is held to what `agent.ports` says, so that nothing reaches the outbox that the fleet
would refuse; and one that is always due is called `LEAST_S` later. Against code that does not return there is the
watchdog.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import PurePath
from typing import Any, cast

from agent.ports import Action, Dialogue, Emit, Fault, PortSettings, ProtocolKind, Reopen, Time, Turned, Write, Written
from agent.wire.codec import NAME
from agent.wire.document import DocumentError, Table
from agent.wire.limits import MAX_INTEGER, MAX_SERIES, MAX_UNIT_CHARS, MAX_VALUE_CHARS
from agent.wire.messages import SlaveHealth

FIRST_REST_S = 1.0
MAX_REST_S = 60.0
LEAST_S = 0.001
MAX_WRITE_BYTES = 4096
MAX_ACTIONS = 65_536  # of one call
BAUDRATES = range(50, 4_000_001)


class Nonsense(TypeError):
    """What a dialogue returned is none of what `agent.ports` says."""


class ContainedKind:
    """A protocol whose mistakes stay its own. `strange`: its dialogues' answers are checked as well."""

    def __init__(self, name: str, kind: ProtocolKind, *, strange: bool) -> None:
        self._name = name
        self._kind = kind
        self._strange = strange
        self.LINE: PortSettings = getattr(kind, "LINE", PortSettings(""))

    def read(self, table: Table) -> Any:  # noqa: ANN401 - each protocol has options of its own
        """Read the protocol's table of a source; raises DocumentError, also where the protocol raised anything else."""
        try:
            return self._kind.read(table)
        except DocumentError:
            raise
        except Exception as error:
            raise DocumentError(table.place, f"the protocol {self._name!r} failed to read it: {told(error)}") from error

    def open(self, options: Any, settings: PortSettings) -> Dialogue:  # noqa: ANN401 - what `read` returned
        """Start a dialogue that never raises."""

        def begin() -> Dialogue:
            return self._kind.open(options, settings)

        contained = Contained(begin, strange=self._strange)
        return ContainedTurned(contained) if contained.asks else contained


class Contained:
    """A dialogue that never raises, around one that may."""

    def __init__(self, begin: Callable[[], Dialogue], *, strange: bool) -> None:
        self._begin = begin
        self._strange = strange
        self._inner: Dialogue | None = None
        self._problem: Exception | None = None
        self._due_s: float | None = None
        self._is_waiting = False
        self._failures = 0
        self._failed_s = float("-inf")
        self._called_s = 0.0
        self._run(self._make, 0.0)
        self.asks = hasattr(self._inner, "waiting")

    def opened(self, now_s: float) -> Sequence[Action]:
        """Start anew."""
        if self._inner is None:
            return self._start(now_s)
        return self._run(lambda inner: inner.opened(now_s), now_s)

    def feed(self, data: bytes, now_s: float) -> Sequence[Action]:
        """Hand bytes on; while it rests they are dropped."""
        return self._run(lambda inner: inner.feed(data, now_s), now_s) if self._inner is not None else ()

    def tick(self, now_s: float) -> Sequence[Action]:
        """Do what was due, or begin again after a rest."""
        if self._inner is not None:
            return self._run(lambda inner: inner.tick(now_s), now_s)
        return self._start(now_s) if self._due_s is not None and now_s >= self._due_s else ()

    def due(self) -> float | None:
        """Return when the next tick is wanted, monotonic seconds."""
        return self._due_s

    def summary(self) -> str:
        """Return what the dialogue tells of itself beside its faults, "" if nothing."""
        found: list[str] = []

        def ask(inner: Dialogue) -> Sequence[Action]:
            if hasattr(inner, "summary"):
                found.append(str(inner.summary()))
            return ()

        if self._inner is not None:
            self._run(ask, self._called_s)
        return found[0] if found else ""

    def slaves(self) -> tuple[SlaveHealth, ...]:
        """Return what the dialogue has counted of those on its bus; empty if it is none, or rests."""
        found: list[SlaveHealth] = []

        def ask(inner: Dialogue) -> Sequence[Action]:
            if hasattr(inner, "slaves"):
                found.extend(checked_slaves(inner.slaves()))
            return ()

        if self._inner is not None:
            self._run(ask, self._called_s)
        return tuple(found)

    def write(self, order: Any) -> bool:  # noqa: ANN401 - the protocol's own
        """Hand an order to write to the dialogue; False if it takes none, or none now. Raises ValueError as it does."""
        taken = getattr(self._inner, "write", None)
        if taken is None or not taken(order):
            return False
        self._due_s = cast("Dialogue", self._inner).due()
        return True

    def is_waiting(self) -> bool:
        """Tell whether it holds the bus."""
        return self._is_waiting

    def _start(self, now_s: float) -> Sequence[Action]:
        actions = self._run(self._make, now_s)
        return actions or self._run(lambda inner: inner.opened(now_s), now_s)

    def _make(self, _: Dialogue) -> Sequence[Action]:
        self._inner = self._begin()
        return ()

    def _run(self, call: Callable[[Dialogue], Sequence[Action]], now_s: float) -> Sequence[Action]:
        """Call into the protocol; this is the one place where what it raises ends."""
        self._called_s = now_s
        try:
            actions = call(cast("Dialogue", self._inner))
            inner = cast("Dialogue", self._inner)
            due_s = inner.due()
            is_waiting = self._is_asking() and cast("Turned", inner).waiting()
            if self._strange:
                actions = checked(actions)
                due_s = due_s if due_s is None else max(float(due_s), now_s + LEAST_S)
        except Exception as error:  # noqa: BLE001 - a protocol's mistake must not end the agent, whatever it is
            return self._fail(error, now_s)
        self._due_s, self._is_waiting = due_s, is_waiting
        return actions

    def _is_asking(self) -> bool:
        return hasattr(self._inner, "waiting")

    def _fail(self, error: Exception, now_s: float) -> Sequence[Action]:
        """Drop the dialogue and rest."""
        if now_s - self._failed_s > 2 * MAX_REST_S:
            self._failures = 0
        rest_s = min(FIRST_REST_S * 2.0**self._failures, MAX_REST_S)
        self._failures = min(self._failures + 1, 32)
        self._failed_s = now_s
        self._inner, self._is_waiting = None, False
        self._due_s = now_s + rest_s
        return (Fault(f"the protocol failed and rests for {rest_s:g} s: {told(error)}"),)


class ContainedTurned:
    """The same around a dialogue that asks, and so takes turns on its port."""

    def __init__(self, contained: Contained) -> None:
        self._contained = contained
        self.opened = contained.opened
        self.feed = contained.feed
        self.tick = contained.tick
        self.due = contained.due
        self.waiting = contained.is_waiting
        self.summary = contained.summary
        self.slaves = contained.slaves
        self.write = contained.write


def told(error: Exception) -> str:
    """Say in a sentence what was raised, and where."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" ({PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})" if trace is not None else ""
    return f"{type(error).__name__}: {error}{where}"


def checked(actions: object) -> Sequence[Action]:
    """Return the actions of a stranger if they are such; raises Nonsense."""
    if not isinstance(actions, list | tuple):
        raise Nonsense(f"a {type(actions).__name__} instead of a list of actions")
    if len(actions) > MAX_ACTIONS:
        raise Nonsense(f"{len(actions)} actions at once, more than {MAX_ACTIONS}")
    for action in actions:
        _check(action)
    return actions


def checked_slaves(slaves: object) -> Sequence[SlaveHealth]:
    """Return the statistics of a bus if they are such; raises Nonsense."""
    if not isinstance(slaves, list | tuple):
        raise Nonsense(f"a {type(slaves).__name__} instead of a list of slaves")
    for slave in slaves:
        counts = astuple(slave) if isinstance(slave, SlaveHealth) else ("",)
        if not all(type(count) is int and 0 <= count <= MAX_INTEGER for count in counts):
            raise Nonsense(f"{slave!r:.60} instead of a slave's counts")
    return slaves


def _check(action: object) -> None:
    if isinstance(action, Emit):
        _check_values(action)
    elif isinstance(action, Time):
        if type(action.utc_us) is not int:
            raise Nonsense(f"{action.utc_us!r:.60} instead of a time")
        _check_date(action.at_s)
    elif isinstance(action, Write):
        if not isinstance(action.data, bytes) or len(action.data) > MAX_WRITE_BYTES:
            raise Nonsense(f"a write that is not up to {MAX_WRITE_BYTES} bytes")
    elif isinstance(action, Reopen):
        if action.baudrate not in BAUDRATES:
            raise Nonsense(f"a speed of {action.baudrate!r}")
    elif not isinstance(action, Fault | Written) or not isinstance(action.problem, str):
        raise Nonsense(f"{action!r:.60} instead of an action")


def _check_values(emit: Emit) -> None:
    if not 0 < len(emit.values) <= MAX_SERIES:
        raise Nonsense(f"{len(emit.values)} values at once; 1 … {MAX_SERIES} go together")
    for name, unit, value in emit.values:
        _check_value(name, unit, value)
    _check_date(emit.at_s)


def _check_date(at_s: object) -> None:
    if not (at_s is None or (isinstance(at_s, int | float) and math.isfinite(at_s))):
        raise Nonsense(f"dated {at_s!r:.60}")


def _check_value(name: object, unit: object, value: object) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Nonsense(f"a value named {name!r:.60}")
    if not isinstance(unit, str) or not 0 < len(unit) <= MAX_UNIT_CHARS or not unit.isascii():
        raise Nonsense(f"{name} in the unit {unit!r:.60}")
    if isinstance(value, str):
        good = len(value) <= MAX_VALUE_CHARS and "\0" not in value
    elif isinstance(value, int) and not isinstance(value, bool):
        good = abs(value) <= MAX_INTEGER
    else:
        good = value is None or (isinstance(value, float) and math.isfinite(value))
    if not good:
        raise Nonsense(f"{name} is {value!r:.60}")
