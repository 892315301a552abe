"""Ingest on a real database: exactly once, nothing lost silently, hostile bytes answered, facts noted."""

import asyncio
import gzip
import hashlib
import json
import os
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from batches import SEEDED, STEP_US, T0_US, event, events, segment, telemetry
from fleets import DEVICE, Fleet, a_fleet, add_device
from sqlalchemy import Connection

from agent.wire.codec import batch_id
from agent.wire.messages import (
    AlarmChange,
    AlarmState,
    Birth,
    Clock,
    ConfigOutcome,
    Gap,
    Health,
    Lane,
    Newest,
    Reported,
    Severity,
    Will,
)
from fleet.core.actor import FLEET
from fleet.core.presence import LATE_GRACE_S, Presence
from fleet.errors import Busy, NotFound, Refused
from fleet.gateway import ingest
from fleet.jobs.presence import announce
from fleet.store import alarm, config, device, gap, latest, presence, quarantine
from fleet.store.config import Target
from fleet.store.gap import FOUND, KeptGap

pytest_plugins = ("databases",)

T = TypeVar("T")
YEAR_US = 365 * 86_400_000_000


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


async def gaps(fleet: Fleet) -> list[KeptGap]:
    return await fleet.db.read(lambda conn: gap.page(conn, DEVICE))


# Exactly once.


def test_a_batch_is_stored_and_acked_with_its_last_seq(database_url: str):
    payload = telemetry([segment(1, [1.5, 2]), segment(2, [None, "x"])])

    async def story() -> tuple[Any, list[Any]]:
        async with a_fleet(database_url) as fleet:
            return await fleet.take(payload), await fleet.readings()

    ack, readings = run(story())

    assert (ack.batch, ack.acked_seq, ack.refused) == (batch_id(payload), 2, None)
    assert (ack.next_s, ack.link_port) == (5.0, 8883)
    first, second = T0_US + STEP_US, T0_US + 2 * STEP_US
    assert readings == [(first, 1.5), (first + 1000, 2), (second, None), (second + 1000, "x")]
    assert [type(value) for _, value in readings] == [float, int, type(None), str]


def test_the_same_batch_at_once_over_both_roads_is_stored_once(database_url: str):
    payloads = [telemetry([segment(n, [float(n)])]) for n in range(1, 21)]

    async def story() -> list[object]:
        async with a_fleet(database_url) as fleet:
            for payload in payloads:
                roads = ("link", "gateway") * 3
                acks = await asyncio.gather(*(fleet.take(payload, road=road) for road in roads))
                assert len({ack.acked_seq for ack in acks}) == 1
            return await fleet.values()

    assert run(story()) == [float(n) for n in range(1, 21)]


def test_two_nodes_that_take_the_same_batches_store_them_once(postgresql_url: str):
    payloads = [telemetry([segment(n, [float(n)])], prev_seq=0) for n in range(1, 11)]

    async def story() -> tuple[list[object], list[KeptGap]]:
        async with a_fleet(postgresql_url) as one, a_fleet(postgresql_url, devices=()) as other:
            for payload in payloads:
                acks = await asyncio.gather(*(node.take(payload) for node in (one, other) * 4))
                assert len({ack.acked_seq for ack in acks}) == 1
            return await one.values(), await gaps(one)

    values, holes = run(story())

    assert values == [float(n) for n in range(1, 11)]
    assert holes == []


def test_rows_that_are_known_are_skipped_and_new_ones_stored(database_url: str):
    rows = [segment(n, [float(n)]) for n in range(1, 8)]

    async def story() -> tuple[list[Any], list[object]]:
        async with a_fleet(database_url) as fleet:
            acks = [
                await fleet.take(telemetry(rows[0:4])),
                await fleet.take(telemetry(rows[2:6])),
                await fleet.take(telemetry(rows[0:3])),
                await fleet.take(telemetry(rows[5:7])),
            ]
            return [ack.acked_seq for ack in acks], await fleet.values()

    assert run(story()) == ([4, 6, 6, 7], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])


def test_lanes_and_stores_have_marks_of_their_own(database_url: str):
    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            return [
                (await fleet.take(telemetry([segment(1, [1.0])]))).acked_seq,
                (await fleet.take(events([event(1), event(2)]))).acked_seq,
                (await fleet.take(telemetry([segment(1, [2.0])], store_id="after-a-new-disk"))).acked_seq,
                await fleet.values(),
            ]

    assert run(story()) == [1, 2, 1, [1.0, 2.0]]


def test_a_server_that_is_behind_stores_nothing_and_says_where_it_stands(database_url: str):
    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(telemetry([segment(1, [1.0])]))
            ahead = await fleet.take(telemetry([segment(9, [9.0])]))
            return [ahead.acked_seq, ahead.refused, await fleet.values(), await gaps(fleet)]

    assert run(story()) == [1, None, [1.0], []]


def test_an_empty_batch_is_acked_with_the_mark(database_url: str):
    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            first = await fleet.take(telemetry([], prev_seq=0))
            await fleet.take(telemetry([segment(1, [1.0])]))
            return [first.acked_seq, (await fleet.take(telemetry([], prev_seq=1))).acked_seq]

    assert run(story()) == [0, 1]


# Holes and gaps.


def test_a_hole_that_nobody_explained_is_kept_as_a_gap_and_told(database_url: str):
    async def story() -> tuple[list[KeptGap], list[Any]]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(telemetry([segment(1, [1.0])]))
            await fleet.take(telemetry([segment(5, [5.0]), segment(8, [8.0])], prev_seq=1))
            return await gaps(fleet), await fleet.events("gap.recorded")

    kept, told = run(story())

    assert [(one.from_seq, one.to_seq, one.count, one.reason) for one in kept] == [
        (2, 4, None, FOUND),
        (6, 7, None, FOUND),
    ]
    assert [(one.from_us, one.to_us) for one in kept] == [
        (T0_US + 1 * STEP_US, T0_US + 5 * STEP_US),
        (T0_US + 5 * STEP_US, T0_US + 8 * STEP_US),
    ]
    assert [one.device_id for one in told] == [DEVICE, DEVICE]


GAP = Gap(Lane.TELEMETRY, 2, 4, T0_US + STEP_US, T0_US + 4 * STEP_US, 30, "the disk budget was spent")


@pytest.mark.parametrize("explained_first", [True, False])
@pytest.mark.parametrize("kind", ["gap.recorded", "batch.quarantined"])
def test_what_the_device_explains_wins_over_what_was_found_whichever_comes_first(
    database_url: str, kind: str, *, explained_first: bool
):
    explanation = events([event(1, kind, gap=GAP)])
    after_the_hole = telemetry([segment(7, [7.0])], prev_seq=1)

    async def story() -> list[KeptGap]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(telemetry([segment(1, [1.0])]))
            for payload in (explanation, after_the_hole) if explained_first else (after_the_hole, explanation):
                await fleet.take(payload)
            return await gaps(fleet)

    kept = sorted(run(story()), key=lambda one: one.from_seq)

    assert [(one.from_seq, one.to_seq, one.count) for one in kept] == [(2, 4, 30), (5, 6, None)]
    assert kept[0].reason == "the disk budget was spent"


def test_a_hole_that_its_own_batch_explains_is_no_surprise(database_url: str):
    lost = Gap(Lane.EVENTS, 1, 2, T0_US, T0_US + STEP_US, 2, "the fleet could not read it")

    async def story() -> tuple[list[KeptGap], list[Any]]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(events([event(3, "batch.quarantined", gap=lost)], prev_seq=0))
            return await gaps(fleet), [one.kind for one in await fleet.events("gap.", "batch.")]

    kept, told = run(story())

    assert [(one.from_seq, one.to_seq, one.count) for one in kept] == [(1, 2, 2)]
    assert told == ["batch.quarantined"]


def lost(from_seq: int, to_seq: int) -> Gap:
    return Gap(Lane.TELEMETRY, from_seq, to_seq, T0_US, T0_US, 10, "dropped")


def test_a_batch_of_many_holes_makes_a_few_gaps_of_which_the_last_spans_the_rest(database_url: str):
    async def story() -> tuple[list[KeptGap], list[Any]]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(telemetry([segment(2 * n, [1.0]) for n in range(1, 201)], prev_seq=0))
            return await gaps(fleet), await fleet.events("gap.recorded")

    kept, told = run(story())

    assert [(one.from_seq, one.to_seq) for one in kept] == [(2 * n - 1, 2 * n - 1) for n in range(1, 64)] + [(127, 399)]
    assert {one.reason for one in kept[:-1]} == {FOUND}
    assert kept[-1].reason == "up to 137 of these rows, in 137 holes, never arrived and the device gave no reason"
    assert len(told) == 64
    assert told[-1].text == f"{DEVICE}: 137 of the rows 127…399 of telemetry never arrived."


def test_a_hole_over_a_thousand_explained_gaps_makes_a_few_gaps(database_url: str):
    rows = [event(n, gap=lost(2 * n, 2 * n)) for n in range(1, 1001)]

    async def story() -> tuple[list[KeptGap], list[Any], list[KeptGap]]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(events(rows))
            await fleet.take(telemetry([segment(2**40, [1.0], t0_us=T0_US)], prev_seq=0))
            found = [one for one in await gaps(fleet) if one.count is None]
            told = await fleet.events("gap.recorded")
            # Explained later, beginning where the record over the rest begins, where known gaps do, and behind all.
            await fleet.take(events([event(1001, gap=lost(127, 127)), event(1002, gap=lost(129, 1001))]))
            left = [one for one in await gaps(fleet) if one.count is None]
            return found, told, left

    found, told, left = run(story())

    assert len(found) == len(told) == 64
    assert (found[-1].from_seq, found[-1].to_seq) == (127, 2**40 - 1)
    assert [(one.from_seq, one.to_seq) for one in left[63:]] == [(1003, 2**40 - 1)]


def test_what_is_explained_later_ends_all_holes_that_it_covers(database_url: str):
    async def story() -> list[KeptGap]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(telemetry([segment(2 * n, [1.0]) for n in range(1, 6)], prev_seq=0))
            await fleet.take(events([event(1, gap=lost(2, 6))]))
            return await gaps(fleet)

    kept = [(one.from_seq, one.to_seq, one.count) for one in run(story())]

    assert sorted(kept, key=str) == [(1, 1, None), (2, 6, 10), (7, 7, None), (9, 9, None)]


def test_rows_that_come_after_all_cut_a_gap_into_a_few_parts(database_url: str):
    async def story() -> list[KeptGap]:
        async with a_fleet(database_url) as fleet:
            told = [lost(1, 400), lost(5, 11), lost(300, 2**63 - 1)]
            await fleet.take(events([event(n, gap=gap) for n, gap in enumerate(told, 1)]))
            await fleet.take(telemetry([segment(2 * n, [1.0]) for n in range(1, 201)], prev_seq=0))
            return await gaps(fleet)

    kept = sorted(run(story()), key=lambda one: one.from_seq)

    covered = {seq for one in kept for seq in range(one.from_seq, min(one.to_seq, 402) + 1)}
    assert covered >= {*range(1, 400, 2), 401, 402}
    assert len(kept) < 64 + 4 + 64
    assert kept[-1].to_seq == 2**63 - 1


# Events.


def test_events_of_a_device_are_kept_under_their_kind_with_both_times(database_url: str):
    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(events([event(1, "port.lost"), event(2, "sensor.swapped", text="A new probe.")]))
            return await fleet.events("port.", "sensor.")

    lost, swapped = run(story())

    assert (lost.kind, lost.actor, lost.origin, lost.device_id) == ("port.lost", f"device:{DEVICE}", "device", DEVICE)
    assert (swapped.kind, swapped.text) == ("sensor.swapped", "A new probe.")
    assert lost.t_us == T0_US + STEP_US < lost.received_us
    assert lost.data["seq"] == 1


def test_a_device_cannot_speak_as_the_fleet(database_url: str):
    forged = ["device.revoked", "ticket.closed", "config.set", "token.created", "config.applied"]

    async def story() -> list[str]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(events([event(n, kind) for n, kind in enumerate(forged, 1)]))
            return [one.kind for one in await fleet.events() if one.origin == "device"]

    assert run(story()) == ["said.device.revoked", "said.ticket.closed", "said.config.set", "said.token.created"]


def test_an_alarm_of_the_edge_becomes_an_alarm_of_the_fleet(database_url: str):
    change = AlarmChange(
        "too-warm",
        "board.temp",
        AlarmState.ACTIVE,
        Severity.CRITICAL,
        T0_US,
        ticket=True,
        value=-3.5,
        condition="above -5",
    )

    async def story() -> tuple[Any, list[Any]]:
        async with a_fleet(database_url) as fleet:
            payload = events([event(1, "alarm.changed", alarm=change)])
            await asyncio.gather(*(fleet.take(payload, road=road) for road in ("link", "gateway")))
            return await fleet.db.read(lambda conn: alarm.page(conn, device_id=DEVICE)), await fleet.events("alarm.")

    (raised,), told = run(story())

    assert (raised.rule, raised.series, raised.origin, raised.state) == ("too-warm", "board.temp", "edge", "active")
    assert raised.first_bad_us == T0_US
    assert [one.kind for one in told] == ["alarm.raised"]


# Hostile payloads.


def _gz(value: object) -> bytes:
    return gzip.compress(json.dumps(value).encode())


VALID = json.loads(gzip.decompress(telemetry([segment(1, [1.0, 2.0])])))
BACKWARDS = json.loads(gzip.decompress(telemetry([segment(1, [1.0]), segment(2, [2.0])])))
BACKWARDS["segments"].reverse()

HOSTILE = {
    "nothing": (b"", "$"),
    "random bytes": (hashlib.shake_128(b"7").digest(3000), "$"),
    "gzip of random bytes": (gzip.compress(hashlib.shake_128(b"8").digest(3000)), "$"),
    "half a gzip": (telemetry([segment(1, [1.0])])[:-9], "$"),
    "gzip bomb": (gzip.compress(bytes(64 * 1024 * 1024)), "$"),
    "more than a batch may have": (os.urandom(1_200_000), "$"),
    "not an object": (_gz([1, 2, 3]), "$"),
    "wrong type": (_gz({**VALID, "store_id": 5}), "$.store_id"),
    "wrong type, deep": (_gz({**VALID, "segments": [{**VALID["segments"][0], "seq": "1"}]}), "$.segments[0].seq"),
    "seq backwards": (_gz(BACKWARDS), "$.segments[1].seq"),
    "a NUL in a name": (_gz({**VALID, "store_id": "a\0b"}), "$.store_id"),
    "half a surrogate": (_gz({**VALID, "agent_version": "\ud800"}), "$"),
    "a number of 4,000 digits": (_gz({**VALID, "prev_seq": 10**4000}), "$.prev_seq"),
    "deep nesting": (gzip.compress(b"[" * 200_000 + b"]" * 200_000), "$"),
    "another version": (_gz({**VALID, "version": 2}), "$.version"),
    "a year ahead": (telemetry([segment(1, [1.0], t0_us=T0_US + YEAR_US)]), "$.segments[0]"),
    "an event a year ahead": (events([event(1), event(2, t_us=T0_US + YEAR_US)]), "$.events[1]"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_answered_kept_once_and_alarmed_and_nothing_of_them_is_data(database_url: str, name: str):
    payload, place = HOSTILE[name]

    async def story() -> dict[str, Any]:
        async with a_fleet(database_url) as fleet:
            acks = [await fleet.take(payload, road=road) for road in ("gateway", "link")]
            good = await fleet.take(telemetry([segment(1, [1.0])]))
            return {
                "acks": acks,
                "good": good.acked_seq,
                "values": await fleet.values(),
                "kept": await fleet.db.read(lambda conn: quarantine.page(conn, device_id=DEVICE)),
                "alarms": await fleet.db.read(lambda conn: alarm.page(conn, device_id=DEVICE)),
                "told": await fleet.events("batch.quarantined"),
                "said": await fleet.events("port."),
                "latest": await fleet.db.read(lambda conn: latest.get(conn, DEVICE)),
            }

    seen = run(story())

    assert {(ack.batch, ack.acked_seq) for ack in seen["acks"]} == {(batch_id(payload), None)}
    assert [(ack.refused.place, ack.refused.quarantined) for ack in seen["acks"]] == [(place, True)] * 2
    assert (seen["good"], seen["values"]) == (1, [1.0])
    assert [(one.place, one.batch) for one in seen["kept"]] == [(place, batch_id(payload))]
    assert [(one.rule, one.state) for one in seen["alarms"]] == [("fleet.quarantine", "active")]
    assert len(seen["told"]) == 1
    assert seen["said"] == []
    assert seen["latest"]["board.temp"].t_us == T0_US + STEP_US + 0


def test_quarantine_gives_the_bytes_back_as_they_came_and_bounds_what_one_device_fills(
    database_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(quarantine, "MAX_KEPT", 3)
    payloads = [b"garbage %d" % n for n in range(6)]

    async def story() -> list[bytes]:
        async with a_fleet(database_url) as fleet:
            for payload in payloads:
                await fleet.take(payload)
            kept = await fleet.db.read(lambda conn: quarantine.page(conn, device_id=DEVICE))
            return [await fleet.db.read(lambda conn, n=one.id: quarantine.body(conn, n)) for one in kept]

    assert run(story()) == [*reversed(payloads[3:]), b"", b"", b""]


def test_of_a_device_that_sends_nothing_else_the_oldest_rows_go_and_an_event_says_how_many_and_why(
    database_url: str, monkeypatch: pytest.MonkeyPatch
):
    for name, rows in (("MAX_KEPT", 2), ("MAX_ROWS", 5), ("DROPPED_ROWS", 3)):
        monkeypatch.setattr(quarantine, name, rows)

    async def story() -> tuple[list[Any], list[Any], int]:
        async with a_fleet(database_url, devices=(DEVICE, "freezer-other")) as fleet:
            await fleet.take(b"of another", device_id="freezer-other")
            first_us = fleet.clock()
            for n in range(8 + 3):
                await fleet.take(b"garbage %d" % n)
            kept = await fleet.db.read(quarantine.page)
            return kept, await fleet.events("quarantine.dropped"), first_us

    kept, dropped, first_us = run(story())

    assert [one.device_id for one in kept] == [DEVICE] * 5 + ["freezer-other"]
    assert [one.size_bytes > 0 for one in kept] == [True, True, False, False, False, True]
    assert [one.data["count"] for one in dropped] == [3, 3]
    assert dropped[0].data["from_us"] >= first_us
    assert list(dropped[0].data["reasons"].values()) == [3]
    assert next(iter(dropped[0].data["reasons"])) in dropped[0].text


def test_a_bad_batch_finds_the_row_that_it_displaces_in_an_index(database_url: str):
    explain = "EXPLAIN QUERY PLAN" if database_url.startswith("sqlite") else "EXPLAIN"

    def plan(conn: Connection) -> str:
        if database_url.startswith("postgresql"):
            conn.exec_driver_sql("SET LOCAL enable_seqscan = off")  # the table is empty
        wanted = quarantine.NEWEST.compile(conn, compile_kwargs={"render_postcompile": True})
        values = wanted.construct_params({"device": DEVICE, "count": 256})
        given = tuple(values[name] for name in wanted.positiontup) if wanted.positional else values
        return "\n".join(str(row) for row in conn.exec_driver_sql(f"{explain} {wanted}", given))

    async def story() -> str:
        async with a_fleet(database_url) as fleet:
            return await fleet.db.read(plan)

    told = run(story())

    assert "ix_quarantine_device_id" in told
    assert "TEMP B-TREE" not in told
    assert "Sort" not in told


def test_rows_in_quarantine_leave_a_gap_that_says_where_they_are(database_url: str):
    async def story() -> list[KeptGap]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(telemetry([segment(1, [1.0])]))
            await fleet.take(telemetry([segment(2, [2.0, 3.0], t0_us=T0_US + YEAR_US)]))
            await fleet.take(telemetry([segment(3, [4.0])], prev_seq=1))
            return await gaps(fleet)

    (kept,) = run(story())

    assert (kept.from_seq, kept.to_seq, kept.count) == (2, 2, 2)
    assert kept.reason.startswith("in quarantine")


# Latest, presence, health, config.


def test_late_data_is_stored_and_never_moves_a_live_value_back(database_url: str):
    async def story() -> tuple[Any, list[object]]:
        async with a_fleet(database_url) as fleet:
            snapshot = (Newest("board.temp", "Cel", T0_US + 60 * STEP_US, -18.0), Newest("board.n", "1", T0_US, 5))
            await fleet.take(events([], prev_seq=0, newest=snapshot))
            await fleet.take(telemetry([segment(1, [1.0]), segment(2, [2.0])]))
            return await fleet.db.read(lambda conn: latest.get(conn, DEVICE)), await fleet.values()

    newest, values = run(story())

    assert newest["board.temp"] == latest.Latest(T0_US + 60 * STEP_US, -18.0, "Cel")
    assert newest["board.n"].v == 5
    assert values == [1.0, 2.0]


def test_presence_follows_calls_and_silence_and_is_told_once_each(database_url: str):
    async def story() -> list[Any]:
        async with a_fleet(database_url, next_s=5.0) as fleet:
            seen = []

            async def look() -> None:
                await announce(fleet.db, fleet.clock())
                await announce(fleet.db, fleet.clock())
                now = fleet.clock()
                found = await fleet.db.read(lambda conn: presence.of(conn, [DEVICE], now_us=now))
                seen.append(found[DEVICE][0])

            await look()
            await fleet.take(telemetry([segment(1, [1.0])]))
            await look()
            fleet.clock.forward(20)
            await look()
            fleet.clock.forward(60)
            await look()
            await fleet.take(telemetry([segment(2, [1.0])]))
            await look()
            return [seen, [one.kind for one in await fleet.events("device.")]]

    seen, told = run(story())

    assert seen == [Presence.NEVER, Presence.ONLINE, Presence.LATE, Presence.OFFLINE, Presence.ONLINE]
    assert told == ["device.online", "device.late", "device.offline", "device.online"]


def test_a_will_of_an_older_link_is_ignored_and_that_of_the_newest_is_told_after_a_grace(database_url: str):
    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            await fleet.ingest.birth(DEVICE, Birth(1, 7, T0_US, "boot-1", "0.1.0"))
            await fleet.ingest.birth(DEVICE, Birth(1, 8, T0_US, "boot-1", "0.1.0"))
            await fleet.ingest.will(DEVICE, Will(7))
            before = await fleet.db.read(lambda conn: presence.get(conn, DEVICE))
            await fleet.ingest.will(DEVICE, Will(8))
            after = await fleet.db.read(lambda conn: presence.get(conn, DEVICE))
            for _ in range(2):
                await announce(fleet.db, fleet.clock())
                fleet.clock.forward(LATE_GRACE_S)
            await announce(fleet.db, fleet.clock())
            return [before, after, [one.text for one in await fleet.events("device.")]]

    before, after, told = run(story())

    assert (before.link_up, after.link_up) == (True, False)
    assert told == [
        f"{DEVICE} is online.",
        f"{DEVICE} is late: its link ended, and it was not heard since.",
    ]


def test_of_births_stored_together_the_newest_link_counts_and_after_a_reboot_the_last(database_url: str):
    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            births = [Birth(1, 8, T0_US, "boot-1", "0.1.0"), Birth(1, 7, T0_US, "boot-1", "0.1.0")]
            await asyncio.gather(*(fleet.ingest.birth(DEVICE, one) for one in births))
            same_boot = await fleet.db.read(lambda conn: presence.get(conn, DEVICE))
            await fleet.ingest.birth(DEVICE, Birth(1, 3, T0_US, "boot-2", "0.1.0"))
            rebooted = await fleet.db.read(lambda conn: presence.get(conn, DEVICE))
            return [same_boot, rebooted]

    same_boot, rebooted = run(story())

    assert (same_boot.connection, same_boot.boot_id, same_boot.link_up) == (8, "boot-1", True)
    assert (rebooted.connection, rebooted.boot_id, rebooted.link_up) == (3, "boot-2", True)


def test_a_link_of_a_device_that_may_not_speak_is_refused_and_takes_no_other_down(database_url: str):
    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            await fleet.db.write(lambda conn: add_device(conn, "stolen"))
            await fleet.db.write(lambda conn: device.revoke(conn, "stolen", "stolen", now_us=T0_US, by=FLEET))
            births = [fleet.ingest.birth(one, Birth(1, 1, T0_US, "b", "1")) for one in (DEVICE, "stolen", "nobody")]
            outcomes = await asyncio.gather(*births, return_exceptions=True)
            return [*outcomes, await fleet.db.read(lambda conn: presence.get(conn, DEVICE))]

    known, revoked, unknown, facts = run(story())

    assert known is None
    assert isinstance(revoked, Refused)
    assert isinstance(unknown, NotFound)
    assert facts.link_up


def test_an_agent_that_is_back_within_the_grace_was_never_late(database_url: str):
    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            await fleet.ingest.birth(DEVICE, Birth(1, 7, T0_US, "boot-1", "0.1.0"))
            await fleet.ingest.will(DEVICE, Will(7))
            fleet.clock.forward(LATE_GRACE_S - 1)
            await announce(fleet.db, fleet.clock())
            await fleet.ingest.birth(DEVICE, Birth(1, 8, T0_US, "boot-1", "0.1.0"))
            fleet.clock.forward(LATE_GRACE_S)
            await announce(fleet.db, fleet.clock())
            return [one.kind for one in await fleet.events("device.")]

    assert run(story()) == ["device.online"]


def test_a_revoked_device_is_refused_and_its_silence_is_not_told(database_url: str):
    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(telemetry([segment(1, [1.0])]))
            now = fleet.clock()
            await fleet.db.write(lambda conn: device.revoke(conn, DEVICE, "stolen", now_us=now, by=FLEET))
            with pytest.raises(Refused):
                await fleet.take(telemetry([segment(2, [1.0])]))
            with pytest.raises(NotFound):
                await fleet.take(telemetry([segment(2, [1.0])]), device_id="nobody-000000")
            fleet.clock.forward(3600)
            await announce(fleet.db, fleet.clock())
            return [one.kind for one in await fleet.events("device.")]

    assert run(story()) == ["device.online", "device.revoked"]


def test_health_and_the_release_of_the_agent_are_noted(database_url: str):
    health = Health(T0_US, 60, 30_000_000, 5, 4096, 0, T0_US, ())

    async def story() -> tuple[str | None, str]:
        async with a_fleet(database_url) as fleet:
            await fleet.take(telemetry([segment(1, [1.0])], health=health, agent_version="0.2.0"))
            await fleet.take(telemetry([segment(2, [1.0])], agent_version="0.2.0"))
            return await fleet.db.read(
                lambda conn: (presence.health(conn, DEVICE), device.get(conn, DEVICE).agent_version)
            )

    kept, version = run(story())

    assert json.loads(kept or "")["rss_bytes"] == 30_000_000
    assert version == "0.2.0"


RULES = """
[[rule]]
name = "too-warm"
series = "board.temp"
above = -5.0
hold_s = 2
clear_hold_s = 2
severity = "critical"
ticket = true
at = "fleet"
"""


def test_the_ack_carries_the_config_until_the_device_has_handled_it(database_url: str):
    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            now = fleet.clock()
            made, _ = await fleet.db.write(
                lambda conn: config.set_document(conn, Target.DEVICE, DEVICE, RULES, now_us=now, by=FLEET)
            )
            first = await fleet.take(telemetry([segment(1, [1.0])]))
            handled = Reported(made.revision, ConfigOutcome.APPLIED, made.revision, made.hash, "")
            second = await fleet.take(telemetry([segment(2, [1.0])], reported=handled))
            third = await fleet.take(telemetry([segment(3, [1.0])], reported=handled))
            return [made, first, second, third, [one.kind for one in await fleet.events("config.")]]

    made, first, second, third, told = run(story())

    assert (first.config_revision, first.config.toml) == (made.revision, RULES)
    assert (second.config_revision, second.config, third.config) == (made.revision, None, None)
    assert told == ["config.set", "config.applied"]


def test_rules_of_the_fleet_run_on_event_time_and_late_data_moves_no_state_back(database_url: str):
    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            now = fleet.clock()
            await fleet.db.write(
                lambda conn: config.set_document(conn, Target.PRODUCT, "freezer", RULES, now_us=now, by=FLEET)
            )
            states = []

            async def take(seq: int, second: int, value: float) -> None:
                await fleet.take(telemetry([segment(seq, [value], t0_us=T0_US + second * STEP_US)]))
                found = await fleet.db.read(lambda conn: alarm.page(conn, device_id=DEVICE))
                states.append([str(one.state) for one in found])

            await take(1, 10, -3.0)
            await take(2, 12, -3.0)
            await take(3, 5, -20.0)
            await take(4, 14, -20.0)
            await take(5, 17, -20.0)
            return [states, await fleet.db.read(lambda conn: alarm.page(conn, device_id=DEVICE))]

    states, (raised,) = run(story())

    assert states == [[], ["active"], ["active"], ["clearing"], ["cleared"]]
    assert (raised.origin, raised.first_bad_us) == ("fleet", T0_US + 10 * STEP_US)


def test_too_much_at_once_is_busy_and_nothing_of_it_is_half_done(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ingest, "MAX_TAKING_BATCHES", 4)
    payloads = [telemetry([segment(1, [1.0])], store_id=f"store-{n}") for n in range(10)]

    async def story() -> tuple[list[Any], list[object]]:
        async with a_fleet(sqlite_url) as fleet:
            answers = await asyncio.gather(*map(fleet.take, payloads), return_exceptions=True)
            return answers, await fleet.values()

    answers, values = run(story())

    refused = [answer for answer in answers if isinstance(answer, Busy)]
    assert len(refused) == 6
    assert refused[0].retry_after_s > 0
    assert len(values) == 4


def test_devices_do_not_see_each_others_data(database_url: str):
    async def story() -> list[Any]:
        async with a_fleet(database_url) as fleet:
            await fleet.db.write(lambda conn: add_device(conn, "other-000001"))
            await fleet.take(telemetry([segment(1, [1.0])]))
            other = await fleet.take(telemetry([segment(1, [2.0]), segment(2, [3.0])]), device_id="other-000001")
            return [other.acked_seq, await fleet.values(), await fleet.values(device_id="other-000001")]

    assert run(story()) == [2, [1.0], [2.0, 3.0]]


def test_the_clock_that_dated_an_event_is_kept_with_it(sqlite_url: str):
    async def story() -> list[Any]:
        async with a_fleet(sqlite_url) as fleet:
            await fleet.take(events([event(1, "port.lost", clock=Clock.UNKNOWN)], reported=SEEDED))
            return await fleet.events("port.")

    (kept,) = run(story())

    assert kept.data["clock"] == "unknown"
