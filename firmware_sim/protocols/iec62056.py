r"""IEC 62056-21: a meter's side of the data read-out, as it answers through an optical head.

    /?<address>!\r\n        is answered by       /FLD<Z>SIM1.0\r\n
    ACK 0 Z 0 \r\n          (mode C)             STX lines !\r\n ETX BCC

In modes A and B the read-out follows its identification unasked; in B Z is a letter, in A something else. A meter with
an address answers to that and to none. A line is `1-0:<code>*255(<value>*<unit>)`. Speeds are not modelled: a pty has
none.
"""

from collections.abc import Sequence
from itertools import accumulate
from operator import xor

from firmware_sim.protocols.frame import Frame, Number, number_of, text_of
from firmware_sim.signals.model import Quantity

MAX_WAITING_BYTES = 128
MODES = {"A": "@", "B": "E", "C": "5"}  # the character Z: 9600 baud in B and C
CODES = {"voltage": "32.7.0", "current": "31.7.0", "power": "16.7.0", "energy": "1.8.0", "frequency": "14.7.0"}
UNITS = {"kW.h": "kWh"}


class Meter:
    """The meter behind one optical head."""

    def __init__(self, quantities: Sequence[Quantity], mode: str = "C", address: str = "00012345") -> None:
        self._quantities = quantities
        self._sign = MODES[mode]
        self._mode = mode
        self._address = address
        self._waiting = b""

    def receive(self, data: bytes, now_s: float, values: Sequence[float]) -> list[Frame]:
        """Take in bytes of the reader; return the answers."""
        del now_s
        *lines, self._waiting = (self._waiting + data)[-MAX_WAITING_BYTES:].split(b"\r\n")
        frames: list[Frame] = []
        for said in lines:
            line = said[max(0, said.rfind(b"/?"), said.rfind(b"\x06")) :]  # what stands before is noise
            if line.startswith(b"/?") and line.endswith(b"!") and line[2:-1].decode() in {"", self._address}:
                frames.append(self._frame(f"/FLD{self._sign}SIM1.0\r\n".encode(), ()))
                if self._mode != "C":
                    frames.append(self._read_out(values))
            elif line == f"\x060{self._sign}0".encode() and self._mode == "C":
                frames.append(self._read_out(values))
        return frames

    def _read_out(self, values: Sequence[float]) -> Frame:
        said: list[tuple[str, Number]] = []
        text = f"0.0.0({self._address})\r\n"
        for quantity, value in zip(self._quantities, values, strict=True):
            code, unit = CODES.get(quantity.name, quantity.name), UNITS.get(quantity.unit, quantity.unit)
            shown = text_of(quantity, value)
            text += f"1-0:{code}*255({shown}*{unit})\r\n"
            said.append((quantity.name, number_of(shown)))
        body = text.encode() + b"!\r\n\x03"
        (*_, check) = accumulate(body, xor)
        return self._frame(b"\x02" + body + bytes([check]), tuple(said))

    def _frame(self, data: bytes, said: tuple[tuple[str, Number], ...]) -> Frame:
        return Frame(data, said, len(data) // 2)
