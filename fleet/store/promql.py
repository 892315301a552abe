"""Queries of PromQL answered from what is kept: targets chosen, their samples read, the rest worked out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection, or_, select

from fleet.core.column import Floats, Ints
from fleet.core.presence import Presence
from fleet.core.promeval import Line, evaluate
from fleet.core.promql import Expression, Over, Selector
from fleet.errors import Invalid
from fleet.store import presence, target
from fleet.store.sample import Budget, Reader
from fleet.store.schema import alarm
from fleet.store.target import ALARMS, ONLINE, Target

MAX_SERIES = 20_000  # that one selector chooses
MAX_POINTS = 1_000_000  # series times steps of one selector
IDS_AT_ONCE = 500


def answer(conn: Connection, query: Expression, times: Ints, *, lookback_us: int, now_us: int) -> list[Line] | Floats:
    """Return what a query is at each of the times, which are in order and evenly apart; raises Invalid."""
    return evaluate(query, times, _Leaves(conn, times, lookback_us, now_us).read)


@dataclass(frozen=True, slots=True)
class _Leaves:
    conn: Connection
    times: Ints
    lookback_us: int
    now_us: int
    budget: Budget = field(default_factory=Budget)

    def read(self, leaf: Selector | Over) -> list[Line]:
        back_us = leaf.range_us if isinstance(leaf, Over) else self.lookback_us
        span = (int(self.times[0]) - back_us, int(self.times[-1]) + 1)
        found: list[Target] = []
        for one in target.targets(self.conn, leaf.matchers, *span):
            found.append(one)
            if len(found) > MAX_SERIES or len(found) * len(self.times) > MAX_POINTS:
                raise Invalid(
                    f"the query is of more than {min(MAX_SERIES, MAX_POINTS // len(self.times))} series"
                    f" at {len(self.times)} steps",
                    hint="Choose fewer by product, site or device, or ask for longer steps.",
                )
        states = {} if isinstance(leaf, Over) else self._states(found)
        lines = [Line(one.labels, self._values(leaf, one, span[0], states)) for one in found]
        return [one for one in lines if not np.isnan(one.values).all()]

    def _values(self, leaf: Selector | Over, one: Target, from_us: int, states: "dict[str, _State]") -> Floats:
        nothing = np.full(len(self.times), np.nan)
        if one.entry is None:
            if isinstance(leaf, Over):
                raise Invalid(
                    f"{one.series} is a state of a device and has no range", hint=f"Ask for {one.series} alone."
                )
            return np.where(self._owned(one), states[one.series](one.device_id), np.nan)
        newest_us, value, _ = one.entry
        if newest_us < from_us:
            return nothing
        if isinstance(leaf, Selector) and len(self.times) == 1 and newest_us <= self.times[0]:
            # The newest reading of all is at hand: ten thousand devices are told without reading a batch.
            there = one.tenure.from_us <= newest_us and self._owned(one)[0]
            fresh = self.times[0] - newest_us < self.lookback_us
            return np.array([float(value)]) if there and fresh and isinstance(value, int | float) else nothing
        reader = Reader(
            self.conn, one.device_id, one.series, one.tenure.from_us, one.tenure.to_us, self.times, self.budget
        )
        return reader.over(leaf, self.lookback_us) if isinstance(leaf, Over) else reader.newest(self.lookback_us)

    def _owned(self, one: Target) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        return (self.times >= one.tenure.from_us) & (self.times < one.tenure.to_us)

    def _states(self, found: Sequence[Target]) -> "dict[str, _State]":
        made: dict[str, _State] = {}
        for name, make in ((ONLINE, self._online), (ALARMS, self._alarms)):
            ids = list(dict.fromkeys(one.device_id for one in found if one.series == name))
            if ids:
                made[name] = make(ids)
        return made

    def _online(self, ids: Sequence[str]) -> "_State":
        """1 while a device is online or late, 0 while it is not; known since it last changed."""
        known: dict[str, tuple[Presence, int, int | None]] = {}
        for start in range(0, len(ids), IDS_AT_ONCE):
            known |= presence.of(self.conn, ids[start : start + IDS_AT_ONCE], now_us=self.now_us)

        def values(device_id: str) -> Floats:
            state, since_us, _ = known[device_id]
            there = 1.0 if state in (Presence.ONLINE, Presence.LATE) else 0.0
            return np.where((self.times >= since_us) & self._past(), there, np.nan)

        return values

    def _alarms(self, ids: Sequence[str]) -> "_State":
        """How many alarms of a device are open."""
        opened: dict[str, list[tuple[int, int | None]]] = {}
        touching = or_(alarm.c.cleared_us.is_(None), alarm.c.cleared_us > int(self.times[0]))
        wanted = select(alarm.c.device_id, alarm.c.raised_us, alarm.c.cleared_us).where(
            touching, alarm.c.state != "pending", alarm.c.raised_us <= int(self.times[-1])
        )
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = ids[start : start + IDS_AT_ONCE]
            for device_id, raised_us, cleared_us in self.conn.execute(wanted.where(alarm.c.device_id.in_(some))):
                opened.setdefault(device_id, []).append((raised_us, cleared_us))

        def values(device_id: str) -> Floats:
            count = np.zeros(len(self.times))
            for raised_us, cleared_us in opened.get(device_id, ()):
                count += (self.times >= raised_us) & (self.times < (cleared_us or 2**62))
            return np.where(self._past(), count, np.nan)

        return values

    def _past(self) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        return self.times < self.now_us + self.lookback_us


_State = Callable[[str], Floats]
