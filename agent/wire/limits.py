"""Every bound of the contract, with its unit.

The device keeps to these when it builds a message; the server refuses whatever exceeds them. A limit may be
raised by a later version, never lowered.
"""

MAX_BATCH_BYTES = 1_000_000  # bytes of a batch as sent (gzip); below the broker's 1 MiB payload limit
MAX_BATCH_RAW_BYTES = 8 * 1024 * 1024  # bytes of a batch after gunzip: a bomb is refused here
STEADY_BATCH_BYTES = 64 * 1024  # bytes of rows that one batch aims at in the steady state, before gzip
BACKLOG_BATCH_BYTES = 512 * 1024  # bytes of rows that one batch aims at while a backlog drains, before gzip
MAX_ROW_BYTES = 256 * 1024  # bytes of one segment or event, before gzip: any row fits a batch

MAX_SEGMENTS = 4096  # segments in a batch
MAX_SERIES = 256  # series in a segment, or in a snapshot
MAX_READINGS = 4096  # readings of one series in a segment
MAX_BATCH_READINGS = 2**18  # readings in a batch: BACKLOG_BATCH_BYTES hold half as many at the shortest
MAX_EVENTS = 1024  # device events in a batch
MAX_SOURCES = 64  # sources in a health record
MAX_THROTTLING = 16  # things that slow the processor, in a health record
MAX_SLAVES = 64  # slaves of one source in a health record
MAX_LOG_LINES = 64  # of the agent's log with an alarm
MAX_LOG_CHARS = 8192  # of all of them together
MAX_GAUGE = 1e9  # a figure of a health record, either side of 0
MAX_JOBS = 64  # waiting jobs named in one ack

MAX_NAME_CHARS = 128  # series, rule, source, event kind
MAX_UNIT_CHARS = 32  # UCUM unit
MAX_TEXT_CHARS = 1024  # a sentence for a person
MAX_VALUE_CHARS = 256  # a reading whose value is text
MAX_CONFIG_BYTES = 256 * 1024  # bytes of a config document, UTF-8
MAX_DEVICE_CHARS = 64  # device id

MIN_TIME_US = 0  # 1970-01-01T00:00:00Z
MAX_TIME_US = 4_102_444_800_000_000  # 2100-01-01T00:00:00Z
MAX_AHEAD_S = 3600  # seconds a reading may lie in the server's future before its batch is quarantined
MAX_SEQ = 2**63 - 1
MAX_INTEGER = 2**63 - 1  # a reading's integer fits 64 bits, signed
MAX_NEXT_S = 86_400  # seconds the server may ask a device to wait before its next call
MAX_PORT = 65_535  # of TCP
