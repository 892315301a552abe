"""The messages that device and fleet exchange: the contract, and nothing else.

Two lanes. A device keeps two ordered lists, `events` and `telemetry`; each row has a `seq` that never repeats in
one buffer file (`store_id`). A `Batch` carries consecutive rows of one lane; at most one batch a lane is in
flight. The server keeps the highest `seq` it has committed for each store and lane (its *mark*) and answers every
batch, readable or not, with an `Ack`:

    batch.prev_seq ≤ mark   rows above the mark are stored, the rest are duplicates; ack.acked_seq = new mark
    batch.prev_seq > mark   the server is behind (restored from a backup): nothing is stored, ack.acked_seq = mark,
                            and the device goes on from there with what it still keeps
    batch cannot be read    kept in quarantine, bytes and all; ack.refused says why; the device moves past it

`prev_seq` is a promise: the device has no row between `prev_seq` and the first row of the batch. A hole that no
`Gap` explains is recorded by the server as one, so a loss is never silent.

An ack names its batch by the SHA-256 of the batch's bytes, so that even bytes nobody can read get an answer that
the device can match.

Times are integer UTC microseconds (`_us`), durations seconds (`_s`). Values are frozen; the JSON form has the same
names as the fields. Unknown keys are ignored, so a field may be added without a new version.
"""

from dataclasses import dataclass
from enum import StrEnum

VERSION = 1

Value = float | int | str | None
"""A reading's value; None means that the sensor answered and had no valid value."""


class Lane(StrEnum):
    """The two ordered lists a device sends; events never wait behind telemetry."""

    EVENTS = "events"
    TELEMETRY = "telemetry"


class Clock(StrEnum):
    """How far the device's clock could be trusted when a row was dated."""

    UNKNOWN = "unknown"  # nobody said what time it was before that boot ended: dated to right before the next one
    FREE = "free"  # known once in that boot, counted on since
    SYNCED = "synced"  # disciplined by NTP or PTP
    GNSS = "gnss"  # disciplined by a satellite receiver
    SERVER = "server"  # corrected by the server's time in an ack


class Severity(StrEnum):
    """Severity of an alarm, worst first (Cumulocity's four)."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"
    WARNING = "warning"


class AlarmState(StrEnum):
    """State of an alarm; `pending` never leaves the rule engine."""

    PENDING = "pending"
    ACTIVE = "active"
    CLEARING = "clearing"
    CLEARED = "cleared"


class ConfigOutcome(StrEnum):
    """What a device did with the config revision that it handled last."""

    SEEDED = "seeded"  # running its local first config; the fleet has set none yet
    TRYING = "trying"  # it runs, and is kept if the device stays well for a while; the fleet need not send it again
    APPLIED = "applied"  # it runs and has proven itself
    REFUSED = "refused"  # it could not be used; the previous one keeps running
    ROLLED_BACK = "rolled_back"  # it ran and the device did not stay well; the previous one runs again


@dataclass(frozen=True, slots=True)
class Series:
    """The readings of one series in one segment, in columns.

    Reading `i` has the value `v[i]` and the event time `t0_us + dt[0] + … + dt[i]`. `dt[0]` is 0 and no `dt` is
    negative; a `dt` of 0 is a second reading of the same microsecond, and both count. `len(dt) == len(v) ≥ 1`.
    """

    name: str  # "<source>.<quantity>"
    unit: str  # UCUM
    t0_us: int
    dt: tuple[int, ...]  # µs since the reading before
    v: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """One row of the telemetry lane: what was read between two commits of the buffer.

    `mono_us` is the monotonic clock of the boot `boot_id` at the moment of the earliest reading, so that a segment
    can be dated again when the clock was wrong.
    """

    seq: int
    boot_id: str
    mono_us: int
    clock: Clock
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """A rule on the device changed the state of its alarm."""

    rule: str
    series: str
    state: AlarmState  # active, clearing or cleared
    severity: Severity
    first_bad_us: int  # event time of the first bad reading: the service clock starts here
    ticket: bool  # the rule asks for a ticket
    value: Value  # the reading that completed the change; of a rule over several series the newest of `series` then
    condition: str  # the rule's condition, for people: "above -5.0"


@dataclass(frozen=True, slots=True)
class Gap:
    """Readings that existed and will not arrive, and why."""

    lane: Lane
    from_seq: int
    to_seq: int
    from_us: int
    to_us: int
    count: int  # readings or events
    reason: str


@dataclass(frozen=True, slots=True)
class JobResult:
    """The outcome of a job on the device."""

    job: str
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """One row of the events lane: something that happened on the device.

    `kind` is `<noun>.<verb in the past>` (`port.lost`, `alarm.changed`, `config.applied`); a kind that the server
    does not know is kept and shown. At most one of the typed payloads is set.
    """

    seq: int
    t_us: int
    boot_id: str
    mono_us: int
    clock: Clock
    kind: str
    subject: str  # the source, rule, job or file that it is about; "" for the device itself
    text: str  # one sentence for a person
    alarm: AlarmChange | None = None
    gap: Gap | None = None
    job: JobResult | None = None
    log: tuple[str, ...] = ()  # with an alarm that wants a ticket: the agent's last log lines, oldest first, no secrets


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest reading of one series, for screens that should be fresh before the backlog has drained."""

    name: str
    unit: str
    t_us: int
    v: Value


@dataclass(frozen=True, slots=True)
class LineHealth:
    """What went wrong on a source's port; what its driver does not count is 0. Sources of one port tell the same."""

    framing: int = 0  # bytes without a stop bit: a wrong speed, or noise
    parity: int = 0
    overrun: int = 0  # bytes that came faster than the machine took them
    breaks: int = 0  # the line was held low, or is cut
    overlong: int = 0  # lines or frames of this source without an end, dropped
    reopened: int = 0  # how often the port came back after it was lost
    silent: bool = False  # open, and nothing has come for long


@dataclass(frozen=True, slots=True)
class SlaveHealth:
    """How one slave on a bus answers; `asked` is the sum of the next three and at most one that is under way."""

    address: int
    asked: int = 0
    answered: int = 0  # exceptions among them
    timeouts: int = 0  # nothing came
    crc_errors: int = 0  # bytes came, but no frame with a right check sum
    exceptions: int = 0  # it answered that it will not


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """How one source fares; counters run from the start of the process, or of the source if that came later."""

    name: str
    connected: bool
    readings: int
    errors: int  # lines or frames that could not be read
    last_us: int  # event time of its newest reading; 0 if none
    detail: str  # the last error, for people; "" if none
    line: LineHealth | None = None
    slaves: tuple[SlaveHealth, ...] = ()  # of a bus, in the config's order


@dataclass(frozen=True, slots=True)
class MachineHealth:
    """The machine that the agent runs on, as it tells of itself; None, 0 or empty where it does not."""

    cpu_celsius: float | None = None
    throttling: tuple[str, ...] = ()  # what slows the processor: "under-voltage", "throttled since boot", …
    load: float | None = None  # tasks that wanted a processor, average of a minute
    memory_bytes: int = 0
    memory_free_bytes: int = 0  # that programs can have without swapping
    disk_bytes: int = 0  # of the file system that holds the buffer
    disk_free_bytes: int = 0
    flash: str = ""  # the device under it: "mmcblk0"
    flash_used_percent: int | None = None  # of its life, at most so much, as eMMC tells it
    flash_errors: int = 0  # that its file system has met (ext4)


@dataclass(frozen=True, slots=True)
class RoadHealth:
    """How the talk with the fleet goes, from the start of the process."""

    road: str  # of the last ack: "link", "gateway"; "" before the first
    connects: int  # how often the link has come up
    rtt_s: float | None = None  # from a batch to its ack, the last one


@dataclass(frozen=True, slots=True)
class MeteringHealth:
    """What a metered link has carried today, and whether the device holds readings back for it."""

    bytes_per_day: int  # 0: only hours are quiet
    spent_bytes: int  # since midnight UTC, on the wire, as the device estimates it
    saving: str  # why only alarms leave, or soon will, in words; "" if everything does


@dataclass(frozen=True, slots=True)
class Health:
    """The device's own condition, once a minute and with the first batch after a start."""

    t_us: int
    uptime_s: int
    rss_bytes: int
    buffer_rows: int
    buffer_bytes: int
    buffer_oldest_us: int  # event time of the oldest row not yet acked; 0 if none
    cert_expires_us: int
    sources: tuple[SourceHealth, ...]
    machine: MachineHealth | None = None
    road: RoadHealth | None = None
    loop_lag_s: float | None = None  # the longest that the agent was held up in the last minute
    server_offset_s: float | None = None  # the fleet's clock minus the device's, as of the last ack
    written_bytes: int | None = None  # by the agent to the disk since its start, as the kernel counts them
    written_readings: int = 0  # committed to the buffer since then: their quotient is what a reading costs the flash
    metering: MeteringHealth | None = None  # None where nothing is metered


@dataclass(frozen=True, slots=True)
class Reported:
    """The config that the device runs, and what became of the revision it handled last.

    The ack carries a config document for as long as `handled` differs from the desired revision.
    """

    handled: int  # 0: none from the fleet yet
    outcome: ConfigOutcome
    applied: int  # the revision that runs; 0: the local seed
    applied_hash: str  # SHA-256 of the running document, hex; "" if none
    reason: str  # why `handled` was refused or rolled back; "" otherwise


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one lane on their way to the fleet; `segments` or `events` is empty, as `lane` says."""

    version: int
    store_id: str
    lane: Lane
    prev_seq: int
    sent_us: int
    boot_id: str
    agent_version: str
    clock: Clock
    reported: Reported
    segments: tuple[Segment, ...] = ()
    events: tuple[DeviceEvent, ...] = ()
    newest: tuple[Newest, ...] = ()
    health: Health | None = None
    next_s: int = 0  # the device saves: it may not call before, whatever the ack says, but for an alarm; 0: it does


@dataclass(frozen=True, slots=True)
class ConfigDocument:
    """A config for one device: TOML text, as a person wrote it."""

    revision: int
    hash: str  # SHA-256 of `toml` in UTF-8, hex
    toml: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a batch was not stored as data."""

    place: str  # JSONPath into the batch; "$" for the whole
    problem: str
    quarantined: bool  # its bytes are kept; the device moves past them


@dataclass(frozen=True, slots=True)
class Ack:
    """The server's answer to one batch, sent after its COMMIT."""

    version: int
    batch: str  # batch_id() of the bytes that are answered
    acked_seq: int | None  # the server's mark for the store and lane; None where the batch could not be read
    server_us: int
    config_revision: int  # desired; 0: none set
    next_s: float  # when to call next, seconds from now
    link_port: int  # where the link listens on the gateway's host; 0: no link
    config: ConfigDocument | None = None
    jobs: tuple[str, ...] = ()  # ids of the jobs that wait
    refused: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Birth:
    """First message on a link: who is there. `connection` grows with each connection of the device."""

    version: int
    connection: int
    t_us: int
    boot_id: str
    agent_version: str


@dataclass(frozen=True, slots=True)
class Will:
    """Left with the broker at connect and published when the link dies; stale if a newer birth has come."""

    connection: int


@dataclass(frozen=True, slots=True)
class Watch:
    """Somebody is looking: send readings as they come for this long."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Live:
    """Readings as they come, while watched; they also go through the buffer, this is for eyes only."""

    readings: tuple[Newest, ...]
