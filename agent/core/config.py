"""The device's config: what it reads, what it judges, how often it commits.

    [[source]]  a serial port and the protocol that is spoken there (its own table: `[source.<protocol>]`), and what is
                kept of its readings (`[[source.sampling]]`, agent.core.sampling)
    [[rule]]    agent.rules.rule
    [agent]     the agent itself

Everything is strict: a key that is unknown, a type that is wrong, a port that is claimed twice is an error that names
the place and the way out. Which protocols there are is told by whoever calls.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from agent.core.allowance import UNMETERED, Metering, read_metering
from agent.core.local import NO_LOCAL, Local, overlay
from agent.core.sampling import Sampling, read_sampling
from agent.core.shedding import Budget
from agent.core.usb import parse_address
from agent.errors import Misconfigured
from agent.ports import PortSettings, ProtocolKind
from agent.rules.interval import MAX_INTERVAL_S
from agent.rules.rule import Rule, read_rules
from agent.wire.document import DocumentError, Table, parse_document
from agent.wire.limits import MAX_SOURCES

DEFAULT_FLUSH_S = 1.0
DEFAULT_HEALTH_WINDOW_S = 120.0
DEFAULT_BAUDRATE = 9600
DEFAULT_BUDGET = Budget()  # of the buffer
LEAST_BUFFER_BYTES = 16 * 1024 * 1024
MOST_BUFFER_BYTES = 2**40
MAX_BAUDRATE = 4_000_000
MAX_SOURCE_CHARS = 48
STOPBITS = (1.0, 1.5, 2.0)


class Parity(StrEnum):
    """Parity of a serial line."""

    NONE = "none"
    EVEN = "even"
    ODD = "odd"
    MARK = "mark"
    SPACE = "space"


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One source: a port, how its line is set, and the protocol with its options."""

    name: str
    port: str
    protocol: str
    options: object  # the protocol's own frozen dataclass
    baudrate: int = DEFAULT_BAUDRATE
    bytesize: int = 8
    parity: Parity = Parity.NONE
    stopbits: float = 1.0

    @property
    def settings(self) -> PortSettings:
        """Return the port and its line."""
        return PortSettings(self.port, self.baudrate, self.bytesize, self.parity, self.stopbits)


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """A whole config document.

    `flush_s` is how long readings may wait for their commit, `health_window_s` for how long the device has to stay well
    with the document before it keeps it; seconds.
    """

    sources: tuple[SourceConfig, ...]
    rules: tuple[Rule, ...]
    flush_s: float = DEFAULT_FLUSH_S
    health_window_s: float = DEFAULT_HEALTH_WINDOW_S
    sampling: tuple[Sampling, ...] = ()  # beside the sources: a port is not interrupted for it
    budget: Budget = DEFAULT_BUDGET
    metering: Metering = UNMETERED


def parse_config(text: str, find: Callable[[str], ProtocolKind], local: Local = NO_LOCAL) -> DeviceConfig:
    """Parse a config document; raises DocumentError. `find` returns a protocol by name or raises Misconfigured.

    What is set on the device itself wins over the document, and is as strictly read.
    """
    document = Table(overlay(parse_document(text).values, local)[0], "")
    tables = document.tables("source")
    sampling = tuple(each for table in tables for each in read_sampling(table))
    sources = tuple(_read_source(table, find) for table in tables)
    if len(sources) > MAX_SOURCES:
        raise document.error("source", f"{len(sources)} sources, more than {MAX_SOURCES}")
    for i, (source, table) in enumerate(zip(sources, tables, strict=True)):
        _check_beside(source, sources[:i], table)
    rules = read_rules(document)
    agent = document.table("agent")
    flush_s = agent.number("flush_s", DEFAULT_FLUSH_S, least=0.05, most=60)
    budget = _read_budget(agent)
    metering = read_metering(agent)
    health_window_s = agent.number("health_window_s", DEFAULT_HEALTH_WINDOW_S, least=2, most=3600)
    agent.done()
    document.done()
    return DeviceConfig(sources, rules, flush_s, health_window_s, sampling, budget, metering)


def _read_budget(agent: Table) -> Budget:
    usual = Budget()
    return Budget(
        max_bytes=agent.integer("max_bytes", usual.max_bytes, least=LEAST_BUFFER_BYTES, most=MOST_BUFFER_BYTES),
        min_free_bytes=agent.integer("min_free_bytes", usual.min_free_bytes, least=0, most=MOST_BUFFER_BYTES),
    )


def _read_source(table: Table, find: Callable[[str], ProtocolKind]) -> SourceConfig:
    name = table.name("name")
    if len(name) > MAX_SOURCE_CHARS:
        raise table.error("name", f"{len(name)} characters, more than {MAX_SOURCE_CHARS}")
    port = table.text("port")
    if not port.startswith("/") and parse_address(port) is None:
        known = 'as in "/dev/serial/by-id/…", nor a USB address, as in "usb:0403:6001:A10K3V2J"'
        raise table.error("port", f"{port!r} is no path of a device file, {known}")
    protocol = table.text("protocol")
    try:
        kind = find(protocol)
    except Misconfigured as error:
        raise table.error("protocol", str(error)) from error
    line: PortSettings = getattr(kind, "LINE", PortSettings(""))
    baudrate = table.integer("baudrate", line.baudrate, least=50, most=MAX_BAUDRATE)
    bytesize = table.integer("bytesize", line.bytesize, least=5, most=8)
    parity = table.choice("parity", Parity, Parity(line.parity))
    stopbits = table.number("stopbits", line.stopbits)
    if stopbits not in STOPBITS:
        raise table.error("stopbits", f"{stopbits:g} is none of 1, 1.5, 2")
    if "expected_s" in table:  # for the rules (agent.rules.interval)
        table.number("expected_s", least=0.001, most=MAX_INTERVAL_S)
    options = kind.read(table.table(protocol))
    table.done()
    return SourceConfig(name, port, protocol, options, baudrate, bytesize, parity, stopbits)


def _check_beside(source: SourceConfig, others: tuple[SourceConfig, ...], table: Table) -> None:
    """Raise DocumentError if a name is taken, or a port shared by sources that do not set the line alike."""
    for other in others:
        if other.name == source.name:
            raise table.error("name", f"{source.name!r} is the name of another source; names are unique")
        if other.port != source.port:
            continue
        if other.protocol != source.protocol:
            raise table.error("port", f"{source.port} is read by the source {other.name!r} as {other.protocol}")
        if other.settings != source.settings:
            raise table.error("port", f"{source.port} is set otherwise by {other.name!r}; a bus has one speed")


__all__ = ["DeviceConfig", "DocumentError", "Parity", "SourceConfig", "parse_config"]
