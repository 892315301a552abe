"""The address of a USB serial adapter: `usb:VENDOR:PRODUCT[:SERIAL[:INTERFACE]]`, ids in hex as `lsusb` shows them."""

import re
from dataclasses import dataclass

PREFIX = "usb:"
_ADDRESS = re.compile(r"usb:([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})(?::([^:/\s]{0,64})(?::([0-9A-Fa-f]{2}))?)?")


@dataclass(frozen=True, slots=True)
class Address:
    """Which adapter; "" stands for any serial number or interface."""

    vendor: str
    product: str
    serial: str = ""
    interface: str = ""


def parse_address(text: str) -> Address | None:
    """Return the address, or None if it is none."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        return None
    vendor, product, serial, interface = match.groups(default="")
    return Address(vendor.lower(), product.lower(), serial, interface.lower())
