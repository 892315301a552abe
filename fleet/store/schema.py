"""The tables, one a noun. SQL that runs on SQLite and PostgreSQL alike; constraints live here, not in the code.

All times are integer UTC microseconds (`_us`). Ids of devices, products, customers are text; the rest are integers
that only grow. The schema is what all migrations together make; a test holds the two equal. That PostgreSQL keeps
`chunk` and `rollup` in parts by time is told by fleet/core/partition.py and shows nowhere but in retention.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

REVISION = "0009"  # of the newest migration, which makes what stands here

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# SQLite gives a growing rowid only to INTEGER; PostgreSQL wants 64 bits said.
_Id = BigInteger().with_variant(Integer, "sqlite")


def _device_key(*, primary: bool = False) -> Column[str]:
    return Column("device_id", String(64), ForeignKey("device.id"), primary_key=primary, nullable=False)


product = Table(
    "product",
    metadata,
    Column("id", String(64), primary_key=True),  # the model that is sold: "freezer"
    Column("created_us", BigInteger, nullable=False),
)

customer = Table(
    "customer",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(256), nullable=False),  # what people read
    Column("external_id", String(128), unique=True),  # what an ERP or CRM calls it
    Column("created_us", BigInteger, nullable=False),
)

device = Table(
    "device",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("product_id", String(64), ForeignKey("product.id"), nullable=False),
    Column("serial", String(128), nullable=False, server_default=""),  # the machine's own, on its plate
    Column("site", String(256), nullable=False, server_default=""),
    Column("created_us", BigInteger, nullable=False),
    Column("enrolled_us", BigInteger),
    Column("revoked_us", BigInteger),
    Column("agent_version", String(128), nullable=False, server_default=""),
    Column("customer_id", String(64), ForeignKey("customer.id")),  # whose it is now; NULL: nobody's
    Index("ix_device_customer_id", "customer_id"),
    Index("ix_device_product_id", "product_id"),
    Index("ix_device_serial", "serial"),
)

presence = Table(  # facts; online, late, offline and never are computed from them
    "presence",
    metadata,
    _device_key(primary=True),
    Column("last_seen_us", BigInteger, nullable=False),  # received time of anything from the device
    Column("next_s", Integer, nullable=False),  # when it was told to call next
    Column("connection", BigInteger, nullable=False, server_default="0"),  # number of its newest link
    Column("link_up", Boolean, nullable=False),
    Column("link_ended_us", BigInteger),  # when the newest link that ended did so
    Column("boot_id", String(64), nullable=False, server_default=""),
    Column("health", Text),  # newest wire Health, JSON
    Column("state", String(16), nullable=False),  # as last announced in an event
    Column("since_us", BigInteger, nullable=False),  # when it took that state
)

claim = Table(
    "claim",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("secret_hash", String(64), nullable=False, unique=True),  # SHA-256, hex
    Column("product_id", String(64), ForeignKey("product.id"), nullable=False),
    Column("device_id", String(64), nullable=False),  # the id that the device will have
    Column("serial", String(128), nullable=False, server_default=""),
    Column("site", String(256), nullable=False, server_default=""),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("used_us", BigInteger),
    Column("revoked_us", BigInteger),
    Column("key_hash", String(64)),  # SHA-256 of the public key that used it: a lost answer may be asked for again
)

certificate = Table(
    "certificate",
    metadata,
    Column("fingerprint", String(64), primary_key=True),  # SHA-256 of the DER, hex
    _device_key(),
    Column("serial_number", String(64), nullable=False),  # hex
    Column("not_before_us", BigInteger, nullable=False),
    Column("not_after_us", BigInteger, nullable=False),
    Column("revoked_us", BigInteger),
    Index("ix_certificate_device_id", "device_id"),
)

mark = Table(  # highest seq committed, a store and lane: exactly once hangs on this row
    "mark",
    metadata,
    _device_key(primary=True),
    Column("store_id", String(128), primary_key=True),
    Column("lane", String(16), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("t_us", BigInteger, nullable=False),  # newest event time stored, so that a hole can be dated
)

batch = Table(  # telemetry as it came; rows of `body` outside first_seq…last_seq are duplicates to be skipped
    "batch",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    _device_key(),
    Column("store_id", String(128), nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("from_us", BigInteger, nullable=False),
    Column("to_us", BigInteger, nullable=False),
    Column("readings", Integer, nullable=False),
    Column("received_us", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),  # gzip JSON
    Index("ix_batch_device_id_to_us", "device_id", "to_us"),
)

chunk = Table(  # telemetry once it is sealed: readings of one sensor within one UTC day; chunks do not overlap
    "chunk",
    metadata,
    _device_key(primary=True),
    Column("sensor", String(128), primary_key=True),  # what stands before the first dot of its series' names
    Column("from_us", BigInteger, primary_key=True),
    Column("part", Integer, primary_key=True),  # 0; more only where one microsecond fills several chunks
    Column("to_us", BigInteger, nullable=False),
    Column("rows", Integer, nullable=False),  # of its longest series
    Column("readings", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),  # docs/reference/chunk.md
)

rollup = Table(  # 96 windows of one series: a day of 15 minutes, or 96 days
    "rollup",
    metadata,
    _device_key(primary=True),
    Column("series", String(128), primary_key=True),
    Column("step_s", Integer, primary_key=True),  # length of a window
    Column("from_us", BigInteger, primary_key=True),
    Column("body", LargeBinary, nullable=False),  # docs/reference/chunk.md
)

seal = Table(  # how far a device's telemetry is sealed, and what of it is still kept
    "seal",
    metadata,
    _device_key(primary=True),
    Column("turn", BigInteger, nullable=False),  # grows whenever chunks or rollups of the device change
    Column("sealed_us", BigInteger, nullable=False),  # when batches were sealed last
    Column("raw_from_us", BigInteger, nullable=False),  # no readings from before it are kept …
    Column("quarter_from_us", BigInteger, nullable=False),  # … no windows of 15 minutes …
    Column("day_from_us", BigInteger, nullable=False),  # … no days
)

retention = Table(  # how long telemetry is kept, where somebody has said so
    "retention",
    metadata,
    Column("product_id", String(64), primary_key=True),  # "": of all products that have none of their own
    Column("kept", String(16), primary_key=True),  # readings, 15min, 1day
    Column("days", Integer, nullable=False),
    Column("author", String(128), nullable=False),
    Column("set_us", BigInteger, nullable=False),
)

latest = Table(  # newest reading of each series, one row a device
    "latest",
    metadata,
    _device_key(primary=True),
    Column("body", Text, nullable=False),  # {series: [t_us, v, unit]}
)

gap = Table(  # readings or events that existed and will not come
    "gap",
    metadata,
    _device_key(primary=True),
    Column("store_id", String(128), primary_key=True),
    Column("lane", String(16), primary_key=True),
    Column("from_seq", BigInteger, primary_key=True),
    Column("to_seq", BigInteger, nullable=False),
    Column("from_us", BigInteger, nullable=False),
    Column("to_us", BigInteger, nullable=False),
    Column("count", BigInteger),  # NULL: the device never said
    Column("reason", String(1024), nullable=False),
    Column("received_us", BigInteger, nullable=False),
    Index("ix_gap_device_id_to_us", "device_id", "to_us"),
)

quarantine = Table(  # what could not be read, bytes and all
    "quarantine",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    _device_key(),
    Column("received_us", BigInteger, nullable=False),
    Column("road", String(16), nullable=False),  # link, gateway
    Column("place", String(256), nullable=False),
    Column("problem", String(1024), nullable=False),
    Column("batch", String(64), nullable=False),  # batch_id of the bytes: the same ones are kept once
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("device_id", "batch"),
    Index("ix_quarantine_device_id", "device_id", "id"),
)

TRANSFERRED = "device.transferred"  # kind of the events that say whose a device was

event = Table(  # the second waist: all that happens, once, in the transaction that made it so
    "event",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("t_us", BigInteger, nullable=False),  # event time
    Column("received_us", BigInteger, nullable=False),
    Column("kind", String(128), nullable=False),  # "<noun>.<verb in the past>"
    Column("device_id", String(64)),
    Column("noun", String(32), nullable=False),  # what it is about …
    Column("noun_id", String(128), nullable=False),  # … and which one
    Column("actor", String(128), nullable=False),  # user:…, device:…, fleet
    Column("origin", String(16), nullable=False),  # console, cli, api, device, automation
    Column("text", String(2048), nullable=False),  # one sentence for a person
    Column("data", Text, nullable=False),  # JSON object, by kind
    Index("ix_event_device_id_t_us", "device_id", "t_us"),
    Index("ix_event_noun_noun_id", "noun", "noun_id"),
    Index(
        "ix_event_transferred",
        "device_id",
        "id",
        sqlite_where=text(f"kind = '{TRANSFERRED}'"),
        postgresql_where=text(f"kind = '{TRANSFERRED}'"),
    ),
)

rule_state = Table(  # memory of the fleet's rules: a restart loses no running hold
    "rule_state",
    metadata,
    _device_key(primary=True),
    Column("body", Text, nullable=False),  # {rule: {series: RuleState}}
)

alarm = Table(
    "alarm",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    _device_key(),
    Column("series", String(128), nullable=False),
    Column("rule", String(128), nullable=False),
    Column("origin", String(16), nullable=False),  # edge, fleet
    Column("severity", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("condition", String(1024), nullable=False),
    Column("value", Text, nullable=False),  # JSON scalar: the reading that completed the last change
    Column("first_bad_us", BigInteger, nullable=False),
    Column("raised_us", BigInteger, nullable=False),
    Column("changed_us", BigInteger, nullable=False),
    Column("received_us", BigInteger, nullable=False),
    Column("cleared_us", BigInteger),
    Column("count", Integer, nullable=False),  # times raised since it opened
    Column("acked_us", BigInteger),
    Column("acked_by", String(128)),
    Index(
        "uq_alarm_open",
        "device_id",
        "series",
        "rule",
        unique=True,
        sqlite_where=text("state != 'cleared'"),
        postgresql_where=text("state != 'cleared'"),
    ),
    Index("ix_alarm_state", "state"),
    Index("ix_alarm_device_id", "device_id", "series", "rule"),
)

ticket = Table(
    "ticket",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    _device_key(),
    Column("alarm_id", _Id, ForeignKey("alarm.id")),
    Column("correlation", String(512), nullable=False),  # device + series + symptom: one open ticket each
    Column("title", String(512), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(32), nullable=False, server_default=""),  # of on_hold and canceled
    Column("resume_state", String(16), nullable=False, server_default=""),  # where on_hold and verifying go back to
    Column("assignee", String(128), nullable=False, server_default=""),
    Column("first_bad_us", BigInteger, nullable=False),  # the service clock starts here
    Column("opened_us", BigInteger, nullable=False),
    Column("changed_us", BigInteger, nullable=False),
    Column("verify_until_us", BigInteger),  # while verifying: good signal until then resolves it
    Column("evidence", Text, nullable=False),  # JSON, frozen when the ticket was opened
    Column("evidence_due_us", BigInteger),  # when its window has passed and its readings are taken anew; then NULL
    Index(
        "uq_ticket_open",
        "correlation",
        unique=True,
        sqlite_where=text("state NOT IN ('resolved', 'closed', 'canceled')"),
        postgresql_where=text("state NOT IN ('resolved', 'closed', 'canceled')"),
    ),
    Index("ix_ticket_state", "state"),
    Index("ix_ticket_evidence_due_us", "evidence_due_us"),
    Index("ix_ticket_device_id", "device_id"),
)

note = Table(  # internal notes; no query that leaves the company joins this table
    "note",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("ticket_id", _Id, ForeignKey("ticket.id"), nullable=False),
    Column("t_us", BigInteger, nullable=False),
    Column("author", String(128), nullable=False),
    Column("text", Text, nullable=False),
    Index("ix_note_ticket_id", "ticket_id"),
)

config = Table(  # documents as they were set; the id is the revision
    "config",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("scope", String(16), nullable=False),  # product, device: a device's own wins
    Column("target", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("toml", Text, nullable=False),
    Column("author", String(128), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("unset_us", BigInteger),  # of a device: when it was told to follow its product again
    Index("ix_config_scope_target", "scope", "target", "id"),
)

reported = Table(  # what each device says of its config
    "reported",
    metadata,
    _device_key(primary=True),
    Column("handled", BigInteger, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("applied", BigInteger, nullable=False),
    Column("applied_hash", String(64), nullable=False),
    Column("reason", String(1024), nullable=False),
    Column("t_us", BigInteger, nullable=False),
)

token = Table(
    "token",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("name", String(128), nullable=False),  # who acts: becomes the actor of events
    Column("hash", String(64), nullable=False, unique=True),  # SHA-256 of the token, hex
    Column("scope", String(16), nullable=False),  # admin, technician, read
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("revoked_us", BigInteger),
)

node = Table(  # the servers that share this database
    "node",
    metadata,
    Column("address", String(256), primary_key=True),  # host:port of its broker, for the other nodes
    Column("holder", String(64), nullable=False),  # its name in leases
    Column("version", String(64), nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("seen_us", BigInteger, nullable=False),
)

authority = Table(  # the root that devices trust: one row
    "authority",
    metadata,
    Column("fingerprint", String(64), primary_key=True),  # SHA-256 of the DER, hex
    Column("certificate", Text, nullable=False),  # PEM
    Column("sealed_key", LargeBinary),  # where nodes share it: nonce and ciphertext of the cluster key
    Column("created_us", BigInteger, nullable=False),
)

lease = Table(  # who does the periodic work
    "lease",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("until_us", BigInteger, nullable=False),
)
