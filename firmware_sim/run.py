"""One running board: model → values → faults → frames → port, each sample into the ledger.

One thread and one poll(2): the port, the control socket, and the signals that stop it. The model advances by
speedup / rate seconds a sample, never by what a clock says, so that a seed gives the same values whatever the machine
is doing; the clock only says when the next sample is due. A board that was held up catches up, but not on more than
HELD_UP_S.

A board that speaks by itself emits at its rate. A Modbus slave advances at its rate and emits when it is asked.
"""

import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from firmware_sim import catalogue, clock
from firmware_sim.catalogue import Kind
from firmware_sim.control import Control, Message
from firmware_sim.errors import Refused
from firmware_sim.faults import LASTING, Fault, Faults
from firmware_sim.ledger import COMMIT_S, DOUBTFUL, LOST, ON_WIRE, Ledger, Row
from firmware_sim.protocols.frame import Encoder, Frame, Slave
from firmware_sim.protocols.iec62056 import Meter
from firmware_sim.protocols.lines import FORMATS, Lines
from firmware_sim.protocols.nmea import Nmea
from firmware_sim.protocols.sdi12 import Probe
from firmware_sim.pty import Port

MAX_RATE_HZ = 2000.0
HELD_UP_S = 1.0
LOOK_S = 0.01  # how often a closed port is looked at: nothing tells when it is opened
LINGER_S = 2.0  # how long a board that is done waits for its last lines to be read
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Settings:
    """What one board is to do; None stands for what its kind does by itself. Raises Refused if it cannot."""

    kind: str
    link: Path
    protocol: str | None = None
    rate_hz: float | None = None  # samples a second
    name: str | None = None  # in the ledger
    seed: int = 0
    ledger: Path | None = None
    count: int | None = None  # samples (of a Modbus slave: answers), then it ends
    speedup: float = 1.0  # seconds of the model a second
    unit: int = 1  # address of a Modbus slave
    await_reader: bool = False  # begin when the port is opened for the first time

    def __post_init__(self) -> None:
        kind = catalogue.find(self.kind)
        if self.protocol is not None and self.protocol not in kind.protocols:
            spoken = ", ".join(kind.protocols)
            raise Refused(f"The {kind.name} does not speak {self.protocol!r}.", hint=f"It speaks {spoken}.")
        if self.rate_hz is not None and not 0.0 < self.rate_hz <= MAX_RATE_HZ:
            raise Refused(f"A rate of {self.rate_hz:g} Hz is out of range.", hint=f"Up to {MAX_RATE_HZ:g} Hz go.")


class Run:
    """A board at work. `run` returns when it has emitted `count` samples, or on SIGINT or SIGTERM."""

    def __init__(self, settings: Settings) -> None:
        kind = catalogue.find(settings.kind)
        self._settings = settings
        self._name = settings.name or kind.name
        self._protocol = settings.protocol or kind.protocols[0]
        self._rate_hz = settings.rate_hz or kind.rate_hz
        self._model = kind.model()
        self._rng = Random(f"{kind.name} {settings.seed}")  # noqa: S311 - a simulation, not a secret
        self._encoder, self._slave = _speech(kind, self._protocol, self._name, settings.unit)
        self._faults = Faults(kind.quantities, kind.heating, settings.seed, lines=self._slave is None)
        self._port: Port[tuple[Row, ...]] = Port(settings.link)
        self._ledger = Ledger(settings.ledger)
        self._values: tuple[float, ...] = ()
        self._emitted = 0
        self._lost = 0
        self._stopping = False

    def run(self) -> None:
        """Run; raises Unavailable if a part of the world is not to be had."""
        with ExitStack() as stack:
            wake = stack.enter_context(_signals())  # first in, last out: a signal must not cut the ledger short
            control = stack.enter_context(Control(self._settings.link, self._answer))
            stack.enter_context(self._ledger)
            self._port.plug()
            stack.callback(self._unplug)
            if self._slave is not None:
                self._step()
            self._loop(control, wake)
            self._linger()

    def _loop(self, control: Control, wake: socket.socket) -> None:
        period_s = 1.0 / self._rate_hz
        begun = not self._settings.await_reader
        due_s = clock.monotonic_s()
        commit_s = due_s + COMMIT_S
        while not self._stopping:
            now_s = clock.monotonic_s()
            self._hear(now_s)
            begun = begun or self._port.is_settled
            if not begun or now_s - due_s > HELD_UP_S:
                due_s = now_s
            while begun and due_s <= now_s and not self._stopping:
                self._sample()
                due_s += period_s
            if now_s >= commit_s:
                self._commit()
                commit_s = now_s + COMMIT_S
            until_s = min(due_s, commit_s) if begun else commit_s
            self._wait(until_s - clock.monotonic_s(), control, wake)

    def _wait(self, timeout_s: float, control: Control, wake: socket.socket) -> None:
        poll = select.poll()
        poll.register(control, select.POLLIN)
        poll.register(wake, select.POLLIN)
        if self._port.is_open:
            poll.register(self._port, select.POLLIN | select.POLLPRI)
        else:
            timeout_s = min(timeout_s, LOOK_S)
        for fd, _ in poll.poll(max(0.0, timeout_s) * 1000):
            if fd == control.fileno():
                control.serve()
            elif fd == wake.fileno():
                self._stopping = True

    def _hear(self, now_s: float) -> None:
        """Look after the port: who opened or closed it, what came in, and which faults are over."""
        if Fault.UNPLUG in self._faults.expire(now_s):
            self._port.plug()
        received = self._port.watch(now_s)
        if self._slave is None:
            return  # such a board listens to nobody
        if received:
            for frame in self._slave.receive(received, now_s, self._values):
                self._emit(frame, clock.now_us())

    def _sample(self) -> None:
        """Take one sample; a board that speaks by itself emits it."""
        self._step()
        if self._encoder is not None and not self._faults.silent:
            t_us = clock.now_us()
            for frame in self._encoder.encode(t_us, self._values):
                self._emit(frame, t_us)
            self._count()

    def _step(self) -> None:
        period_s = 1.0 / self._rate_hz
        values = self._model.step(period_s * self._settings.speedup, self._rng)
        self._values = self._faults.shape(values, period_s)

    def _emit(self, frame: Frame, t_us: int) -> None:
        """Send a frame and enter it in the ledger."""
        if self._faults.silent:
            return
        board = frame.board or self._name
        damaged = self._faults.damage(frame)
        rows = tuple(Row(board, name, t_us, value, ON_WIRE) for name, value in frame.readings)
        sent = self._port.write(damaged.data, rows)
        self._ledger.add(rows)
        if not (sent and damaged.whole):
            self._lose(rows)
        if self._slave is not None and rows:
            self._count()

    def _count(self) -> None:
        self._emitted += 1
        if self._emitted == self._settings.count:
            self._stopping = True

    def _lose(self, rows: tuple[Row, ...]) -> None:
        self._ledger.mark(rows, LOST)
        self._lost += 1

    def _commit(self) -> None:
        self._port.confirm()
        self._settle_fates()
        self._ledger.commit()

    def _settle_fates(self) -> None:
        fate = self._port.fate()
        for rows in fate.lost:
            self._lose(rows)
        # A Modbus master flushes before each request: what it flushes then is an answer that it has read or given up.
        for rows in fate.doubtful if self._slave is None else ():
            self._ledger.mark([row for row in rows if row.lost_on_wire == ON_WIRE], DOUBTFUL)

    def _linger(self) -> None:
        """Leave a reader the time to read what was sent."""
        until_s = clock.monotonic_s() + LINGER_S
        while clock.monotonic_s() < until_s and not self._port.all_read():
            self._port.watch(clock.monotonic_s())
            clock.sleep(LOOK_S)

    def _unplug(self) -> None:
        self._port.unplug()
        self._settle_fates()

    def _answer(self, request: Message) -> Message:
        if request.get("do") == "fault":
            return self._set_fault(request)
        if request.get("do") == "status":
            return self._status()
        raise Refused("A board answers to `status` and `fault`.")

    def _set_fault(self, request: Message) -> Message:
        try:
            fault = Fault(str(request.get("fault")))
        except ValueError:
            raise Refused(
                f"There is no fault {request.get('fault')!r}.", hint=f"There are {', '.join(Fault)}."
            ) from None
        quantity, for_s = request.get("quantity"), request.get("for_s")
        if fault in LASTING:
            until_s = None if for_s is None else clock.monotonic_s() + float(for_s)
            self._faults.set(fault, quantity, until_s)
        for ended in LASTING if fault is Fault.CLEAR else ():
            self._faults.end(ended)
        if fault is Fault.REPLUG:
            self._faults.end(Fault.UNPLUG)
        if fault is Fault.UNPLUG:
            self._unplug()
        elif fault in {Fault.REPLUG, Fault.CLEAR}:
            self._port.plug()
        return self._status()

    def _status(self) -> Message:
        settings = self._settings
        return {
            "board": settings.kind,
            "name": self._name,
            "link": os.path.abspath(settings.link),  # noqa: PTH100 - Path.resolve would follow the link to the pty
            "tty": self._port.name or None,
            "open": self._port.is_open,
            "protocol": self._protocol,
            "rate_hz": self._rate_hz,
            "seed": settings.seed,
            "ledger": str(settings.ledger) if settings.ledger else None,
            "faults": [str(fault) for fault in self._faults.active()],
            "emitted": self._emitted,
            "lost_on_wire": self._lost,
            "pid": os.getpid(),
        }


def _speech(kind: Kind, protocol: str, name: str, unit: int) -> tuple[Encoder | None, Slave | None]:
    """Return how a board speaks: by itself, or when it is asked."""
    if protocol in FORMATS:
        return Lines(protocol, kind.quantities), None
    if protocol == "nmea":
        return Nmea(name), None
    if protocol == "iec62056":
        return None, Meter(kind.quantities)
    if protocol == "sdi12":
        return None, Probe(kind.quantities)
    from firmware_sim.protocols.modbus import RtuSlave  # noqa: PLC0415 - pymodbus takes a second to import

    return None, RtuSlave(kind.quantities, kind.layout(), unit)


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Turn the signals that stop a program into bytes on a socket, as long as it lasts."""
    wake, poke = socket.socketpair()
    for end in (wake, poke):
        end.setblocking(False)  # noqa: FBT003 - its only argument
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    fd = signal.set_wakeup_fd(poke.fileno(), warn_on_full_buffer=False)
    try:
        yield wake
    finally:
        signal.set_wakeup_fd(fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        wake.close()
        poke.close()
