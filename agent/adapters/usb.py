"""Serial ports as the kernel knows them (sysfs), and names for them that survive replugging.

    /sys/class/tty/ttyUSB0/device  ─▶  …/usb1/1-1/1-1.2/1-1.2:1.0/ttyUSB0
                                                  └ idVendor idProduct serial manufacturer product
                                                          └ bInterfaceNumber

A tty's name is given out in the order of plugging in; what stays is the adapter itself. `usb:0403:6001:A10K3V2J` is the
adapter with that vendor, product and serial number (as `lsusb` shows them), under whatever tty it has come up; the
serial number may be left out where there is but one such adapter. Adapters with several ports have an interface number
for each, `usb:0403:6011:FT4X:01`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.core.usb import Address, parse_address
from agent.errors import Unavailable

SYSFS = Path("/sys")
DEV = Path("/dev")
MOST_UP = 8  # folders from a tty to its USB device
MAX_ATTRIBUTE_CHARS = 256


@dataclass(frozen=True, slots=True)
class PortInfo:
    """A serial port of this machine; what is not known is ""."""

    path: str
    driver: str = ""
    vendor: str = ""  # four hex digits, as `product` and `interface` two
    product: str = ""
    serial: str = ""
    interface: str = ""
    text: str = ""  # manufacturer and product, for people
    by_id: str = ""

    @property
    def address(self) -> str:
        """Return its name that survives replugging, "" if it has none."""
        if not self.vendor:
            return ""
        return ":".join(["usb", self.vendor, self.product, *([self.serial] if self.serial else [])])


def list_ports(sysfs: Path = SYSFS, dev: Path = DEV) -> list[PortInfo]:
    """Return the serial ports that have hardware behind them, by path."""
    by_id = {}
    for link in _entries(dev / "serial" / "by-id"):
        by_id[link.resolve().name] = str(link)
    return sorted(
        (_describe(tty, dev, by_id.get(tty.name, "")) for tty in _entries(sysfs / "class" / "tty") if _is_real(tty)),
        key=lambda info: info.path,
    )


def resolve(port: str, sysfs: Path = SYSFS, dev: Path = DEV) -> str:
    """Return the path of a port that is a path already or a USB address; raises Unavailable."""
    address = parse_address(port)
    if address is None:
        return port
    found = [info.path for info in list_ports(sysfs, dev) if _matches(info, address)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise Unavailable(f"{port} is not there.", hint="Is it plugged in? See `fleet-agent port list`.")
    raise Unavailable(
        f"{port} is more than one port: {', '.join(found)}.", hint="Add the serial number, or the interface's number."
    )


def _matches(info: PortInfo, address: Address) -> bool:
    return (
        (info.vendor, info.product) == (address.vendor, address.product)
        and address.serial in {"", info.serial}
        and address.interface in {"", info.interface}
    )


def _describe(tty: Path, dev: Path, by_id: str) -> PortInfo:
    path = str(dev / tty.name)
    device = (tty / "device").resolve()
    driver = (device / "driver").resolve().name if (device / "driver").exists() else ""
    interface = ""
    for folder in (device, *list(device.parents)[:MOST_UP]):
        interface = interface or _read(folder / "bInterfaceNumber")
        vendor = _read(folder / "idVendor")
        if vendor:
            text = " ".join(part for part in (_read(folder / "manufacturer"), _read(folder / "product")) if part)
            product, serial = _read(folder / "idProduct"), _read(folder / "serial")
            return PortInfo(path, driver, vendor.lower(), product.lower(), serial, interface, text, by_id)
    return PortInfo(path, driver, by_id=by_id)


def _is_real(tty: Path) -> bool:
    """Tell whether there is hardware: consoles have no device, and an 8250 that is not there has the type 0."""
    return (tty / "device").exists() and _read(tty / "type") != "0"


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except OSError:
        return


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:MAX_ATTRIBUTE_CHARS].strip()
    except OSError:
        return ""
