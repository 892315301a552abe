"""Who plays in the demo: five machines of three products, their boards, and the config each begins with."""

from dataclasses import dataclass
from pathlib import Path

from firmware_sim.scenarios.world import Board

FREEZER = """protocol = "lines"
[source.lines]
format = "csv"
columns = [
    { name = "n", unit = "1" },
    { name = "temp", unit = "Cel" },
    { name = "door", unit = "1" },
    { name = "compressor", unit = "1" },
    { name = "ambient", unit = "Cel" },
    { name = "power", unit = "W" },
]

[[rule]]
name = "too-warm"
series = "board.temp"
above = -5.0
hold_s = 2
clear_hold_s = 2
severity = "critical"
ticket = true
"""

PUMP = """protocol = "lines"
[source.lines]
format = "json"
columns = [
    { name = "n", unit = "1" },
    { name = "pressure", unit = "bar" },
    { name = "flow", unit = "L/min" },
    { name = "vibration", unit = "mm/s" },
    { name = "current", unit = "A" },
    { name = "motor_temp", unit = "Cel" },
]
"""

METER = """protocol = "modbus"
[source.modbus]
every_s = 0.5
timeout_s = 3.0
[[source.modbus.slaves]]
id = 1
registers = [
    { name = "voltage", unit = "V", address = 0, type = "u16", scale = 0.1 },
    { name = "current", unit = "A", address = 1, type = "u32", scale = 0.001 },
    { name = "power", unit = "W", address = 3, type = "i32", scale = 0.1 },
    { name = "energy", unit = "kW.h", address = 5, type = "u32", scale = 0.001 },
    { name = "frequency", unit = "Hz", address = 7, type = "f32" },
]
"""

COUNTER = """protocol = "lines"
[source.lines]
format = "csv"
columns = [{ name = "n", unit = "1" }, { name = "temp", unit = "Cel" }]
"""

EARLY_WARNING = """
# Say it earlier, before the goods are at risk.
[[rule]]
name = "getting-warm"
series = "board.temp"
above = -10.0
hold_s = 5
clear_hold_s = 2
severity = "warning"

[agent]
health_window_s = 5
"""


def config(port: Path, source: str) -> str:
    """Return a device config: one source named `board` on a port; `source` is its rest, and what else is wanted."""
    return f'[[source]]\nname = "board"\nport = "{port}"\nbaudrate = 115200\n{source}'


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine: which device it is in the fleet, and which simulated board its agent listens to."""

    device: str
    product: str
    serial: str
    site: str
    board: Board
    source: str  # the rest of its `[[source]]`, and its rules

    def config(self, port: Path) -> str:
        """Return the device config that its agent starts with."""
        return config(port, self.source)


MACHINES = (
    Machine("freezer-aisle-1", "freezer", "FZ-20417", "Market Hall 3, Hamburg", Board("freezer", "csv", 1), FREEZER),
    Machine("freezer-aisle-2", "freezer", "FZ-20418", "Market Hall 3, Hamburg", Board("freezer", "csv", 2), FREEZER),
    Machine("pump-cellar", "pump", "PU-0077", "Spa Hotel, Graz", Board("pump", "json", 3), PUMP),
    Machine("pump-roof", "pump", "PU-0078", "Spa Hotel, Graz", Board("pump", "json", 4), PUMP),
    Machine("meter-main", "meter", "EM-5512", "Bakery Lund, Malmo", Board("meter", "modbus", 5), METER),
)
