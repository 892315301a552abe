"""The trial of a config: a document of the fleet runs for a while before it counts as good.

`NEXT` is the machine. What a phase is to the outside:

    steady   the last good document runs; nothing is tried
    staged   a document is stored and not yet running; the last good one is kept beside it
    window   it runs, and is kept if the device stays as well as it was for `health_window_s`

STORE comes before what it is about, so a crash or a power cut between any two effects finds a standing on disk from
which the next start goes on: with `staged` in it the document is tried again, as long as tries are left; without, the
last good one runs. A start that found `staged` and did not end in order counts as a try; being told to stop does not.

What "well" means is judged by `Pulse`: each source that read steadily before, and the fleet's acks, must have been
heard again in the second half of the window. Pure: no clock, no files.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.wire.messages import SourceHealth

MAX_ATTEMPTS = 2  # starts of the agent that may try a staged document
FLEET = ""  # the fleet's acks among the names of sources, none of which is empty
STEADY_BEATS = 2  # changes that a source must have shown before its cadence is known


class Phase(StrEnum):
    """Where a trial stands."""

    STEADY = "steady"
    STAGED = "staged"
    WINDOW = "window"


class Happening(StrEnum):
    """What moves it."""

    OFFERED = "a document came that can be read"
    SAME = "a document came whose text runs already"
    UNUSABLE = "a document cannot be read or applied"
    STARTED = "the agent starts, and tries are left"
    EXHAUSTED = "the agent starts, and no try is left"
    APPLIED = "it was applied"
    WELL = "the window ended well"
    UNWELL = "the window did not end well"
    STOPPED = "the agent is told to stop"


class Effect(StrEnum):
    """What is to be done, in order."""

    STORE = "store the standing"
    APPLY = "apply the staged document"
    RESTORE = "apply the last good document"
    TELL = "tell the fleet"


@dataclass(frozen=True, slots=True)
class Step:
    """Where it goes, and what follows."""

    phase: Phase
    effects: tuple[Effect, ...]


NEXT: Mapping[tuple[Phase, Happening], Step] = {
    (Phase.STEADY, Happening.OFFERED): Step(Phase.STAGED, (Effect.STORE, Effect.APPLY)),
    (Phase.STEADY, Happening.SAME): Step(Phase.STEADY, (Effect.STORE, Effect.TELL)),
    (Phase.STEADY, Happening.UNUSABLE): Step(Phase.STEADY, (Effect.STORE, Effect.TELL)),
    (Phase.STAGED, Happening.STARTED): Step(Phase.STAGED, (Effect.STORE, Effect.APPLY)),
    (Phase.STAGED, Happening.EXHAUSTED): Step(Phase.STEADY, (Effect.STORE, Effect.TELL)),
    (Phase.STAGED, Happening.APPLIED): Step(Phase.WINDOW, (Effect.TELL,)),
    (Phase.STAGED, Happening.UNUSABLE): Step(Phase.STEADY, (Effect.STORE, Effect.RESTORE, Effect.TELL)),
    (Phase.STAGED, Happening.STOPPED): Step(Phase.STAGED, (Effect.STORE,)),
    (Phase.WINDOW, Happening.OFFERED): Step(Phase.STAGED, (Effect.STORE, Effect.APPLY)),
    (Phase.WINDOW, Happening.UNUSABLE): Step(Phase.STEADY, (Effect.STORE, Effect.RESTORE, Effect.TELL)),
    (Phase.WINDOW, Happening.WELL): Step(Phase.STEADY, (Effect.STORE, Effect.TELL)),
    (Phase.WINDOW, Happening.UNWELL): Step(Phase.STEADY, (Effect.STORE, Effect.RESTORE, Effect.TELL)),
    (Phase.WINDOW, Happening.STOPPED): Step(Phase.WINDOW, (Effect.STORE,)),
}


@dataclass(slots=True)
class _Beat:
    count: int
    beats: int = 0
    last_s: float = float("-inf")
    longest_s: float = 0.0  # silence between two beats


class Pulse:
    """When each source was last heard, and how long it rests at most, from counters that are looked at now and then.

    A counter that changed has beaten; one that fell was started anew, and has beaten if it is above 0.
    """

    def __init__(self) -> None:
        self._beats: dict[str, _Beat] = {}

    def note(self, counts: Mapping[str, int], now_s: float) -> None:
        """Look at the counters; what is no longer among them is forgotten."""
        beats = {name: self._beats.get(name) or _Beat(0) for name in counts}
        for name, count in counts.items():
            beat = beats[name]
            if count != beat.count and count > 0:
                if beat.beats:
                    beat.longest_s = max(beat.longest_s, now_s - beat.last_s)
                beat.beats += 1
                beat.last_s = now_s
            beat.count = count
        self._beats = beats

    def steady(self, now_s: float, window_s: float) -> tuple[str, ...]:
        """Return who is heard so often that a window can tell; a source that reads each hour cannot be judged by it."""
        half_s = window_s / 2
        return tuple(
            name
            for name, beat in self._beats.items()
            if beat.beats >= STEADY_BEATS and max(beat.longest_s, now_s - beat.last_s) <= half_s
        )

    def is_heard(self, name: str, since_s: float) -> bool:
        """Tell whether it has been heard since then."""
        beat = self._beats.get(name)
        return beat is not None and beat.last_s >= since_s


def counts(sources: Sequence[SourceHealth], last_ack_us: int) -> dict[str, int]:
    """Return the counters that a pulse looks at."""
    return {FLEET: last_ack_us, **{source.name: source.readings for source in sources}}


def expected(steady: Sequence[str], before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Return who shall be heard in the window: the fleet, and each steady source that the document still has.

    `before` and `after` give each source's port by its name. A source that got another name is known by its port; one
    that was taken out is not missed.
    """
    renamed = {port: name for name, port in after.items() if name not in before}
    found = [name if name in after else renamed.get(before.get(name, ""), "") for name in steady]
    return (FLEET, *dict.fromkeys(name for name in found if name))


def missing(
    expects: Sequence[str], pulse: Pulse, sources: Sequence[SourceHealth], since_s: float, window_s: float
) -> str:
    """Return what was not well in the second half of a window, as a sentence; "" if all was."""
    half_s = since_s + window_s / 2
    details = {source.name: source.detail for source in sources}
    problems = list(_problems([name for name in expects if not pulse.is_heard(name, half_s)], details))
    return f"Within {window_s:g} s {'; '.join(problems)}." if problems else ""


def _problems(silent: Sequence[str], details: Mapping[str, str]) -> Iterator[str]:
    for name in silent:
        if name == FLEET:
            yield "the fleet acked nothing"
        elif details.get(name):
            yield f"{name} did not read as before ({details[name].rstrip('.')})"
        else:
            yield f"{name} did not read as before"
