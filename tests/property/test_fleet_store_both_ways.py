"""Ingest stores what is ordinary together and all else one by one: whichever way a schedule takes, the same is there.

Every schedule is given to the fleet three times, to devices of three names: all at once, in a transaction for each
batch (so that what is remembered from one to the next counts), and each batch by itself the general way, with nothing
remembered. Then every table must hold the same of all.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from batches import SEEDED, STEP_US, T0_US, event, events, segment, telemetry
from fleets import Fleet, a_fleet, add_device
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from agent.wire.messages import Birth, ConfigOutcome, Gap, Health, Lane, Newest, Reported, Will
from fleet.core.actor import FLEET
from fleet.gateway import ingest
from fleet.gateway.ingest import Linked, Taken
from fleet.store import config, device
from fleet.store.config import Target
from fleet.store.schema import metadata
from fleet.store.standings import Standings

pytest_plugins = ("databases",)

RULED, REVOKED = 2, 3  # numbers of devices
NUMBERED = re.compile(r'("(?:alarm|ticket)": ?|[Tt]icket |alarm )\d+')  # by what comes after what in its table
DAY_US, HOUR_US = 86_400_000_000, 3_600_000_000
RULES = '[[rule]]\nname = "warm"\nseries = "board.temp"\nabove = 5.0\nhold_s = 2.0\nseverity = "major"\nat = "fleet"\n'
HEALTH = Health(T0_US, 60, 30_000_000, 5, 4096, 0, T0_US, ())
OUTCOMES = [SEEDED, Reported(1, ConfigOutcome.APPLIED, 1, "x", ""), Reported(2, ConfigOutcome.REFUSED, 0, "", "no")]


@dataclass(frozen=True)
class Step:
    """One batch, birth or will of a schedule: of which device, and what it says."""

    device: int
    said: bytes | Birth | Will
    after_s: int


@st.composite
def steps(draw: st.DrawFn) -> Step:
    kind = draw(
        st.sampled_from(
            ["telemetry"] * 8 + ["events", "events", "gap", "birth", "birth", "will", "garbage", "ahead", "snapshot"]
        )
    )
    head: dict[str, Any] = {"store_id": draw(st.sampled_from(["s1", "s1", "s1", "s2"]))}
    if draw(st.integers(0, 5)) == 0:
        head |= draw(
            st.sampled_from(
                [{"health": HEALTH}, {"agent_version": "0.2.0"}, {"boot_id": "boot-2"}]
                + [{"reported": said} for said in OUTCOMES]
            )
        )
    start = draw(st.integers(1, 8))
    shift_us = draw(st.sampled_from([0, 0, 0, -3 * STEP_US, -DAY_US]))
    seqs = sorted(draw(st.sets(st.integers(start, start + 4), min_size=1, max_size=4)))
    prev_seq = draw(st.sampled_from([None, None, 0, 1, 3]))
    head["prev_seq"] = prev_seq if prev_seq is not None and prev_seq < seqs[0] else seqs[0] - 1
    value = draw(st.sampled_from([1.5, 9.0, 9.0, None, "x", 7]))
    kind_of_event = draw(st.sampled_from(["agent.started", "config.applied", "device.lost"]))
    boot_id = draw(st.sampled_from(["boot-1", "boot-2"]))
    said: bytes | Birth | Will = {
        "telemetry": lambda: telemetry(
            [segment(n, [value, 2.0 * n], t0_us=T0_US + n * STEP_US + shift_us) for n in seqs], **head
        ),
        "events": lambda: events([event(n, kind_of_event) for n in seqs], **head),
        "birth": lambda: Birth(1, start, T0_US, boot_id, "0.3.0"),
        "will": lambda: Will(start),
        "gap": lambda: events(
            [event(n) for n in seqs[:-1]]
            + [event(seqs[-1], "gap.recorded", gap=Gap(Lane.TELEMETRY, 2, start + 1, T0_US, T0_US, 3, "shed"))],
            **head,
        ),
        "garbage": lambda: b"garbage %d" % start,
        "ahead": lambda: telemetry([segment(n, [value], t0_us=T0_US + DAY_US) for n in seqs], **head),
        "snapshot": lambda: telemetry([], newest=(Newest("board.temp", "Cel", T0_US + 6 * STEP_US, 3.5),), **head),
    }[kind]()
    return Step(draw(st.integers(0, 3)), said, draw(st.sampled_from([0, 0, 1, 90, -60])))


def tables(conn: Connection, prefix: str) -> dict[str, list[str]]:
    """Return all rows about the devices of one way, without their ids and names."""
    found = {}
    for table in metadata.sorted_tables:
        if "device_id" in table.c:
            columns = [column for column in table.c if column.name not in {"id", "noun_id", "alarm_id"}]
            mine = conn.execute(select(*columns).where(table.c.device_id.startswith(prefix))).all()
            found[table.name] = sorted(_told(row, prefix) for row in mine)
    agents = select(metadata.tables["device"].c.agent_version).where(metadata.tables["device"].c.id.startswith(prefix))
    found["device"] = sorted(conn.execute(agents).scalars())
    return found


def _told(row: Sequence[Any], prefix: str) -> str:
    return NUMBERED.sub(r"\1", repr(tuple(row)).replace(prefix, "WAY-"))


async def store(fleet: Fleet, schedule: list[Step], prefix: str, *, at_once: int) -> list[str]:
    """Give a schedule to devices 0…3 of one way, so many steps a transaction: returns what was answered."""

    def set_up(conn: Connection) -> None:
        for n in range(4):
            add_device(conn, f"{prefix}{n}", product_id="ruled" if n == RULED else "plain")
        config.set_document(conn, Target.PRODUCT, "ruled", RULES, now_us=T0_US, by=FLEET)
        device.revoke(conn, f"{prefix}{REVOKED}", "stolen", now_us=T0_US, by=FLEET)

    await fleet.db.write(set_up)
    taken: list[Taken | Linked] = []
    received_us = fleet.clock() + HOUR_US  # not before now, when it would have met a crowd
    for step in schedule:
        received_us += step.after_s * 1_000_000
        device_id = f"{prefix}{step.device}"
        if not isinstance(step.said, bytes):
            taken.append(Linked(device_id, step.said, received_us))
        else:
            batch = Taken(device_id, step.said, "link", received_us)
            batch.decode()
            taken.append(batch)

    answers: list[Any] = []
    for start in range(0, len(taken), at_once):
        some = taken[start : start + at_once]
        answers += await fleet.db.write(partial(fleet.ingest.store_all, taken=some))
    return [_answer(one, prefix) for one in answers]


def _answer(answer: object, prefix: str) -> str:
    if isinstance(answer, Exception):
        return str(answer).replace(prefix, "WAY-")
    return repr(answer)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(schedule=st.lists(steps(), min_size=2, max_size=12))
def run_both(runner: asyncio.Runner, fleet: Fleet, count: list[int], schedule: list[Step]) -> None:
    count[0] += 1
    ways = {f"{way}{count[0]}-": at_once for way, at_once in (("group", len(schedule)), ("after", 1), ("alone", 1))}
    answers = []
    for prefix, at_once in ways.items():
        with pytest.MonkeyPatch.context() as patched:
            if prefix.startswith("alone"):
                patched.setattr(ingest, "is_ordinary", lambda *_: False)
                patched.setattr(Standings, "keep", lambda *_: None)
            answers.append(runner.run(store(fleet, schedule, prefix, at_once=at_once)))

    assert answers[0] == answers[1] == answers[2]
    there = runner.run(fleet.db.read(lambda conn: [tables(conn, prefix) for prefix in ways]))
    assert there[0] == there[1] == there[2]


def test_what_is_stored_together_is_what_is_stored_one_by_one(database_url: str):
    with asyncio.Runner() as runner:
        opened = a_fleet(database_url, devices=())
        fleet = runner.run(opened.__aenter__())
        try:
            run_both(runner, fleet, [0])
        finally:
            runner.run(opened.__aexit__(None, None, None))
