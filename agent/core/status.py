"""What `fleet-agent status` tells: its shape, which is also its JSON, and its text for people.

The shape is stable: fields are added, never renamed. Times come twice, as integer UTC microseconds (`_us`, 0 if never)
and as ISO 8601 (null if never).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.core.local import Override
from agent.core.token import FILE, place_in_words
from agent.wire.messages import ConfigOutcome, LineHealth, MeteringHealth, Reported, SlaveHealth, SourceHealth, Value
from agent.wire.units import US_PER_S

US_PER_DAY = 86_400 * US_PER_S
DAYS_LEFT_WARNING = 14
CLOCKS = {  # in words
    "synced": "synchronised",
    "gnss": "from a satellite receiver",
    "server": "from the fleet",
    "free": "set, but nobody confirms it",
    "unknown": "NOT KNOWN: readings stay here until a time server, a satellite receiver or the fleet tells the time",
}
AWRY_S = 5.0  # a machine's clock that is further off is told
MAX_SHOWN = 40  # values shown to people; JSON has all


@dataclass(frozen=True, slots=True)
class WitnessStatus:
    """Somebody who tells the time (`agent.core.reckoning`)."""

    source: str  # synced, gnss, server
    offset_s: float  # their time minus ours


@dataclass(frozen=True, slots=True)
class ClockStatus:
    """How far the device's clock can be trusted."""

    state: str  # unknown, free, synced, …
    server_offset_s: float | None  # the fleet's clock minus ours, as of the last ack
    machine_offset_s: float | None = None  # the machine's wall clock minus ours
    witnesses: tuple[WitnessStatus, ...] = ()  # who was heard lately


@dataclass(frozen=True, slots=True)
class FlashStatus:
    """What the agent has written to the disk since its start, and for how many readings."""

    written_bytes: int | None = None  # as the kernel counts them; null where it does not
    written_readings: int = 0
    bytes_a_reading: float | None = None


NOTHING_WRITTEN = FlashStatus()


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source; counters run from the start of the agent."""

    name: str
    connected: bool
    readings: int
    errors: int
    last_us: int
    last: str | None
    detail: str
    line: LineHealth | None = None  # what went wrong on its port; null if nothing
    slaves: tuple[SlaveHealth, ...] = ()  # of a bus


@dataclass(frozen=True, slots=True)
class LatestStatus:
    """The newest reading of one series."""

    name: str
    unit: str
    t_us: int
    t: str | None
    v: Value


@dataclass(frozen=True, slots=True)
class BufferStatus:
    """What waits for an ack."""

    rows: int
    bytes: int
    readings: int
    oldest_us: int
    oldest: str | None
    age_s: float  # of the oldest row; 0 if none
    problem: str  # why nothing can be stored now; "" if it can


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """How the talk with the fleet goes."""

    server: str  # host:port of the gateway
    road: str  # link, gateway or none
    last_ack_us: int
    last_ack: str | None
    error: str  # the last one, "" if none since the last ack
    proxy: str = ""  # of agent.toml, through which the gateway is reached, without a password; "" for none


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """The device's certificate."""

    expires_us: int
    expires: str | None
    days_left: int
    key: str = FILE  # where its private key is: file, tpm2 or a PKCS#11 URI


@dataclass(frozen=True, slots=True)
class LocalStatus:
    """What is set on the device itself (agent.toml)."""

    overrides: tuple[Override, ...] = ()
    problem: str = ""  # why the file is not followed; "" if it is, or is not there


@dataclass(frozen=True, slots=True)
class Status:
    """All of it."""

    version: int  # of this shape
    running: bool  # false: read from the files of an agent that does not run
    device: str
    agent_version: str
    pid: int
    t_us: int
    t: str | None
    uptime_s: int
    rss_bytes: int
    clock: ClockStatus
    sources: tuple[SourceStatus, ...]
    latest: tuple[LatestStatus, ...]
    buffer: BufferStatus
    sync: SyncStatus
    config: Reported
    certificate: CertificateStatus
    local: LocalStatus = LocalStatus()
    flash: FlashStatus = NOTHING_WRITTEN
    metering: MeteringHealth | None = None  # None where nothing is metered


VERSION = 1


def iso(t_us: int) -> str | None:
    """Return ISO 8601 in UTC with milliseconds; None for 0."""
    if t_us <= 0:
        return None
    seconds, micros = divmod(t_us, US_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros // 1000:03d}Z"


def certificate(expires_us: int, now_us: int, key: str = FILE) -> CertificateStatus:
    """Describe the certificate as of now; the days left are whole ones, negative once it is over."""
    return CertificateStatus(expires_us, iso(expires_us), (expires_us - now_us) // US_PER_DAY, key)


def flash_of(written_bytes: int | None, written_readings: int) -> FlashStatus:
    """Describe what was written."""
    tells = written_bytes is not None and written_readings > 0
    quotient = round((written_bytes or 0) / written_readings, 1) if tells else None
    return FlashStatus(written_bytes, written_readings, quotient)


def sentence(device: str, sources: Sequence[SourceHealth], sync: SyncStatus, problem: str) -> str:
    """Return the one line that `systemctl status` shows; it changes only when something does."""
    if problem:
        return f"{device}: {problem}"
    connected = sum(source.connected for source in sources)
    road = "no connection" if sync.road == "none" else f"connected over the {sync.road}"
    return f"{device}: {connected} of {len(sources)} sources connected; {road} to {sync.server}"


def render(status: Status) -> str:
    """Return the status for a person, at a glance."""
    return "\n".join(_lines(status))


def _lines(s: Status) -> Iterator[str]:
    now = s.t_us
    state = f"running for {_span(s.uptime_s)} (process {s.pid}, {s.rss_bytes / 1e6:.0f} MB)"
    yield f"{s.device}  {state if s.running else 'NOT RUNNING: this is what its files say'}"
    yield ""
    yield from _server(s)
    yield from _metering(s.metering)
    yield f"buffer       {_buffer(s.buffer)}"
    if s.buffer.problem:
        yield f"             NOTHING IS STORED: {s.buffer.problem}"
    if s.flash.written_bytes is not None:
        yield f"             {flash_words(s.flash)}"
    yield f"config       {_config(s.config)}"
    if s.config.reason:
        yield f"             {s.config.reason}"
    yield from _local(s.local)
    yield f"clock        {_clock(s.clock)}"
    yield f"certificate  {_certificate(s.certificate)}"
    yield f"agent        {s.agent_version}"
    yield from _sources(s.sources, now)
    if s.latest:
        yield ""
        yield "series                               value  unit        when"
    for latest in s.latest[:MAX_SHOWN]:
        yield f"{latest.name:<30} {shown_value(latest.v):>11}  {latest.unit:<10}  {ago(latest.t_us, now)}"
    if len(s.latest) > MAX_SHOWN:
        yield f"… and {len(s.latest) - MAX_SHOWN} more; --json has all"


def _sources(sources: Sequence[SourceStatus], now: int) -> Iterator[str]:
    if sources:
        yield ""
        yield "source            state      readings   errors  last"
    for source in sources:
        seen = ago(source.last_us, now)
        is_silent = source.line is not None and source.line.silent
        shown = "SILENT" if is_silent else "connected" if source.connected else "LOST"
        yield f"{source.name:<17} {shown:<9} {source.readings:>9}  {source.errors:>7}  {seen}"
        if source.detail:
            yield f"                  {source.detail}"
        yield from (f"                  {words}" for words in port_words(source))


def flash_words(flash: FlashStatus) -> str:
    """Say what was written to the disk."""
    each = "" if flash.bytes_a_reading is None else f", {flash.bytes_a_reading:.0f} bytes a reading"
    return f"{(flash.written_bytes or 0) / 1e6:.1f} MB written to the disk since the start{each}"


def port_words(source: SourceStatus) -> Iterator[str]:
    """Say what went wrong on the source's port, and of each slave on it how it answers."""
    line = source.line or LineHealth()
    counts = ("framing", "parity", "overrun", "breaks", "overlong", "reopened")
    told = [f"{count} {name}" for name in counts if (count := getattr(line, name))]
    if told:
        yield f"line: {', '.join(told)}"
    for slave in source.slaves:
        wrong = (("timeouts", slave.timeouts), ("CRC errors", slave.crc_errors), ("exceptions", slave.exceptions))
        said = "".join(f", {count} {name}" for name, count in wrong if count)
        yield f"slave {slave.address}: answered {slave.answered} of {slave.asked}{said}"


def _server(s: Status) -> Iterator[str]:
    yield f"server       {s.sync.server}, {_road(s, s.t_us)}"
    if s.sync.proxy:
        yield f"             through the proxy {s.sync.proxy}; the link takes none and is tried without it"
    if s.sync.error:
        yield f"             {s.sync.error}"


def _road(s: Status, now: int) -> str:
    if not s.sync.last_ack_us:
        return "no ack yet" if s.running else "last ack not known"
    road = "not connected" if s.sync.road == "none" else f"over the {s.sync.road}"
    return f"{road}, last ack {ago(s.sync.last_ack_us, now)}"


def _buffer(buffer: BufferStatus) -> str:
    if not buffer.rows:
        return "empty: the fleet has everything"
    if not buffer.readings:
        return f"{counted(buffer.rows, 'event')}, the oldest for {_span(buffer.age_s)}"
    return f"{counted(buffer.readings, 'reading')} ({buffer.bytes / 1e3:.0f} kB), the oldest for {_span(buffer.age_s)}"


def counted(count: int, noun: str) -> str:
    """Say how many of something wait."""
    return f"{count} {noun} waits" if count == 1 else f"{count} {noun}s wait"


def _metering(metering: MeteringHealth | None) -> Iterator[str]:
    if metering is None:
        return
    share = f"{metering.spent_bytes / 1e6:.2f} of {metering.bytes_per_day / 1e6:.2f} MB since midnight UTC"
    text = share if metering.bytes_per_day else "quiet hours only"
    yield f"metered      {text}"
    if metering.saving:
        yield f"             READINGS ARE HELD BACK, alarms go: {metering.saving}"


def _config(config: Reported) -> str:
    if not (config.applied_hash or config.applied or config.handled):
        return "none yet: nothing is measured until the fleet sets one"
    running = (
        f"revision {config.applied}" if config.applied else "the local first config" if config.applied_hash else "none"
    )
    if config.outcome is ConfigOutcome.TRYING:
        return f"{running} runs ON TRIAL" if config.applied == config.handled else f"revision {config.handled} is next"
    if config.handled and config.handled != config.applied:
        return f"{running} runs; revision {config.handled} was {config.outcome.replace('_', ' ').upper()}"
    return f"{running} runs"


def _local(local: LocalStatus) -> Iterator[str]:
    if local.problem:
        yield f"             agent.toml IS NOT FOLLOWED: {local.problem}"
    for it in local.overrides:
        instead = f" (the fleet's: {it.fleet})" if it.fleet else ""
        yield f"             set here: {it.key} = {it.here}{instead if it.is_used else ' (not used: no such source)'}"


def _clock(clock: ClockStatus) -> str:
    trust = CLOCKS.get(clock.state, clock.state)
    if clock.machine_offset_s is not None and abs(clock.machine_offset_s) > AWRY_S and clock.state != "unknown":
        side = "behind" if clock.machine_offset_s < 0 else "ahead"
        trust += f" (the machine's own is {_span(abs(clock.machine_offset_s))} {side}: not used)"
    if clock.server_offset_s is None:
        return trust
    side = "behind" if clock.server_offset_s > 0 else "ahead of"
    return f"{trust}, {abs(clock.server_offset_s):.1f} s {side} the fleet"


def _certificate(cert: CertificateStatus) -> str:
    if not cert.expires_us:
        return "its dates are not known"
    if cert.days_left < 0:
        return f"EXPIRED {cert.expires}: it is renewed once the fleet is reached, or needs a claim"
    warning = "; renewal is overdue" if cert.days_left < DAYS_LEFT_WARNING else ""
    key = "" if cert.key == FILE else f"; its key is {place_in_words(cert.key)}"
    return f"{cert.days_left} days left (until {cert.expires}){warning}{key}"


def shown_value(value: Value) -> str:
    """Return a value as people read it."""
    if value is None:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def ago(t_us: int, now_us: int) -> str:
    """Return how long ago something was, in its two leading digits."""
    return f"{_span((now_us - t_us) / US_PER_S)} ago" if t_us else "never"


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s" if seconds >= 10 else f"{max(0.0, seconds):.1f} s"  # noqa: PLR2004 - tenths matter below
