r"""SDI-12 version 1.4: probes behind a serial adapter, which takes commands as text and hands back the answers.

    aM!  aM1!…aM9!  aMC!     a ttt n \r\n            after ttt seconds, n values are ready
    aC!  aCC!                a ttt nn \r\n
    aD0! … aD9!              a <values> \r\n         in as many parts as needed, at most 35 characters of values each
    aR0!  aRC0!              a <values> \r\n         at once
    a!  aI!  ?!              a \r\n, identification, address

After a command with C for check, values are followed by three characters that hold a CRC-16 (polynomial 0x8005,
reflected, from 0). The simulated measurement takes no time: ttt is 000, and so nothing calls for service.
"""

import re
from collections.abc import Sequence

from firmware_sim.protocols.frame import Frame, Number, number_of, text_of
from firmware_sim.signals.model import Quantity

MAX_WAITING_BYTES = 64
MOST_CHARS = 35  # of the values in an answer to aD0!
COMMAND = re.compile(rb"([0-9A-Za-z?])([A-Za-z]*)([0-9]?)!")


def check(text: bytes) -> bytes:
    """Return the three characters of a CRC."""
    crc = 0
    for byte in text:
        crc ^= byte
        for _ in range(8):
            odd = crc & 1
            crc >>= 1
            if odd:
                crc ^= 0xA001
    return bytes((0x40 | crc >> 12, 0x40 | crc >> 6 & 0x3F, 0x40 | crc & 0x3F))


class Probe:
    """One probe on the line."""

    def __init__(self, quantities: Sequence[Quantity], address: str = "0") -> None:
        self._quantities = quantities
        self._address = address
        self._waiting = b""
        self._ready: list[tuple[str, list[tuple[str, Number]]]] = []
        self._checks = False

    def receive(self, data: bytes, now_s: float, values: Sequence[float]) -> list[Frame]:
        """Take in commands; return the answers."""
        del now_s
        self._waiting = (self._waiting + data)[-MAX_WAITING_BYTES:]
        frames: list[Frame] = []
        end = 0
        for match in COMMAND.finditer(self._waiting):
            end = match.end()
            if match[1].decode() in {self._address, "?"}:
                frames += self._answer(match[2].decode(), int(match[3] or b"0"), values)
        self._waiting = self._waiting[end:]
        return frames

    def _answer(self, verb: str, number: int, values: Sequence[float]) -> list[Frame]:
        if verb == "":
            return [self._frame("", [])]
        if verb == "I":
            return [self._frame("14FIELDLNESIM   1.0", [])]
        if verb in {"M", "MC", "C", "CC"}:
            self._measure(values, checks=verb in {"MC", "CC"})
            count = len(self._quantities)
            return [self._frame(f"000{count}" if verb[0] == "M" else f"000{count:02d}", [])]
        if verb in {"R", "RC"}:
            self._measure(values, checks=verb == "RC")
        if verb in {"D", "R", "RC"}:
            text, said = self._ready[number] if number < len(self._ready) else ("", [])
            return [self._frame(text, said, checks=self._checks)]
        return []

    def _measure(self, values: Sequence[float], *, checks: bool) -> None:
        """Take a sample and part it."""
        self._checks = checks
        self._ready = [("", [])]
        for quantity, value in zip(self._quantities, values, strict=True):
            shown = text_of(quantity, value)
            signed = shown if shown.startswith("-") else f"+{shown}"
            if len(self._ready[-1][0]) + len(signed) > MOST_CHARS:
                self._ready.append(("", []))
            text, said = self._ready[-1]
            self._ready[-1] = (text + signed, [*said, (quantity.name, number_of(shown))])

    def _frame(self, text: str, said: Sequence[tuple[str, Number]], *, checks: bool = False) -> Frame:
        body = f"{self._address}{text}".encode()
        data = body + (check(body) if checks else b"") + b"\r\n"
        return Frame(data, tuple(said), len(data) // 2)
