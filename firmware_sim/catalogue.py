"""The boards that can be simulated: what each measures, by which model, and how it speaks."""

from collections.abc import Callable
from dataclasses import dataclass

from firmware_sim.errors import Refused
from firmware_sim.protocols.register import Register, layout
from firmware_sim.signals import counter, freezer, meter, printer, pump, tracker
from firmware_sim.signals.model import Heating, Model, Quantity

LINES = ("csv", "json", "kv")
METER_REGISTERS = (
    Register(0, "u16", 1),  # voltage
    Register(1, "u32", 3),  # current
    Register(3, "i32", 1),  # power
    Register(5, "u32", 3),  # energy
    Register(7, "f32", 0),  # frequency
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of board. The first protocol and `rate_hz` are what it does unless told otherwise."""

    name: str
    text: str
    quantities: tuple[Quantity, ...]
    model: Callable[[], Model]
    protocols: tuple[str, ...]
    rate_hz: float = 1.0
    heating: Heating | None = None
    registers: tuple[Register, ...] = ()

    def layout(self) -> tuple[Register, ...]:
        """Return the Modbus registers, one for each quantity."""
        return self.registers or layout(self.quantities)


FREEZER = Kind(
    "freezer",
    "a chest freezer: compressor cycles, door openings, defrosting, an ambient day",
    freezer.QUANTITIES,
    freezer.Freezer,
    (*LINES, "modbus"),
    heating=freezer.OVERHEAT,
)
PRINTER = Kind(
    "printer",
    "a laser printer: page counter, fuser temperature, toner, supply voltage",
    printer.QUANTITIES,
    printer.Printer,
    ("kv", "csv", "json", "modbus"),
    heating=printer.OVERHEAT,
)
METER = Kind(
    "meter",
    "an electricity meter of a house: energy, power, voltage, current, frequency",
    meter.QUANTITIES,
    meter.Meter,
    ("modbus", "iec62056", *LINES),
    registers=METER_REGISTERS,
)
PUMP = Kind(
    "pump",
    "a booster pump: pressure, flow, vibration, motor current and temperature",
    pump.QUANTITIES,
    pump.Pump,
    ("json", "csv", "kv", "modbus", "sdi12"),
    heating=pump.OVERHEAT,
)
TRACKER = Kind(
    "tracker",
    "a GPS receiver in a delivery van on a round through Munich",
    tracker.QUANTITIES,
    tracker.Tracker,
    ("nmea", *LINES),
)
COUNTER = Kind(
    "counter",
    "numbered lines, for tests of loss at up to 2,000 lines a second",
    counter.QUANTITIES,
    counter.Counter,
    LINES,
    rate_hz=100.0,
    heating=counter.OVERHEAT,
)
KINDS = {kind.name: kind for kind in (FREEZER, PRINTER, METER, PUMP, TRACKER, COUNTER)}


def find(name: str) -> Kind:
    """Return a kind of board by its name; raises Refused."""
    if name not in KINDS:
        raise Refused(f"There is no board {name!r}.", hint=f"There are {', '.join(KINDS)}.")
    return KINDS[name]
