"""Who plays in the demo: five machines of three products, their boards, and the config each begins with."""

from dataclasses import dataclass
from pathlib import Path

FREEZER_RULE = """
[[rule]]
name = "too-warm"
series = "board.temp"
above = -5.0
hold_s = 2
clear_hold_s = 2
severity = "critical"
ticket = true
"""

EARLY_RULE = """
# Set after the compressor was restarted: say it earlier, before the goods are at risk.
[[rule]]
name = "getting-warm"
series = "board.temp"
above = -10.0
hold_s = 5
clear_hold_s = 2
severity = "warning"
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine: which device it is in the fleet, and which simulated board its agent listens to."""

    device: str
    product: str
    serial: str
    site: str
    board: str  # a board of firmware-sim
    protocol: str
    seed: int

    def config(self, port: Path) -> str:
        """Return the device config that its agent starts with."""
        head = f'[[source]]\nname = "board"\nport = "{port}"\nbaudrate = 115200\n'
        return head + SOURCES[self.protocol, self.board] + (FREEZER_RULE if self.product == "freezer" else "")


SOURCES = {
    ("csv", "freezer"): """protocol = "lines"
[source.lines]
format = "csv"
columns = [
    { name = "n", unit = "1" },
    { name = "temp", unit = "Cel" },
    { name = "door", unit = "1" },
    { name = "compressor", unit = "1" },
]
""",
    ("json", "pump"): """protocol = "lines"
[source.lines]
format = "json"
""",
    ("kv", "printer"): """protocol = "lines"
[source.lines]
format = "kv"
""",
    ("modbus", "meter"): "",
}

MACHINES = (
    Machine("freezer-aisle-1", "freezer", "FZ-20417", "Market Hall 3, Hamburg", "freezer", "csv", 1),
    Machine("freezer-aisle-2", "freezer", "FZ-20418", "Market Hall 3, Hamburg", "freezer", "csv", 2),
    Machine("pump-cellar", "pump", "PU-0077", "Spa Hotel, Graz", "pump", "json", 3),
    Machine("pump-roof", "pump", "PU-0078", "Spa Hotel, Graz", "pump", "json", 4),
    Machine("meter-main", "meter", "EM-5512", "Bakery Lund, Malmö", "meter", "modbus", 5),
)
