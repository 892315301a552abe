"""Acme scales, as an example of a protocol that a package of its own adds to Fieldline's agent.

A scale answers `W` by a frame of four bytes:

    | 0x57 | weight in grams, 16 bits, high byte first | sum of the three, 8 bits |

In a config:

    [[source]]
    name = "scale"
    port = "/dev/ttyUSB0"
    protocol = "acme"
    acme = { unit = "kg", every_s = 0.5 }
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.ports import Action, Emit, Fault, PortSettings, Write
from agent.wire.document import Table

LINE = PortSettings("", 2400, 7, "even")  # of sources that do not say otherwise
HEAD = 0x57
FRAME_BYTES = 4
GRAMS = {"g": 1, "kg": 1000}


@dataclass(frozen=True, slots=True)
class Options:
    """The table `[source.acme]`. Equal tables give equal options: a port restarts only when something changed."""

    unit: str
    every_s: float


def read(table: Table) -> Options:
    """Read `[source.acme]`; what is not asked for here is an unknown key."""
    unit = table.text("unit", "g")
    if unit not in GRAMS:
        raise table.error("unit", f"{unit!r} is none of {', '.join(GRAMS)}")
    options = Options(unit, table.number("every_s", 1.0, least=0.1, most=3600))
    table.done()
    return options


def open(options: Options, settings: PortSettings) -> "Scale":  # noqa: A001 - the name the agent calls
    """Start a dialogue; `settings.byte_s()` would tell how long a byte takes."""
    del settings
    return Scale(options)


class Scale:
    """A dialogue that asks: it has `waiting`, and writes in `tick` alone."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._heard = b""
        self._heard_s = 0.0
        self._asked = False
        self._due_s = 0.0

    def opened(self, now_s: float) -> Sequence[Action]:
        """Start anew; ask at the next tick."""
        self._heard, self._asked, self._due_s = b"", False, now_s
        return ()

    def waiting(self) -> bool:
        """Tell whether an answer is awaited: nobody else speaks on this port meanwhile."""
        return self._asked

    def due(self) -> float | None:
        """Return when `tick` is wanted."""
        return self._due_s

    def tick(self, now_s: float) -> Sequence[Action]:
        """Ask, or tell that the answer did not come."""
        late = (Fault("no answer"),) if self._asked else ()
        self._heard, self._asked, self._due_s = b"", True, now_s + self._options.every_s
        return (*late, Write(b"W"))

    def feed(self, data: bytes, now_s: float) -> Sequence[Action]:
        """Take bytes in any split; never raises, and keeps less than a frame."""
        if not self._heard:
            self._heard_s = now_s  # the moment of the first byte dates the value
        self._heard += data
        actions: list[Action] = []
        while len(self._heard) >= FRAME_BYTES:
            frame = self._heard[:FRAME_BYTES]
            if frame[0] != HEAD or sum(frame[:3]) & 0xFF != frame[3]:
                self._heard = self._heard[1:]
                continue
            self._heard = self._heard[FRAME_BYTES:]
            self._asked = False
            grams = frame[1] << 8 | frame[2]
            value = grams / GRAMS[self._options.unit] if self._options.unit != "g" else grams
            actions.append(Emit((("mass", self._options.unit, value),), self._heard_s))
        return actions
