"""What many ordinary batches change, gathered, and written with one statement a table.

Of several batches of one device only the last mark, the last latest values and the last call are written.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from agent.wire.messages import Batch, Lane, Reported
from fleet.core.event import Event
from fleet.core.intake import Effects, Mark, Standing, span_of
from fleet.core.latest import Entry
from fleet.core.presence import Facts, Presence
from fleet.store import event, intake, reported
from fleet.store import latest as store_latest
from fleet.store.bulk import insert_all, upsert_all
from fleet.store.presence import online
from fleet.store.schema import batch, latest, mark, presence

_BATCH = (
    "device_id",
    "store_id",
    "first_seq",
    "last_seq",
    "from_us",
    "to_us",
    "readings",
    "received_us",
    "body",
)
_MARK = ("device_id", "store_id", "lane", "seq", "t_us")
_MARK_KEY = ("device_id", "store_id", "lane")
_LATEST = ("device_id", "body")
_PRESENCE = ("device_id", "last_seen_us", "next_s", "boot_id", "health", "link_up", "state", "since_us")
_KEY = ("device_id",)


class Gathered:
    """Ordinary batches on their way into the tables."""

    def __init__(self) -> None:
        self._batches: list[tuple[object, ...]] = []
        self._marks: dict[tuple[str, str, Lane], Mark] = {}
        self._latest: dict[str, dict[str, Entry]] = {}
        self._heard: dict[str, tuple[object, ...]] = {}
        self._back: dict[str, Event] = {}  # devices that are there again, or for the first time, and what tells so
        self._agents: dict[str, str] = {}  # releases of agents that are new
        self._reported: list[tuple[str, Reported, int]] = []

    def add(  # noqa: PLR0913 - one batch
        self,
        standing: Standing,
        told: Batch,
        effects: Effects,
        body: bytes,
        *,
        received_us: int,
        next_s: int,
        health_json: str | None,
    ) -> None:
        """Take one batch in, and bring its device's standing to where it will be."""
        device_id = standing.device_id
        if effects.mark is not None:
            span = span_of(effects.rows)
            self._batches.append(
                (
                    device_id,
                    told.store_id,
                    span.first_seq,
                    span.last_seq,
                    span.from_us,
                    span.to_us,
                    span.readings,
                    received_us,
                    body,
                )
            )
            self._marks[device_id, told.store_id, told.lane] = effects.mark
            standing.marks[told.store_id, told.lane] = effects.mark
        if effects.latest is not None:
            self._latest[device_id] = effects.latest
            standing.latest = effects.latest
        if health_json is None and device_id in self._heard:
            health_json = self._heard[device_id][4]  # type: ignore[assignment] # of an earlier batch
        facts = standing.facts
        if facts is None or facts.announced is not Presence.ONLINE:
            link_up = facts is not None and facts.link_up
            facts = standing.facts = Facts(received_us, next_s, link_up, Presence.ONLINE, received_us)
            self._back[device_id] = online(device_id, received_us)
        state = (facts.link_up, facts.announced.value, facts.since_us)
        self._heard[device_id] = (device_id, received_us, next_s, told.boot_id, health_json, *state)
        if told.agent_version != standing.agent_version:
            self._agents[device_id] = standing.agent_version = told.agent_version
        if told.reported != standing.reported:
            self._reported.append((device_id, told.reported, received_us))
            standing.reported = told.reported

    def write(self, conn: Connection) -> None:
        """Write what was gathered, and be empty again."""
        insert_all(conn, batch, _BATCH, self._batches)
        marks = [(*key[:2], key[2].value, one.seq, one.t_us or 0) for key, one in self._marks.items()]
        upsert_all(conn, mark, _MARK_KEY, _MARK, marks)
        upsert_all(
            conn, latest, _KEY, _LATEST, [(one, store_latest.dump(known)) for one, known in self._latest.items()]
        )
        back = [row for device_id, row in self._heard.items() if device_id in self._back]
        there = [row for device_id, row in self._heard.items() if device_id not in self._back]
        upsert_all(conn, presence, _KEY, _PRESENCE, back, keep=("link_up",))
        upsert_all(conn, presence, _KEY, _PRESENCE, there, keep=("link_up", "state", "since_us"))
        event.append_all(conn, list(self._back.values()))
        for device_id, agent_version in self._agents.items():
            intake.note_agent(conn, device_id, agent_version)
        for device_id, said, received_us in self._reported:
            # Dated by the server: a device whose clock was set back in between must not be taken for outdated.
            reported.record(conn, device_id, said, t_us=received_us, received_us=received_us)
        gathered: Sequence[Any] = (self._batches, self._marks, self._latest, self._heard)
        for each in (*gathered, self._back, self._agents, self._reported):
            each.clear()
