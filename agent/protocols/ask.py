"""What to ask a port that does not speak by itself, and how to know an answer: for `fleet-agent port probe --ask`.

All questions only read: Modbus for one register of the slaves 1 … 10, an SDI-12 adapter for the address of its probe,
an IEC 62056-21 meter for its identification.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.ports import PortSettings

SLAVES = range(1, 11)
READ_HOLDING = 3
EXCEPTION = 0x80
EXCEPTION_BYTES = 5
ANSWER_BYTES = 7  # to a question for one register
_IDENTIFICATION = re.compile(rb"/[A-Za-z]{3}[ -~][^\r\n/]{0,64}\r\n")
_ADDRESS = re.compile(rb"(?:^|!|[\r\n])([0-9A-Za-z])\r\n")


@dataclass(frozen=True, slots=True)
class Question:
    """Bytes to send, how long to wait for an answer (s), and what tells one."""

    protocol: str
    data: bytes
    wait_s: float
    answer: Callable[[bytes], str | None]  # an example for a person, None if it is no answer
    config: str


def questions(port: str) -> Iterator[tuple[PortSettings, list[Question]]]:
    """Yield how to set the line, and what to ask on it."""
    for baudrate in (9600, 19_200, 115_200):
        others = [_SDI12] if baudrate == _SDI12_BAUDRATE else []
        yield PortSettings(port, baudrate), [*others, *map(_modbus, SLAVES)]
        yield PortSettings(port, baudrate, 8, "even"), [*map(_modbus, SLAVES)]
    yield PortSettings(port, 300, 7, "even"), [_METER]


def crc16_modbus(data: bytes) -> int:
    """Return the CRC of a Modbus RTU frame (Serial Line V1.02, 6.2.2)."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def _modbus(slave: int) -> Question:
    body = bytes([slave, READ_HOLDING, 0, 0, 0, 1])

    def answer(heard: bytes) -> str | None:
        for at in range(len(heard) - EXCEPTION_BYTES + 1):
            for function, size in ((READ_HOLDING, ANSWER_BYTES), (READ_HOLDING | EXCEPTION, EXCEPTION_BYTES)):
                frame = heard[at : at + size]
                known = frame[:2] == bytes([slave, function]) and len(frame) == size
                if known and frame[-2:] == struct.pack("<H", crc16_modbus(frame[:-2])):
                    return f"slave {slave}: {frame.hex(' ')}"
        return None

    config = (
        f"[[source.modbus.slaves]]\nid = {slave}\nregisters = [\n"
        '  { name = "register0", address = 0, type = "u16", unit = "1" },\n]\n'
    )
    return Question("modbus", body + struct.pack("<H", crc16_modbus(body)), 0.15, answer, config)


def _identified(heard: bytes) -> str | None:
    match = _IDENTIFICATION.search(heard.translate(bytes(i & 0x7F for i in range(256))))
    return match[0].decode("ascii").strip() if match else None


def _addressed(heard: bytes) -> str | None:
    match = _ADDRESS.search(heard)
    return f"a probe with the address {match[1].decode('ascii')}" if match else None


_METER = Question(
    "iec62056",
    b"/?!\r\n",
    2.5,
    _identified,
    '[source.iec62056]\nvalues = [\n  { code = "1.8.0", name = "energy", unit = "kW.h" },\n]\n',
)
_SDI12_BAUDRATE = 9600
_SDI12 = Question(
    "sdi12",
    b"?!",
    1.0,
    _addressed,
    '[[source.sdi12.probes]]\naddress = "0"\nvalues = [\n  { name = "value1", unit = "1" },\n]\n',
)
