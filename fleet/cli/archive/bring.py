"""Bringing telemetry into a fleet: items into lines, lines into requests, each of which may be sent again.

A request ends where series, device or microsecond change, so that what happened in one microsecond is told at once: the
fleet leaves alone what it holds already, and counts readings of one microsecond and value within a request only.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from agent.wire.limits import MAX_READINGS
from fleet.cli.archive.journal import Machine
from fleet.cli.archive.told import Device, Gap, Head, Item, Place, Reading, Reject, Run
from fleet.cli.client import Client, Unreachable
from fleet.cli.reading import NDJSON
from fleet.errors import Busy, NotFound

FULL_BYTES = 512 * 1024  # of a request, about
MOST_BYTES = 1000 * 1024  # of a request: the server takes 1 MiB
FULL_LINES = 2000  # of a request; the server takes 4,096
MOST_LINES = 4000
LINE_BYTES = 96 * 1024  # of one line, about
DEVICES = 500  # told at once
TRIES = 5
WAIT_S = 1.0  # before the second try, doubled for each further one
NAMED = 20  # devices, in a sentence


@dataclass(slots=True)
class Done:
    """What has been done so far, and where what is left begins."""

    id: str  # of the import
    until_us: int
    place: Place
    readings: int = 0  # new in the fleet
    known: int = 0  # were there already
    gaps: int = 0
    rejected: int = 0
    left_out: dict[str, int] = field(default_factory=dict)  # readings of devices that the fleet does not know


@dataclass(slots=True)
class _Line:
    """Readings of one series while they are gathered."""

    head: Head
    place: Place
    t_us: list[int] = field(default_factory=list)
    v: list[Any] = field(default_factory=list)
    size: int = 0

    def takes(self, one: Reading) -> bool:
        """Tell whether a reading belongs here."""
        return (
            one.head == self.head
            and one.t_us >= self.t_us[-1]
            and len(self.v) < MAX_READINGS
            and self.size < LINE_BYTES
        )

    def add(self, one: Reading) -> None:
        """Take a reading."""
        self.t_us.append(one.t_us)
        self.v.append(one.v)
        self.size += 6 * len(one.v) if isinstance(one.v, str) else 24

    def encoded(self) -> bytes:
        """Return it as a line of the API."""
        head, t_us = self.head, self.t_us
        dt = [0, *(later - earlier for earlier, later in pairwise(t_us))]
        about = {"device": head.device, "series": head.series, "unit": head.unit, "clock": head.clock}
        said = {"kind": "readings", **about, "t0_us": t_us[0], "dt": dt, "v": self.v}
        return json.dumps(said, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


class Bringer:
    """One import into one fleet."""

    def __init__(
        self,
        client: Client,
        done: Done,
        *,
        create: bool,
        reject: Callable[[Reject], None],
        safe: Callable[[Done], None],
    ) -> None:
        self.done = done
        self._client = client
        self._create = create
        self._reject = reject
        self._safe = safe  # hears of what is done
        self._kept_from: dict[str, int | None] = {}  # by device; None: not known, and not to be made
        self._announced: list[Machine] = []
        self._began = False  # something beside devices has come
        self._line: _Line | None = None
        self._lines: list[bytes] = []
        self._size = 0
        self._last: tuple[str, str, int] | None = None  # device, series and time of the last reading in `_lines`

    def take(self, items: Iterable[Item]) -> None:
        """Bring all items; raises NotFound before anything is stored where devices told of ahead are not known."""
        for item in items:
            if isinstance(item, Reading):
                self._take(item)
            elif isinstance(item, Run):
                self._take_run(item)
            elif isinstance(item, Device):
                self._announced.append(item.machine)
            elif isinstance(item, Gap):
                self._take_gap(item)
            else:
                self._refuse(item)
        self._ask()
        self._close()
        self._send(self.done.place)

    def _take(self, one: Reading) -> None:
        device_id = one.head.device
        kept_from_us = self._known(one.head.machine)
        if kept_from_us is None:
            self._close()
            self.done.left_out[device_id] = self.done.left_out.get(device_id, 0) + 1
            return
        if one.t_us < kept_from_us:
            self._refuse(_of(one, f"it is older than what the fleet keeps of {device_id} (from {kept_from_us} on)"))
            return
        if one.t_us > self.done.until_us:
            self._refuse(_of(one, "it lies in the future"))
            return
        if self._line is None or not self._line.takes(one):
            self._close()
            self._line = _Line(one.head, one.place)
        self._line.add(one)

    def _take_run(self, run: Run) -> None:
        """Take readings together, or one by one where not all of them may be wanted."""
        kept_from_us = self._known(run.head.machine)
        if kept_from_us is None or run.t_us[0] < kept_from_us or run.t_us[-1] > self.done.until_us:
            for row, (t_us, v) in enumerate(zip(run.t_us, run.v, strict=True)):
                self._take(Reading((run.place[0], run.place[1] + row), run.head, t_us, v))
            return
        self._close()
        self._line = _Line(run.head, run.place, run.t_us, run.v, 24 * len(run.v))

    def _take_gap(self, gap: Gap) -> None:
        if self._known(gap.machine) is None:
            self.done.left_out.setdefault(gap.machine.device, 0)
            return
        self._close()
        self._put(json.dumps(gap.line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n", gap.place)

    def _refuse(self, item: Reject) -> None:
        self._close()  # first: what is left after it begins behind it, so that it is counted once
        self.done.rejected += 1
        self._reject(item)

    def _close(self) -> None:
        """Put the line that is being gathered with the others."""
        line, self._line = self._line, None
        if line is None:
            return
        follows = self._last == (line.head.device, line.head.series, line.t_us[0])
        text = line.encoded()
        if follows and (self._size + len(text) > MOST_BYTES or len(self._lines) >= MOST_LINES):
            reason = f"{len(line.v)} readings from here on: more of one microsecond than a request holds"
            self.done.rejected += len(line.v) - 1
            self._refuse(Reject(line.place, "", line.place[1], reason, line.head.series))
            return
        self._put(text, line.place, follows=follows)
        self._last = (line.head.device, line.head.series, line.t_us[-1])

    def _put(self, text: bytes, place: Place, *, follows: bool = False) -> None:
        full = self._size + len(text) > FULL_BYTES or len(self._lines) >= FULL_LINES
        if full and not follows:
            self._send(place)
        self._lines.append(text)
        self._size += len(text)

    def _send(self, following: Place) -> None:
        """Send what was gathered; what is left begins at `following`."""
        if self._lines:
            body = b"".join(self._lines)
            told = self._trying(lambda: self._client.send("import", self.done.id, "lines", content=body, kind=NDJSON))
            self.done.readings += told["readings"]
            self.done.known += told["known"]
            self.done.gaps += told["gaps"]
            self._lines, self._size, self._last = [], 0, None
            self.done.place = following
            self._safe(self.done)

    def _known(self, machine: Machine) -> int | None:
        """Return from when on readings of a device are kept; None if it is not known."""
        if not self._began:
            self._ask()
            self._began = True
        if machine.device not in self._kept_from:
            self._announced.append(machine)
            self._ask(late=True)
        return self._kept_from[machine.device]

    def _ask(self, *, late: bool = False) -> None:
        """Ask the fleet for the devices that were told of, or have it make them."""
        asked, self._announced = self._announced, []
        strange: list[str] = []
        for named in (True, False):
            some = [one for one in asked if bool(one.product) is named]
            for at in range(0, len(some), DEVICES):
                strange += self._ask_for(some[at : at + DEVICES], create=self._create and named)
        if strange and not late and not self._create:
            raise unknown(strange)

    def _ask_for(self, some: Sequence[Machine], *, create: bool) -> list[str]:
        """Ask for some devices; returns those that are not known."""
        devices = [asdict(one) | {"product": one.product or "unknown"} for one in some]
        body = {"devices": devices, "create": create}
        told = self._trying(lambda: self._client.post("import", self.done.id, "devices", body=body))
        for one in told["devices"]:
            self._kept_from[one["device"]] = one["kept_from_us"] if one["known"] else None
        return [one["device"] for one in told["devices"] if not one["known"]]

    def _trying(self, ask: Callable[[], Any]) -> Any:  # noqa: ANN401 - JSON
        """Ask until there is an answer: a request that was stored already stores nothing again."""
        for tried in range(TRIES - 1):
            try:
                return ask()
            except (Unreachable, Busy):
                time.sleep(WAIT_S * 2**tried)
        return ask()


def unknown(devices: list[str]) -> NotFound:
    """Make the error for devices that the fleet does not know."""
    more = f" and {len(devices) - NAMED} more" if len(devices) > NAMED else ""
    return NotFound(
        f"this fleet does not know {', '.join(devices[:NAMED])}{more}",
        hint="Say --create to make them: known, with what is imported, and never enrolled.",
    )


def _of(one: Reading, reason: str) -> Reject:
    return Reject(one.place, "", one.place[1], reason, f"{one.head.device} {one.head.series} {one.t_us}")
