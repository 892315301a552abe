"""Faults: what is done to the values before they are encoded, and to the frames before they go over the wire.

    fault        does                                                              ends by clear or --for
    overheat     the board's warm part rises at a rate of the board's own          and falls again as fast
    stuck        a quantity keeps its value (the board's first one, or --quantity)
    silent       the board says nothing; a Modbus slave does not answer
    garbage      half of the frames become random bytes; random bytes stand between the others
    half-frames  half of the frames are cut and run into the next one
    unplug       the pty is closed and its link removed                            also by replug

Pure: chance comes from a seeded generator of its own, so that faults do not shift the values of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from firmware_sim.errors import Refused
from firmware_sim.protocols.frame import Frame
from firmware_sim.signals.model import Heating, Quantity

DAMAGED_SHARE = 0.5
GARBAGE_BYTES = (3, 24)  # length of what stands between frames
LINE_END = b"\n"


class Fault(StrEnum):
    """What can go wrong, and `replug` and `clear`, which set it right."""

    OVERHEAT = "overheat"
    STUCK = "stuck"
    SILENT = "silent"
    GARBAGE = "garbage"
    HALF_FRAMES = "half-frames"
    UNPLUG = "unplug"
    REPLUG = "replug"
    CLEAR = "clear"


LASTING = (Fault.OVERHEAT, Fault.STUCK, Fault.SILENT, Fault.GARBAGE, Fault.HALF_FRAMES, Fault.UNPLUG)


@dataclass(frozen=True, slots=True)
class Damaged:
    """A frame as it goes over the wire; `whole` tells whether a correct reader can still read it."""

    data: bytes
    whole: bool


class Faults:
    """The faults of one board."""

    def __init__(self, quantities: Sequence[Quantity], heating: Heating | None, seed: int, *, lines: bool) -> None:
        self._names = [quantity.name for quantity in quantities]
        self._heating = heating
        self._rng = Random(f"faults {seed}")  # noqa: S311 - a simulation, not a secret
        self._lines = lines  # frames end with a line end, and damage must leave the next one alone
        self._until_s: dict[Fault, float | None] = {}
        self._stuck: dict[int, float | None] = {}
        self._warmth = 0.0
        self._torn = False

    def active(self) -> tuple[Fault, ...]:
        """Return the faults in force, in the order in which they came."""
        return tuple(self._until_s)

    def set(self, fault: Fault, quantity: str | None, until_s: float | None) -> None:
        """Put a lasting fault in force, until monotonic `until_s` if given; raises Refused."""
        if quantity is not None and fault is not Fault.STUCK:
            raise Refused(f"{fault} concerns the whole board.", hint="Leave out --quantity.")
        if fault is Fault.OVERHEAT and self._heating is None:
            raise Refused("Nothing on this board can overheat.", hint="`stuck` and the other faults work on it.")
        if fault is Fault.STUCK:
            name = quantity or self._names[0]
            if name not in self._names:
                raise Refused(f"This board has no {name!r}.", hint=f"It has {', '.join(self._names)}.")
            self._stuck[self._names.index(name)] = None
        self._until_s[fault] = until_s

    def end(self, fault: Fault) -> None:
        """Take a fault back; without effect if it is not in force."""
        self._until_s.pop(fault, None)
        if fault is Fault.STUCK:
            self._stuck.clear()

    def expire(self, now_s: float) -> tuple[Fault, ...]:
        """End the faults whose time has come, and return them."""
        over = tuple(fault for fault, until_s in self._until_s.items() if until_s is not None and until_s <= now_s)
        for fault in over:
            self.end(fault)
        return over

    def shape(self, values: Sequence[float], dt_s: float) -> tuple[float, ...]:
        """Return the values as the damaged sensors see them; `dt_s` is the time since the last ones, unscaled."""
        shaped = list(values)
        if self._heating is not None:
            step = self._heating.per_s * dt_s
            if Fault.OVERHEAT in self._until_s:
                self._warmth = min(self._heating.most, self._warmth + step)
            else:
                self._warmth = max(0.0, self._warmth - step)
            shaped[self._names.index(self._heating.quantity)] += self._warmth
        for index, held in self._stuck.items():
            if held is None:
                self._stuck[index] = shaped[index]
            else:
                shaped[index] = held
        return tuple(shaped)

    @property
    def silent(self) -> bool:
        """Whether the board says nothing."""
        return Fault.SILENT in self._until_s

    def damage(self, frame: Frame) -> Damaged:
        """Return a frame as it goes over the wire."""
        torn, self._torn = self._torn, False
        if Fault.HALF_FRAMES in self._until_s and self._rng.random() < DAMAGED_SHARE:
            self._torn = self._lines
            return Damaged(frame.data[: frame.cut], whole=False)
        if Fault.GARBAGE in self._until_s:
            if self._rng.random() < DAMAGED_SHARE:
                body = frame.data.removesuffix(LINE_END) if self._lines else frame.data
                return Damaged(self._noise(len(body)) + (LINE_END if self._lines else b""), whole=False)
            if self._lines:
                noise = self._noise(self._rng.randint(*GARBAGE_BYTES))
                return Damaged(noise + LINE_END + frame.data, whole=not torn)
        return Damaged(frame.data, whole=not torn)

    def _noise(self, count: int) -> bytes:
        # Above 0x80: never a digit, a separator or a line end, and never valid UTF-8 for long.
        return bytes(self._rng.randint(0x80, 0xFF) for _ in range(count))
