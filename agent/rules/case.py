"""A case: one rule on one series, as it stands. It takes readings in, and gives out what has to be told.

There is a case a kind of condition. All are driven alike: `feed` takes a reading, `tick` says how late it is, and both
return the changes of the alarm, nearly always none. Time is event time: what silence or a hold leads to is dated by
the moment at which it was due, so it does not matter how often, or whether, somebody ticks before the next reading.
"""

from collections.abc import Sequence
from typing import Protocol

from agent.rules.condition import Absent, Memory, Plain, Remembering, Several
from agent.rules.condition.kind import Move
from agent.rules.phase import ANNOUNCED, NEXT, Change, Phase, RuleState, Verdict
from agent.rules.rule import Rule
from agent.wire.messages import Value
from agent.wire.units import US_PER_S

NOTHING: tuple[Change, ...] = ()


class Case(Protocol):
    """One rule on one series."""

    rule: Rule
    series: str
    moved: bool  # since somebody set this to False, in what a restart has to know

    def feed(self, series: str, t_us: int, value: Value) -> Sequence[Change]:
        """Take a reading; one older than the newest of its series changes nothing."""

    def tick(self, now_us: int) -> Sequence[Change]:
        """Take note that all readings before `now_us` have been fed."""

    def hear(self, series: str, t_us: int) -> None:
        """Take note that there is a reading of `t_us`, which will be fed later."""

    def listen(self, now_us: int) -> None:
        """Count silence from `now_us`: nobody listened before."""

    def reset_clock(self, by_us: int, from_us: int, now_us: int) -> None:
        """Move what happened at `from_us` or later by `by_us`; the clock was set, and is at `now_us` now."""

    def state(self) -> RuleState:
        """Return the case as a value."""


class _Phased:
    """What all cases share: the phase, and how a verdict moves it."""

    __slots__ = (
        "_clear_hold_us",
        "_hold_us",
        "_pause_us",
        "bad_samples",
        "first_bad_us",
        "first_good_us",
        "last_us",
        "moved",
        "phase",
        "rule",
        "series",
    )

    def __init__(self, rule: Rule, series: str, state: RuleState) -> None:
        self.rule = rule
        self.series = series
        self.phase = state.phase
        self.first_bad_us = state.first_bad_us
        self.first_good_us = state.first_good_us
        self.bad_samples = state.bad_samples
        self.last_us = state.last_us
        self.moved = False
        self._pause_us = rule.pause_us
        self._hold_us = round(rule.hold_s * US_PER_S)
        self._clear_hold_us = round(rule.clear_hold_s * US_PER_S)

    def tick(self, now_us: int) -> Sequence[Change]:  # noqa: ARG002 - a condition that only readings change
        """Return nothing: time alone changes nothing here."""
        return NOTHING

    def hear(self, _series: str, _t_us: int) -> None:
        """Do nothing: it is not silence that is judged here."""

    def listen(self, _now_us: int) -> None:
        """Do nothing: silence says nothing here."""

    def reset_clock(self, by_us: int, from_us: int, now_us: int) -> None:
        """Move the times of the phase."""
        self.last_us = _moved(self.last_us, by_us, from_us, now_us)
        self.first_bad_us = _moved(self.first_bad_us, by_us, from_us, now_us)
        self.first_good_us = _moved(self.first_good_us, by_us, from_us, now_us)
        self.moved = True

    def state(self) -> RuleState:
        """Return the case as a value."""
        return RuleState(
            self.phase, self.first_bad_us, self.first_good_us, self.bad_samples, self.last_us, self._remembered()
        )

    def _remembered(self) -> Memory:
        return ()

    def _step(self, t_us: int, value: Value, since_us: int, before_us: int, *, bad: bool) -> Sequence[Change]:
        """Take a verdict of event time `t_us`, the one before of `before_us`; a bad one is so since `since_us`."""
        phase = self.phase
        paused = 0 < self._pause_us < t_us - before_us
        if bad:
            if phase is Phase.OK:
                self.first_bad_us = since_us
                self.bad_samples = 1
            elif phase is Phase.PENDING and paused:
                self.first_bad_us = t_us
                self.bad_samples = 1
                self.moved = True
            elif phase is Phase.PENDING:
                self.bad_samples += 1
                self.moved = True
            held = self.bad_samples >= self.rule.hold_samples and t_us - self.first_bad_us >= self._hold_us
            after = NEXT.get((phase, Verdict.BAD_HELD if held else Verdict.BAD), phase)
        else:
            if phase is Phase.ACTIVE or (paused and phase is Phase.CLEARING):
                self.first_good_us = t_us
                self.moved = True
            held = t_us - self.first_good_us >= self._clear_hold_us
            after = NEXT.get((phase, Verdict.GOOD_HELD if held else Verdict.GOOD), phase)
        if after is phase:
            return NOTHING
        self.phase = after
        self.moved = True
        announced = ANNOUNCED.get((phase, after))
        if announced is None:
            return NOTHING
        return (Change(self.rule, self.series, announced, t_us, self.first_bad_us, value),)


class PlainCase(_Phased):
    """A condition that judges a reading by itself: the hot path, which makes no object while all is well."""

    __slots__ = ("_high", "_is_bad", "_low")

    def __init__(self, rule: Rule, series: str, state: RuleState, condition: Plain) -> None:
        super().__init__(rule, series, state)
        self._is_bad = condition.is_bad
        self._low, self._high = condition.calm()

    def feed(self, _series: str, t_us: int, value: Value) -> Sequence[Change]:
        """Take a reading."""
        phase = self.phase
        if phase is Phase.OK and (type(value) is float or type(value) is int) and self._low <= value <= self._high:
            if t_us > self.last_us:  # noqa: PLR1730 - max() would be half of what this path costs
                self.last_us = t_us
            return NOTHING
        bad = self._is_bad(value, was_bad=phase is Phase.PENDING or phase is Phase.ACTIVE)
        before_us = self.last_us
        if bad is None or t_us < before_us:
            return NOTHING
        self.last_us = t_us
        if phase is Phase.OK and not bad:
            return NOTHING
        return self._step(t_us, value, t_us, before_us, bad=bad)


class RememberingCase(_Phased):
    """A condition that judges a reading by those before it."""

    __slots__ = ("_condition", "_memory", "_words")

    def __init__(self, rule: Rule, series: str, state: RuleState, condition: Remembering) -> None:
        super().__init__(rule, series, state)
        self._condition = condition
        self._words = str(condition)
        self._memory: Memory = _recall(state, self._words)

    def feed(self, _series: str, t_us: int, value: Value) -> Sequence[Change]:
        """Take a reading."""
        before_us = self.last_us
        if t_us < before_us:
            return NOTHING
        phase = self.phase
        memory = self._memory
        was_bad = phase is Phase.PENDING or phase is Phase.ACTIVE
        bad, self._memory = self._condition.look(memory, t_us, value, was_bad=was_bad)
        if self._memory is not memory:
            self.last_us = t_us
        if bad is None:
            return NOTHING
        self.last_us = t_us
        if phase is Phase.OK and not bad:
            return NOTHING
        return self._step(t_us, value, self._condition.since_us(self._memory, t_us), before_us, bad=bad)

    def reset_clock(self, by_us: int, from_us: int, now_us: int) -> None:
        """Move the times of the phase, and those that are remembered."""
        super().reset_clock(by_us, from_us, now_us)
        self._memory = self._condition.moved(self._memory, lambda t_us: _moved(t_us, by_us, from_us, now_us))

    def _remembered(self) -> Memory:
        return (self._words, self._memory) if self._memory else ()


class AbsentCase(_Phased):
    """Silence: a reading is good, and time makes it bad."""

    __slots__ = ("_condition", "_memory", "_words")

    def __init__(self, rule: Rule, series: str, state: RuleState, condition: Absent) -> None:
        super().__init__(rule, series, state)
        self._condition = condition
        self._words = str(condition)
        self._memory: Memory = _recall(state, self._words)

    def feed(self, _series: str, t_us: int, value: Value) -> Sequence[Change]:
        """Take a reading; it ends a silence, which may have lasted too long before."""
        if t_us < self.last_us:
            return NOTHING
        told = self.tick(t_us)
        good, self._memory = self._condition.look(self._memory, t_us, value, was_bad=False)
        if good is None:
            return told
        self.last_us = t_us
        return (*told, *self._step(t_us, value, t_us, t_us, bad=False)) if self.phase is not Phase.OK else told

    def tick(self, now_us: int) -> Sequence[Change]:
        """Judge the silence up to `now_us`, which is not part of it; the first tick begins one where none was known."""
        due_us = self._condition.due_us(self._memory)
        if due_us is None:
            self._memory = (now_us,)
            return NOTHING
        if not self.last_us < due_us < now_us:
            return NOTHING
        self.last_us = due_us
        return self._step(due_us, None, self._condition.since_us(self._memory, due_us), due_us, bad=True)

    def hear(self, _series: str, t_us: int) -> None:
        """Count silence from `t_us` at the earliest."""
        self._memory = (max(t_us, *self._memory),) if self._memory else (t_us,)

    def listen(self, now_us: int) -> None:
        """Count silence from `now_us`."""
        self._memory = (now_us,)

    def reset_clock(self, by_us: int, from_us: int, now_us: int) -> None:
        """Move the times of the phase, and since when there is silence."""
        super().reset_clock(by_us, from_us, now_us)
        self._memory = self._condition.moved(self._memory, lambda t_us: _moved(t_us, by_us, from_us, now_us))

    def _remembered(self) -> Memory:
        return (self._words, self._memory) if self._memory else ()


class _Leaf:
    """One part of a condition over several series, as it stands."""

    __slots__ = ("condition", "last_us", "memory", "verdict")

    def __init__(self, condition: Plain | Remembering, verdict: bool | None, last_us: int, memory: Memory) -> None:  # noqa: FBT001 - a verdict has three values
        self.condition = condition
        self.verdict = verdict
        self.last_us = last_us
        self.memory = memory

    def look(self, t_us: int, value: Value) -> None:
        """Take a reading of the part's series."""
        condition = self.condition
        was_bad = self.verdict is True
        if isinstance(condition, Plain):
            self.verdict = condition.is_bad(value, was_bad=was_bad)
        elif value is None and isinstance(condition, Absent):
            return  # no data is what it was: silence
        else:
            self.verdict, self.memory = condition.look(self.memory, t_us, value, was_bad=was_bad)
        self.last_us = t_us

    def reset_clock(self, move: Move) -> None:
        """Move its times."""
        self.last_us = move(self.last_us)
        if not isinstance(self.condition, Plain):
            self.memory = self.condition.moved(self.memory, move)

    def due_us(self) -> int | None:
        """Return when silence will make it bad."""
        if self.verdict is True or not isinstance(self.condition, Absent):
            return None
        return self.condition.due_us(self.memory)


class SeveralCase(_Phased):
    """A condition over several series.

    Readings of one moment belong together, in whatever order they come: the whole is judged for the moment `T` when
    something later than `T` is seen, a reading or a tick. `pending_us` is the moment that waits for that. A change
    carries the newest value of the rule's own series, which is what the alarm is about.
    """

    __slots__ = ("_condition", "_leaves", "_on", "_pending_us", "_value", "_waits", "_words")

    def __init__(self, rule: Rule, series: str, state: RuleState, condition: Several) -> None:
        super().__init__(rule, series, state)
        self._condition = condition
        self._words = str(condition)
        recalled = _recall(state, self._words)
        self._pending_us: int = recalled[0] if recalled else -1
        self._value: Value = recalled[2] if len(recalled) > 2 else None  # noqa: PLR2004 - before it was remembered, there were two
        before = recalled[1] if recalled else ((None, -1, ()),) * len(condition.parts)
        self._leaves = [_Leaf(part.condition, *kept) for part, kept in zip(condition.parts, before, strict=True)]
        self._on: dict[str, list[_Leaf]] = {}
        for part, leaf in zip(condition.parts, self._leaves, strict=True):
            self._on.setdefault(part.series or series, []).append(leaf)
        self._waits = [leaf for leaf in self._leaves if isinstance(leaf.condition, Absent)]

    def feed(self, series: str, t_us: int, value: Value) -> Sequence[Change]:
        """Take a reading of one of the series."""
        told = self.tick(t_us) if self._waits or 0 <= self._pending_us < t_us else NOTHING
        if series == self.series and t_us >= max(self.last_us, self._pending_us):
            self._value = value
        for leaf in self._on.get(series, ()):
            if t_us < leaf.last_us:
                continue
            before = leaf.verdict
            leaf.look(t_us, value)
            if leaf.verdict is not before:
                self.moved = True
            self._pending_us = max(self._pending_us, t_us, self.last_us)
        return told

    def tick(self, now_us: int) -> Sequence[Change]:
        """Judge what was waiting for something later, in order of time, up to `now_us`, which is not part of it."""
        told: Sequence[Change] = NOTHING
        for leaf in self._waits:
            if not leaf.memory:
                leaf.memory = (now_us,)
        while True:
            silent, silent_us = self._next_silence(now_us)
            held_us = self._held_us(now_us)
            pending_us = self._pending_us if 0 <= self._pending_us < now_us else now_us
            if silent is not None and silent_us <= min(held_us, pending_us):
                silent.verdict, self.moved = True, True
                silent.last_us = max(silent.last_us, silent_us)
                self._pending_us = max(self._pending_us, silent_us, self.last_us)
            elif held_us < pending_us:
                told = (*told, *self._judge(held_us))
            elif pending_us < now_us:
                self._pending_us = -1
                told = (*told, *self._judge(pending_us))
            else:
                return told

    def hear(self, series: str, t_us: int) -> None:
        """Count the silence of this series from `t_us` at the earliest."""
        for leaf in self._on.get(series, ()):
            if isinstance(leaf.condition, Absent):
                leaf.memory = (max(t_us, *leaf.memory),) if leaf.memory else (t_us,)

    def listen(self, now_us: int) -> None:
        """Count silence from `now_us`."""
        for leaf in self._waits:
            leaf.memory = (now_us,)

    def reset_clock(self, by_us: int, from_us: int, now_us: int) -> None:
        """Move the times of the phase and of the parts."""
        super().reset_clock(by_us, from_us, now_us)
        self._pending_us = _moved(self._pending_us, by_us, from_us, now_us)
        for leaf in self._leaves:
            leaf.reset_clock(lambda t_us: _moved(t_us, by_us, from_us, now_us))

    def _judge(self, t_us: int) -> Sequence[Change]:
        bad = self._condition.node.judge([leaf.verdict for leaf in self._leaves])
        before_us, self.last_us = self.last_us, t_us
        if bad is None or (self.phase is Phase.OK and not bad):
            return NOTHING
        return self._step(t_us, self._value, t_us, before_us, bad=bad)

    def _next_silence(self, now_us: int) -> tuple[_Leaf | None, int]:
        """Return the part that silence makes bad next, and when, before `now_us`."""
        found: _Leaf | None = None
        at_us = now_us
        for leaf in self._waits:
            due_us = leaf.due_us()
            if due_us is not None and due_us < at_us:
                found, at_us = leaf, due_us
        return found, at_us

    def _held_us(self, now_us: int) -> int:
        """Return when the hold ends that no reading may come to end, before `now_us`."""
        end_us = self.first_bad_us + self._hold_us
        if self._waits and self.phase is Phase.PENDING and self.last_us < end_us < now_us:
            return end_us
        return now_us

    def _remembered(self) -> Memory:
        leaves = tuple((leaf.verdict, leaf.last_us, leaf.memory) for leaf in self._leaves)
        return (self._words, (self._pending_us, leaves, self._value))


def open_case(rule: Rule, series: str, state: RuleState) -> Case:
    """Return the case of a rule on a series, going on from `state`."""
    condition = rule.condition
    if isinstance(condition, Several):
        return SeveralCase(rule, series, state, condition)
    if isinstance(condition, Absent):
        return AbsentCase(rule, series, state, condition)
    if isinstance(condition, Plain):
        return PlainCase(rule, series, state, condition)
    return RememberingCase(rule, series, state, condition)


def _recall(state: RuleState, words: str) -> Memory:
    """Return what was remembered, unless it was by another condition."""
    if state.memory and state.memory[0] == words:
        memory: Memory = state.memory[1]
        return memory
    return ()


def _moved(t_us: int, by_us: int, from_us: int, now_us: int) -> int:
    """Return a time as the clock would have told it that was set by `by_us`; none lies after now."""
    return min(t_us + by_us if t_us >= from_us else t_us, now_us)
