"""Fuzz each decoder with random bytes and with mutated streams of what devices say: `SECONDS` each, 300 by default.

A decoder must not raise, whatever comes, and must not keep more than its limit, however it is split. The printed `held`
is the most that a dialogue was seen to keep between two calls, all its objects together; `limit` what it may: its
configured buffers, and 8 KiB for itself. Exit status 1 if a decoder failed; the bytes that did it are printed, with the
seed that makes them again.

    SECONDS=10 SEED=7 python bench/agent/fuzz.py lines modbus
"""

import os
import random
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.core.config import parse_config
from agent.core.contain import told
from agent.ports import Dialogue, Emit, Fault, PortSettings, Reopen, Time, Write
from agent.protocols import BUILT_IN, cobs, iec62056, lines, modbus, nmea, sdi12
from agent.protocols import find as find_contained
from agent.protocols.ask import crc16_modbus

SECONDS = float(os.environ.get("SECONDS", "300"))
SEED = int(os.environ.get("SEED", str(random.SystemRandom().randrange(2**32))))
MODULES: dict[str, Any] = {
    "cobs": cobs,
    "iec62056": iec62056,
    "lines": lines,
    "modbus": modbus,
    "nmea": nmea,
    "sdi12": sdi12,
}
SETTINGS = PortSettings("/dev/x", 115_200)
CALLS = 60  # of one dialogue
OWN_BYTES = 8192
LOOKED_AT = 0.1  # of the calls after which the size is taken


@dataclass(frozen=True)
class Case:
    """A decoder, the config that opens it, what its device says, and how much it may buffer (bytes)."""

    name: str
    config: str
    said: tuple[bytes, ...]
    limit_bytes: int


def modbus_answer(body: bytes) -> bytes:
    """Return a frame with its CRC."""
    return body + struct.pack("<H", crc16_modbus(body))


def read_out(text: str) -> bytes:
    """Return a read-out with its BCC."""
    body, check = text.encode() + b"!\r\n\x03", 0
    for byte in body:
        check ^= byte
    return b"\x02" + body + bytes([check])


COBS = """[[source.cobs.frames]]
head = "01"
fields = [{ name = "a", type = "i16", unit = "1" }, { name = "t", type = "text", bytes = 5 }]
[[source.cobs.frames]]
head = "82"
command = "02"
every_s = 0.01
fields = [{ name = "b", type = "f32", unit = "1" }]
"""
FRAMED = cobs.CobsOptions(())
SENTENCES = (
    b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n",
    b"$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\r\n",
    b"$GNGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1*27\r\n",
    b"$GPRMC,123519.25,A,4807.038,N,01131.000,E,022.4,084.4,221126,003.1,W,A*25\r\n",
    b"$GPZDA,123519.25,22,11,2026,00,00*6A\r\n",
    b"!AIVDM,1,1,,B,177KQJ5000G?tO`K>RA1wUbN0TKH,0*5C\r\n",
)
CASES = (
    Case(
        "lines",
        '[source.lines]\nformat = "json"\ncolumns = [{ name = "t", key = "t.top", unit = "Cel" }]\n',
        (b'{"t": {"top": -18.2}}\n', b"#\n", b'{"t": {"top": "nan"}}\r\n', b"[" * 200 + b"\n"),
        1024,
    ),
    Case(
        "lines",
        '[source.lines]\nformat = "kv"\ncolumns = [\n  { name = "t", unit = "Cel" },\n'
        '  { name = "d", type = "flag", unit = "1" },\n]\n',
        (b"t=-18.2 d=on\n", b"t: 1e999, d: 0\n"),
        1024,
    ),
    Case(
        "lines",
        '[source.lines]\nformat = "csv"\ncolumns = [{ name = "n", unit = "1" }, {}, { name = "t", unit = "Cel" }]\n',
        (b"7,x,-18.2\n", b"n,x,t\n", b"\xc2\xb2,,9" + b"9" * 400 + b"\n"),
        1024,
    ),
    Case("nmea", "nmea = { gsa = true }\n", SENTENCES, 256),
    Case(
        "modbus",
        "[source.modbus]\nevery_s = 0.01\n[[source.modbus.slaves]]\nid = 17\nregisters = [\n"
        '  { name = "a", address = 0, type = "f64", unit = "1" }, { name = "b", address = 9, type = "bool" },\n]\n',
        (modbus_answer(b"\x11\x03\x08" + bytes(8)), modbus_answer(b"\x11\x83\x02"), modbus_answer(b"\x11\x01\x01\x01")),
        256 + 4096,
    ),
    Case(
        "cobs",
        COBS,
        (cobs.encode(b"\x01\x02\x03hello", FRAMED), cobs.encode(b"\x82\0\0\0\0", FRAMED), cobs.encode(b"\x07", FRAMED)),
        512,
    ),
    Case(
        "iec62056",
        '[source.iec62056]\nevery_s = 1\nvalues = [{ code = "1.8.0", name = "e", unit = "kW.h" }]\n',
        (b"/ISK5ME162\r\n", b"/ABCEmeter\r\n", read_out("1-0:1.8.0*255(000438.712*kWh)\r\n"), b"\x02", b"\x03"),
        65_536 + 4096,
    ),
    Case(
        "sdi12",
        '[source.sdi12]\nevery_s = 1\ncrc = true\n[[source.sdi12.probes]]\naddress = "0"\n'
        'values = [{ name = "a", unit = "1" }]\n',
        (b"00011\r\n", b"0\r\n", b"0+3.14OqZ\r\n", b"0M!"),
        128 + 4096,
    ),
)


def mutated(said: tuple[bytes, ...], rng: random.Random) -> bytes:
    """Return what a device might say on a bad day."""
    data = bytearray(b"".join(rng.choice(said) for _ in range(rng.randrange(1, 6))))
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + rng.randrange(1, 9)]
            case 2:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 3:
                data[at:at] = data[: rng.randrange(40)]
            case 4:
                data[at:at] = bytes([rng.randrange(256)]) * rng.randrange(1, 300)
            case _:
                data = bytearray(rng.randbytes(rng.randrange(200)))
    return bytes(data)


def held(it: object, seen: set[int]) -> int:
    """Return the size of an object and of what it refers to of its own (bytes): no classes, no modules, no options."""
    if id(it) in seen or isinstance(it, type) or callable(it) or type(it).__name__.endswith("Options"):
        return 0
    seen.add(id(it))
    size = sys.getsizeof(it)
    if isinstance(it, dict):
        return size + sum(held(one, seen) for pair in it.items() for one in pair)
    if isinstance(it, list | tuple | set | frozenset) or type(it).__name__ == "deque":
        return size + sum(held(one, seen) for one in it)  # type: ignore[attr-defined,misc] # a deque is iterable
    if type(it).__module__.startswith("agent."):
        names = [
            *getattr(it, "__dict__", ()),
            *(n for kind in type(it).__mro__ for n in getattr(kind, "__slots__", ())),
        ]
        return size + sum(held(getattr(it, name, None), seen) for name in names)
    return size if isinstance(it, bytes | bytearray | str | int | float) else 0


def exercise(begin: Callable[[], Dialogue], case: Case, rng: random.Random, trail: list[bytes]) -> tuple[int, int]:
    """Put one dialogue through some calls; returns how many bytes it took and the most that it held."""
    it, now_s, taken, most = begin(), 0.0, 0, 0
    it.opened(now_s)
    for _ in range(CALLS):
        due_s = it.due()
        if due_s is not None and rng.random() < 0.7:  # noqa: PLR2004 - mostly on time
            now_s = max(now_s, due_s)
        actions = list(it.tick(now_s))
        data = mutated(case.said, rng)
        while data:
            piece, data = data[: (cut := rng.choice((1, 7, 64, 4096)))], data[cut:]
            trail.append(piece)
            taken += len(piece)
            actions += it.feed(piece, now_s)
        if not all(isinstance(action, Emit | Time | Fault | Write | Reopen) for action in actions):
            raise TypeError(f"no actions: {actions!r:.200}")
        now_s += rng.choice((0.0, 0.001, 0.3))
        if rng.random() < LOOKED_AT:
            most = max(most, held(it, set()))
    return taken, most


def fuzz(case: Case) -> bool:
    """Fuzz one decoder for `SECONDS`; tells whether it held."""
    text = f'[[source]]\nname = "f"\nport = "/dev/x"\nprotocol = "{case.name}"\n{case.config}'
    (source,) = parse_config(text, find_contained).sources
    seed = SEED

    def begin() -> Dialogue:
        found: Dialogue = MODULES[case.name].open(source.options, SETTINGS)
        return found

    began_s, taken, most, rounds = time.monotonic(), 0, 0, 0
    trail: list[bytes] = []
    bare = held(begin(), set())
    while time.monotonic() - began_s < SECONDS:
        trail.clear()
        try:
            more, kept = exercise(begin, case, random.Random(seed), trail)  # noqa: S311 - reproducible on purpose
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            print(f"{case.name:9} FAILED with SEED={seed}: {told(error)} on {trail[-1]!r:.200}")
            return False
        taken, most, rounds, seed = taken + more, max(most, kept - bare), rounds + 1, seed + 1
    spent_s = time.monotonic() - began_s
    limit = case.limit_bytes + OWN_BYTES
    fits = most <= limit
    print(
        f"{case.name:9} {rounds:8} dialogues {taken / 1e6:8.1f} MB {taken / spent_s / 1e6:6.2f} MB/s"
        f"   held {most:6} B of {limit:6} B ({most / limit:4.0%}){'' if fits else '  TOO MUCH'}"
    )
    return fits


def main() -> int:
    """Fuzz the decoders that are named, or all."""
    missing = sorted(set(BUILT_IN) - {case.name for case in CASES})
    print(f"SECONDS={SECONDS:g} SEED={SEED}" + (f"; no case for {', '.join(missing)}" if missing else ""))
    chosen = [case for case in CASES if case.name in sys.argv[1:] or len(sys.argv) == 1]
    failed = [case.name for case in chosen if not fuzz(case)]
    return 1 if failed or missing else 0


if __name__ == "__main__":
    sys.exit(main())
