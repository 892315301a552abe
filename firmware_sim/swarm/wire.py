"""The messages of a device, written by hand from the published contract (docs/reference/wire.md), and acks read back.

Nothing of the agent's codec is used: a mistake in one of them does not hide in the other. A batch is gzip of JSON that
is joined from pieces; an ack is JSON.
"""

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

VERSION = 1
AGENT_VERSION = "swarm"
STEADY_BATCH_BYTES = 64 * 1024
BACKLOG_BATCH_BYTES = 512 * 1024
MAX_SEGMENTS = 4096
MAX_BATCH_BYTES = 1_000_000
CONTENT_TYPE = "application/vnd.fieldline.batch+gzip"
SYNC_PATH = "/v1/sync"
GZIP = 31  # zlib's window bits for a gzip member
GZIP_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Reported:
    """The config that a device runs: the last revision it was given, and its SHA-256."""

    revision: int = 0
    hash: str = ""

    def __str__(self) -> str:
        outcome = "applied" if self.revision else "seeded"
        return (
            f'{{"handled":{self.revision},"outcome":"{outcome}","applied":{self.revision},'
            f'"applied_hash":"{self.hash}","reason":""}}'
        )


class Ack(NamedTuple):
    """What of an ack a device acts on."""

    batch: str
    acked_seq: int | None
    next_s: float
    link_port: int
    config: Reported | None  # the document that it brings, as the device will report it
    quarantined: bool
    refused: str  # why, "" if it was not


def batch(  # noqa: PLR0913 - the fields of a batch
    *,
    store_id: str,
    boot_id: str,
    lane: str,
    prev_seq: int,
    sent_us: int,
    reported: Reported,
    rows: Sequence[str] = (),
    newest: str = "",
    health: str = "",
    level: int = GZIP_LEVEL,
) -> bytes:
    """Return a batch as it is sent; `rows`, `newest` and `health` are JSON texts."""
    extra = f',"newest":[{newest}]' if newest else ""
    if health:
        extra += f',"health":{health}'
    if rows:
        extra += f',"{"segments" if lane == "telemetry" else "events"}":[{",".join(rows)}]'
    text = (
        f'{{"version":1,"store_id":"{store_id}","lane":"{lane}","prev_seq":{prev_seq},"sent_us":{sent_us},'
        f'"boot_id":"{boot_id}","agent_version":"{AGENT_VERSION}","clock":"synced","reported":{reported}{extra}}}'
    )
    return zlib.compress(text.encode(), level, GZIP)


def started_event(seq: int, t_us: int, boot_id: str) -> str:
    """Return the event that a device's agent has started, as the JSON text of a row of the events lane."""
    return (
        f'{{"seq":{seq},"t_us":{t_us},"boot_id":"{boot_id}","mono_us":0,"clock":"synced","kind":"agent.started",'
        f'"subject":"","text":"The agent of the swarm started."}}'
    )


def health(*, t_us: int, uptime_s: int, rows: int) -> str:
    """Return a health record as JSON text, as small as an agent's that has one source."""
    return (
        f'{{"t_us":{t_us},"uptime_s":{uptime_s},"rss_bytes":41000000,"buffer_rows":{rows},"buffer_bytes":{rows * 900},'
        f'"buffer_oldest_us":0,'
        f'"cert_expires_us":{t_us + 60 * 86_400_000_000},"sources":[{{"name":"board","connected":true,'
        f'"readings":{rows},"errors":0,"last_us":{t_us},"detail":""}}]}}'
    )


def birth(connection: int, t_us: int, boot_id: str) -> bytes:
    """Return the first message on a link."""
    return (
        f'{{"version":1,"connection":{connection},"t_us":{t_us},"boot_id":"{boot_id}",'
        f'"agent_version":"{AGENT_VERSION}"}}'
    ).encode()


def will(connection: int) -> bytes:
    """Return what the broker is to say when the link dies."""
    return f'{{"connection":{connection}}}'.encode()


def batch_id(payload: bytes) -> str:
    """Name of a batch: the first 16 hex digits of the SHA-256 of its bytes as sent."""
    return hashlib.sha256(payload).hexdigest()[:16]


def read_ack(data: bytes) -> Ack:
    """Read an ack; raises ValueError where it is none."""
    try:
        told = json.loads(data)
        refused = told.get("refused")
        return Ack(
            batch=told["batch"],
            acked_seq=told["acked_seq"],
            next_s=float(told["next_s"]),
            link_port=told["link_port"],
            config=_reported(told["config"]) if told.get("config") else None,
            quarantined=bool(refused and refused["quarantined"]),
            refused=f"{refused['place']}: {refused['problem']}" if refused else "",
        )
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"not an ack: {error!r}"
        raise ValueError(msg) from error


def read_config(data: bytes) -> Reported:
    """Return what a device reports once it runs this config document; raises ValueError where it is none."""
    try:
        return _reported(json.loads(data))
    except (KeyError, TypeError) as error:
        msg = f"not a config document: {error!r}"
        raise ValueError(msg) from error


def _reported(told: dict[str, Any]) -> Reported:
    return Reported(int(told["revision"]), str(told["hash"]))
