"""Ports by what is plugged in, from a sysfs of the test's own."""

from pathlib import Path

import pytest

from agent.adapters.usb import PortInfo, list_ports, resolve
from agent.core.config import parse_config
from agent.errors import Unavailable
from agent.protocols import find
from agent.wire.document import DocumentError


class Machine:
    """A sysfs and a /dev."""

    def __init__(self, root: Path) -> None:
        self.sysfs, self.dev = root / "sys", root / "dev"
        (self.sysfs / "class" / "tty").mkdir(parents=True)
        (self.dev / "serial" / "by-id").mkdir(parents=True)

    def plug(self, tty: str, at: str, serial: str = "A10K3V2J", ids: str = "0403:6001", interface: str = "00") -> None:
        usb = self.sysfs / "devices" / "usb1" / at
        device = usb / f"{at}:1.{int(interface)}" / tty
        device.mkdir(parents=True)
        vendor, product = ids.split(":")
        for name, text in {
            "idVendor": vendor,
            "idProduct": product,
            "serial": serial,
            "manufacturer": "FTDI",
            "product": "USB-RS485",
        }.items():
            (usb / name).write_text(text + "\n")
        (device.parent / "bInterfaceNumber").write_text(interface + "\n")
        self.tty(tty, device)
        (self.dev / tty).touch()
        (self.dev / "serial" / "by-id" / f"usb-FTDI_{serial}-if{interface}").symlink_to(self.dev / tty)

    def tty(self, name: str, device: Path | None = None, kind: str | None = None) -> None:
        folder = self.sysfs / "class" / "tty" / name
        folder.mkdir()
        if device is not None:
            (folder / "device").symlink_to(device)
        if kind is not None:
            (folder / "type").write_text(kind)

    def resolve(self, port: str) -> str:
        return resolve(port, self.sysfs, self.dev)


@pytest.fixture
def machine(tmp_path: Path):
    return Machine(tmp_path)


def test_ports_are_listed_with_what_is_behind_them(machine: Machine):
    machine.plug("ttyUSB0", "1-1")
    machine.tty("tty0")  # a console
    machine.tty("ttyS1", machine.sysfs, kind="0")  # an 8250 that is not there
    machine.tty("ttyS0", machine.sysfs, kind="4")

    found = list_ports(machine.sysfs, machine.dev)

    assert found == [
        PortInfo(f"{machine.dev}/ttyS0"),
        PortInfo(
            f"{machine.dev}/ttyUSB0",
            "",
            "0403",
            "6001",
            "A10K3V2J",
            "00",
            "FTDI USB-RS485",
            f"{machine.dev}/serial/by-id/usb-FTDI_A10K3V2J-if00",
        ),
    ]
    assert found[1].address == "usb:0403:6001:A10K3V2J"


def test_an_adapter_is_found_under_whatever_name_it_has(machine: Machine):
    machine.plug("ttyUSB7", "1-2")
    machine.plug("ttyUSB8", "1-3", serial="OTHER")

    assert machine.resolve("usb:0403:6001:A10K3V2J") == f"{machine.dev}/ttyUSB7"
    assert machine.resolve("usb:0403:6001:OTHER") == f"{machine.dev}/ttyUSB8"
    assert machine.resolve("/dev/ttyS0") == "/dev/ttyS0"


def test_an_adapter_of_several_ports_needs_the_interface(machine: Machine):
    machine.plug("ttyUSB0", "1-1", ids="0403:6011", interface="00")
    machine.plug("ttyUSB1", "1-1", ids="0403:6011", interface="01")

    assert machine.resolve("usb:0403:6011:A10K3V2J:01") == f"{machine.dev}/ttyUSB1"
    with pytest.raises(Unavailable, match=r"more than one port: .*ttyUSB0, .*ttyUSB1"):
        machine.resolve("usb:0403:6011")


def test_one_that_is_not_there_says_so(machine: Machine):
    with pytest.raises(Unavailable, match=r"usb:0403:6001 is not there\. Is it plugged in"):
        machine.resolve("usb:0403:6001")


@pytest.mark.parametrize(
    ("port", "fits"), [("usb:0403:6001:X", True), ("usb:0403", False), ("usb:zzzz:0001", False), ("ttyUSB0", False)]
)
def test_a_config_names_a_port_by_path_or_address(port: str, fits: bool):  # noqa: FBT001 - a case
    text = f'[[source]]\nname = "g"\nport = "{port}"\nprotocol = "nmea"\n'
    if fits:
        assert parse_config(text, find).sources[0].port == port
    else:
        with pytest.raises(DocumentError, match="nor a USB address"):
            parse_config(text, find)
