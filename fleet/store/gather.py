"""What many ordinary batches, births and wills change, gathered, and written with one statement a table.

Of several batches of one device only the last mark, the last latest values and the last call are written.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from agent.wire.messages import Batch, Birth, Lane, Reported, Will
from fleet.core.event import Event
from fleet.core.intake import Effects, Mark, Standing, span_of
from fleet.core.latest import Entry
from fleet.core.presence import Facts, Presence, is_stale
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
_PRESENCE = (
    "device_id",
    "last_seen_us",
    "next_s",
    "health",
    "link_up",
    "state",
    "since_us",
    "connection",
    "boot_id",
    "link_ended_us",
)
_KEY = ("device_id",)


class Gathered:
    """Ordinary batches, births and wills on their way into the tables."""

    def __init__(self) -> None:
        self._batches: list[tuple[object, ...]] = []
        self._marks: dict[tuple[str, str, Lane], Mark] = {}
        self._latest: dict[str, dict[str, Entry]] = {}
        self._heard: dict[str, tuple[Facts, str | None]] = {}  # facts and health
        self._events: list[Event] = []
        self._agents: dict[str, str] = {}  # releases of agents that are new
        self._reported: list[tuple[str, Reported, int]] = []

    def add(  # noqa: PLR0913 - one batch
        self,
        standing: Standing,
        told: Batch,
        effects: Effects,
        body: bytes,
        *,
        events: Sequence[Event],
        received_us: int,
        next_s: int,
        health_json: str | None,
    ) -> None:
        """Take one batch in, and bring its device's standing to where it will be. `events`: its rows of that lane."""
        device_id = standing.device_id
        if effects.mark is not None:
            self._marks[device_id, told.store_id, told.lane] = effects.mark
            standing.marks[told.store_id, told.lane] = effects.mark
            self._events += events
            if told.lane is Lane.TELEMETRY:
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
        if effects.latest is not None:
            self._latest[device_id] = effects.latest
            standing.latest = effects.latest
        self._hear(standing, told, received_us=received_us, next_s=next_s, health_json=health_json)
        self._note_agent(standing, told.agent_version)
        if told.reported != standing.reported:
            self._reported.append((device_id, told.reported, received_us))
            standing.reported = told.reported

    def birth(self, standing: Standing, told: Birth, *, received_us: int, next_s: int) -> None:
        """Take in that a link came up; a birth older than the link that is known does not count."""
        if standing.facts is None or not is_stale(told.connection, told.boot_id, standing.facts):
            self._hear(standing, told, received_us=received_us, next_s=next_s, health_json=None)
        self._note_agent(standing, told.agent_version)

    def will(self, standing: Standing, told: Will, *, received_us: int) -> None:
        """Take in that a link ended; a will of an older link does not count."""
        facts = standing.facts
        if facts is not None and facts.connection == told.connection and facts.link_up:
            standing.facts = replace(facts, link_up=False, link_ended_us=received_us)
            health_json = self._heard.get(standing.device_id, (None, None))[1]
            self._heard[standing.device_id] = (standing.facts, health_json)

    def _hear(
        self, standing: Standing, told: Batch | Birth, *, received_us: int, next_s: int, health_json: str | None
    ) -> None:
        """Note that the device was heard, and on a birth that it has a new link."""
        device_id, before = standing.device_id, standing.facts or _UNHEARD
        since_us = before.since_us
        if before.announced is not Presence.ONLINE:
            since_us = received_us
            self._events.append(online(device_id, received_us))
        link = (True, told.connection) if isinstance(told, Birth) else (before.link_up, before.connection)
        standing.facts = Facts(
            last_seen_us=received_us,
            next_s=next_s,
            link_up=link[0],
            announced=Presence.ONLINE,
            since_us=since_us,
            connection=link[1],
            boot_id=told.boot_id,
            link_ended_us=before.link_ended_us,
        )
        if health_json is None and device_id in self._heard:
            health_json = self._heard[device_id][1]  # of an earlier batch
        self._heard[device_id] = (standing.facts, health_json)

    def _note_agent(self, standing: Standing, agent_version: str) -> None:
        if agent_version != standing.agent_version:
            self._agents[standing.device_id] = standing.agent_version = agent_version

    def write(self, conn: Connection) -> None:
        """Write what was gathered, and be empty again."""
        insert_all(conn, batch, _BATCH, self._batches)
        marks = [(*key[:2], key[2].value, one.seq, one.t_us or 0) for key, one in self._marks.items()]
        upsert_all(conn, mark, _MARK_KEY, _MARK, marks)
        latest_rows = [(one, store_latest.dump(known)) for one, known in self._latest.items()]
        upsert_all(conn, latest, _KEY, _LATEST, latest_rows)
        upsert_all(conn, presence, _KEY, _PRESENCE, [_row(one, *heard) for one, heard in self._heard.items()])
        event.append_all(conn, self._events)
        for device_id, agent_version in self._agents.items():
            intake.note_agent(conn, device_id, agent_version)
        for device_id, said, received_us in self._reported:
            # Dated by the server: a device whose clock was set back in between must not be taken for outdated.
            reported.record(conn, device_id, said, t_us=received_us, received_us=received_us)
        gathered: Sequence[Any] = (self._batches, self._marks, self._latest, self._heard)
        for each in (*gathered, self._events, self._agents, self._reported):
            each.clear()


_UNHEARD = Facts(last_seen_us=0, next_s=0, link_up=False, announced=Presence.NEVER, since_us=0)


def _row(device_id: str, facts: Facts, health_json: str | None) -> tuple[object, ...]:
    """Return a row of presence. The device is locked, so what its facts said when they were read is still so."""
    state = (facts.link_up, facts.announced.value, facts.since_us, facts.connection, facts.boot_id, facts.link_ended_us)
    return device_id, facts.last_seen_us, facts.next_s, health_json, *state
