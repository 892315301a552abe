"""What the time is: asks the witnesses, moves the clock by what they say, and has guesses dated.

NTP, the server in an ack, a satellite receiver ─▶ Reckoning ─▶ Move ─▶ recorder: what is in memory moves along, and an
order says how what is on the disk is to be dated
"""

import asyncio
import json
from dataclasses import dataclass, replace
from typing import Protocol

from agent.core.receiver import Receiver
from agent.core.reckoning import BUILT_US, STEP_US, Kept, Move, Reckoning, Witness, begin
from agent.core.status import WitnessStatus, iso
from agent.core.store import Store
from agent.errors import Unavailable
from agent.ports import Clock
from agent.services.record import Recorder
from agent.services.restore import Restored
from agent.wire.messages import Clock as ClockState
from agent.wire.messages import Lane
from agent.wire.units import US_PER_S

KEPT_KEY = "clock"
LOOK_S = 1.0
PAUSE_S = 0.01  # between two steps of dating: what is read now comes first
NTP_ERROR_US = 1_000  # two clocks are read one after the other
MAX_RECEIVERS = 64  # sources that told the time; names of configs long gone among them
KEEP_US = 50_000  # a slew of less is not worth a write
SOURCES = {
    ClockState.SYNCED: "a time server",
    ClockState.GNSS: "a satellite receiver",
    ClockState.SERVER: "the fleet",
}


class Machine(Clock, Protocol):
    """The machine's clock (`agent.adapters.clock.SystemClock`)."""

    def state(self) -> ClockState:
        """Return how far its wall clock can be trusted; SYNCED: a time server keeps it."""


@dataclass(slots=True)
class Start:
    """What the agent starts from."""

    reckoning: Reckoning
    kept: Kept


async def start(machine: Machine, boot_id: str, store: Store, restored: Restored) -> Start:
    """Find what the clock starts from; raises Unavailable."""
    text = await store.value(KEPT_KEY)
    newest_us = max(await store.newest_us(), restored.newest_us())
    wall_us, mono_us = machine.now_us(), round(machine.mono_s() * US_PER_S)
    found = {"wall_us": wall_us, "mono_us": mono_us, "newest_us": newest_us}
    kept = Kept(*json.loads(text)) if text else None
    return Start(*begin(kept, boot_id, **found, has_undated=restored.has_undated))


class Reckon:
    """The one that moves the clock."""

    def __init__(self, machine: Machine, begun: Start, recorder: Recorder, store: Store) -> None:
        self._machine = machine
        self._reckoning = begun.reckoning
        self._kept = begun.kept
        self._recorder = recorder
        self._store = store
        self._receivers: dict[str, Receiver] = {}  # by source
        self._dating = asyncio.Event()
        self._began_us = 0  # by the clock, when this life began

    def begin(self) -> None:
        """Hear the wall clock before anything is dated."""
        mono_us = self._mono_us()
        self._began_us = self._reckoning.now_us(mono_us)
        self._recorder.on_order = self._dating.set
        self._dating.set()  # an earlier life may have left something
        self._recorder.keep(KEPT_KEY, _dump(self._kept))
        self.look()
        if self._reckoning.is_known:  # what is still undated and without an order stays as it is
            self._recorder.date(0, self._kept.from_us, self._reckoning.state(mono_us))

    async def run(self) -> None:
        """Look at the wall clock each second, and date what is to be dated; until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_on(), name="clock look")
            group.create_task(self._date_on(), name="clock date")

    def server(self, server_us: int, rtt_s: float) -> None:
        """Hear the server's time in an ack that came now, `rtt_s` after what it answers had left."""
        error_us = round(rtt_s * US_PER_S / 2)
        self._hear(ClockState.SERVER, server_us, self._mono_us() - error_us, error_us)

    def receiver(self, source: str, utc_us: int, mono_s: float) -> None:
        """Hear a satellite receiver, which began to say at `mono_s` that it is `utc_us`."""
        if source not in self._receivers:
            if len(self._receivers) >= MAX_RECEIVERS:
                self._receivers.clear()
            self._receivers[source] = Receiver()
        said = self._receivers[source].hear(utc_us, round(mono_s * US_PER_S))
        if said is not None:
            self._take(said)

    def witnesses(self) -> tuple[WitnessStatus, ...]:
        """Return who was heard lately, and how far off they say this clock is."""
        heard = self._reckoning.heard(self._mono_us())
        return tuple(WitnessStatus(source, round(us / US_PER_S, 3)) for source, us in heard.items())

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()
            if abs(self._reckoning.offset_us - self._kept.offset_us) > KEEP_US:
                self._keep()

    async def _date_on(self) -> None:
        while True:
            await self._dating.wait()
            self._dating.clear()
            try:
                while await self._store.date():
                    await self._tell_dated()
                    await asyncio.sleep(PAUSE_S)
            except Unavailable:  # a disk that fails now: the recorder tells of it
                await asyncio.sleep(LOOK_S)
                self._dating.set()

    async def _tell_dated(self) -> None:
        """Tell the sync that rows may leave now; they have waited for long enough."""
        for lane in Lane:
            ends = await self._store.ends(lane)
            if ends.top > ends.mark:
                self._recorder.on_committed(lane, ends.top, True)  # noqa: FBT003 - told by position

    def look(self) -> None:
        """Look whether a time server keeps the wall clock, and hear it then."""
        if self._machine.state() is ClockState.SYNCED:
            mono_us = self._mono_us()
            self._hear(ClockState.SYNCED, self._machine.now_us(), mono_us, NTP_ERROR_US)

    def _hear(self, source: ClockState, utc_us: int, at_us: int, error_us: int) -> None:
        if utc_us >= BUILT_US:  # else a server that was never set itself
            self._take(Witness(source, utc_us - at_us, error_us, at_us))

    def _take(self, witness: Witness) -> None:
        move = self._reckoning.hear(witness, self._mono_us())
        if move is not None:
            self._move(move)

    def _move(self, move: Move) -> None:
        before_us = self._reckoning.now_us(self._mono_us())
        from_us = self._kept.from_us if move.is_first else self._began_us
        self._recorder.cut()
        self._reckoning.move(move, self._mono_us())
        self._recorder.set_clock(move.by_us, from_us)
        self._began_us += move.by_us
        if move.is_first:
            self._recorder.date(move.by_us, from_us, move.source)
        self._keep()
        self._tell(move, before_us)

    def _tell(self, move: Move, before_us: int) -> None:
        if abs(move.by_us) <= STEP_US:
            return
        after_us = before_us + move.by_us
        said = f"from {iso(before_us)} to {iso(after_us)}, as {SOURCES[move.source]} says"
        if move.is_first:
            kind, text = "clock.set", f"The clock was set {said}; what was read before has been dated by it."
        else:
            by = f"{move.by_us / US_PER_S:+.1f} s"
            kind, text = (
                "clock.stepped",
                f"The clock was stepped by {by}, {said}; what was read before keeps its dates.",
            )
        self._recorder.event(kind, "", text)

    def _keep(self) -> None:
        self._kept = replace(self._kept, offset_us=self._reckoning.offset_us, is_known=self._reckoning.is_known)
        self._recorder.keep(KEPT_KEY, _dump(self._kept))

    def _mono_us(self) -> int:
        return round(self._machine.mono_s() * US_PER_S)


def _dump(kept: Kept) -> str:
    return json.dumps([kept.boot_id, kept.offset_us, kept.is_known, kept.by_wall, kept.from_us])
