"""Meters over the API and the command: usage by period of a place, how well it is known, and what was wrong."""

import asyncio
import csv
import io
import json
from typing import Any

import pytest
from batches import telemetry
from click.testing import CliRunner
from desks import DEVICE, Desk, a_desk

from agent.wire.messages import Clock, Segment, Series
from fleet.cli import main
from fleet.core.actor import Scope
from fleet.store import seal

pytest_plugins = ("databases",)

H_US = 3_600_000_000
MIDNIGHT_US = 1_774_652_400_000_000  # 2026-03-28T00:00+01:00, the day before the one that has 23 hours in Berlin
COUNTER = "meter.energy"
QUERY = {"series": COUNTER, "zone": "Europe/Berlin", "from": str(MIDNIGHT_US), "to": str(MIDNIGHT_US + 71 * H_US)}


def counted(seq: int, start_h: float, values: list[float | None], *, clock: Clock = Clock.SYNCED) -> bytes:
    """A batch of readings of the counter, 30 min apart."""
    steps = (0, *(H_US // 2 for _ in values[1:]))
    one = Series(COUNTER, "kW.h", MIDNIGHT_US + int(start_h * H_US), steps, tuple(values))
    return telemetry([Segment(seq, "boot-1", seq, clock, (one,))])


async def filled(desk: Desk) -> None:
    """Three days: 1 kWh an hour; it is silent from 30:00 to 36:00, is reset at 40:00, and ends at 60:00."""
    fleet = desk.fleet
    await fleet.take(counted(1, 0, [1000 + i / 2 for i in range(61)]))
    plan = await fleet.db.read(lambda conn: seal.plan(conn, DEVICE))
    assert plan is not None
    await fleet.db.write(lambda conn: seal.apply(conn, plan, now_us=1))
    await fleet.take(counted(2, 36, [1036 + i / 2 for i in range(8)]))
    await fleet.take(counted(3, 40, [i / 2 for i in range(41)], clock=Clock.FREE))
    fleet.clock.now_us = MIDNIGHT_US + 71 * H_US


def told(url: str) -> Any:  # noqa: ANN401 - JSON
    async def story() -> Any:  # noqa: ANN401
        async with a_desk(url) as desk:
            await filled(desk)
            return (await desk.read.get(f"/devices/{DEVICE}/usage", params=QUERY)).json()

    return asyncio.run(story())


def printed(url: str, *commands: tuple[str, ...]) -> list[str]:
    """What the commands print."""

    async def story() -> list[str]:
        async with a_desk(url) as desk:
            await filled(desk)
            env = {"FLEET_URL": desk.url, "FLEET_TOKEN": desk.secrets[Scope.READ]}
            done = [
                await asyncio.to_thread(CliRunner().invoke, main, words, env=env, prog_name="fleet")
                for words in commands
            ]
            assert [one.exit_code for one in done] == [0] * len(done), [one.output for one in done]
            return [one.output for one in done]

    return asyncio.run(story())


def test_usage_is_told_by_day_of_the_place_with_its_gaps_and_what_it_is_counted_from(database_url: str):
    said = told(database_url)

    days = said["periods"]
    assert [one["usage"] for one in days] == [23.5, 22.5, 13.5]  # 24:00 opens the second day, of 23 hours
    assert [one["readings"] for one in days] == [48, 35, 27]
    assert [(one["opening"] or {}).get("v") for one in days] == [1000, 1023.5, 6.5]
    assert [round(one["coverage"] * (one["to_us"] - one["from_us"]) / H_US, 9) for one in days] == [24, 17, 13]
    assert [(one["fall_count"], one["gap_count"], one["unsure"], one["exact"]) for one in days] == [
        (0, 0, False, True),
        (1, 1, True, True),
        (0, 1, True, True),
    ]
    assert days[1]["falls"][0] | {"t": None} == {
        "t": None,
        "t_us": MIDNIGHT_US + 40 * H_US,
        "before": 1039.5,
        "after": 0.0,
        "rolled_over": False,
    }
    assert said["total"]["usage"] == 59.5
    assert said["unit"] == "kW.h"


def test_the_command_prints_periods_for_people_and_as_csv(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    words = ("meter", "usage", DEVICE, COUNTER, "--zone", "Europe/Berlin", "--from", "2026-03-28", "--to", "2026-03-31")
    monkeypatch.setenv("COLUMNS", "200")

    table, lines, document = printed(sqlite_url, words, (*words, "--csv"), (*words, "--by", "month", "--json"))

    assert "2026-03-29" in table
    assert "reset once, 1 gap, clock unsure" in table
    rows = list(csv.DictReader(io.StringIO(lines)))
    assert [float(row["usage"]) for row in rows] == [23.5, 22.5, 13.5]
    assert [one["usage"] for one in json.loads(document)["periods"]] == [59.5]


def test_the_counters_of_all_devices_are_summed(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    words = ("meter", "total", COUNTER, "product:freezer", "--from", "2026-03-28", "--zone", "Europe/Berlin")

    table, document, none = printed(sqlite_url, words, (*words, "--json"), ("meter", "total", COUNTER, "product:oven"))

    assert "59.5 kW.h" in table
    assert json.loads(document)["total"]["usage"] == 59.5
    assert "No such device" in none


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"zone": "Europe/Nowhere"}, "no time zone"),
        ({"by": "hour", "from": "2000-01-01T00:00Z"}, "more than 10000 periods"),
        ({"from": "now", "to": "now"}, "same time"),
    ],
)
def test_what_cannot_be_counted_is_said_why(sqlite_url: str, wrong: dict[str, str], said: str):
    async def story() -> tuple[int, str]:
        async with a_desk(sqlite_url) as desk:
            answer = await desk.read.get(f"/devices/{DEVICE}/usage", params=QUERY | wrong)
            return answer.status_code, answer.text

    status, text = asyncio.run(story())

    assert status == 422
    assert said in text


def test_each_customer_is_counted_for_the_time_in_which_a_device_was_theirs(database_url: str):
    async def story() -> tuple[list[Any], list[Any], int]:
        async with a_desk(database_url) as desk:
            await filled(desk)
            for name, hour in (("acme", 12), ("zenit", 42)):
                await desk.admin.put(f"/customers/{name}", json={"name": name.upper()})
                at = str(MIDNIGHT_US + hour * H_US + 60_000_000)
                await desk.admin.post(f"/devices/{DEVICE}/transfer", json={"customer": name, "at": at})
            await desk.admin.post(f"/devices/{DEVICE}/revoke", json={})
            asked = [
                await desk.read.get(f"/fleet/usage/{path}", params=QUERY | {"by": "day"} | more)
                for path, more in (
                    ("customers", {}),
                    ("shares", {"customer": "acme"}),
                    ("customers", {"customer": "x"}),
                )
            ]
            lines = [[json.loads(line) for line in one.text.splitlines()] for one in asked[:2]]
            return lines[0], lines[1], asked[2].status_code

    customers, shares, unknown = asyncio.run(story())

    assert [(one["customer"], one["name"], one["unit"]) for one in customers] == [
        ("acme", "ACME", "kW.h"),
        ("zenit", "ZENIT", "kW.h"),
        (None, "", "kW.h"),
    ]
    # Of 59.5 kWh two steps of 0.5 lie over a transfer, and 12:00 and 42:00 were the last owner's.
    assert [one["total"]["usage"] for one in customers] == [29.0, 17.5, 12.0]
    assert [[day["usage"] for day in one["periods"]] for one in customers] == [
        [11.0, 18.0, None],
        [None, 4.0, 13.5],
        [12.0, None, None],
    ]
    assert [day["devices"] for day in customers[0]["periods"]] == [1, 1, 0]
    (acme,) = shares
    assert (acme["device"], acme["product"], acme["total"]["usage"]) == (DEVICE, "freezer", 29.0)
    assert (acme["total"]["opening"]["v"], acme["total"]["closing"]["v"]) == (1012.5, 2.0)
    assert acme["periods"][0]["from_us"] == MIDNIGHT_US + 12 * H_US + 60_000_000
    assert unknown == 404


def test_the_command_prints_usage_by_customer(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    words = ("meter", "customers", COUNTER, "--from", "2026-03-28", "--to", "2026-03-31", "--zone", "Europe/Berlin")

    people, by_device, lines, document = printed(
        sqlite_url, words, (*words, "--devices", "--by", "day"), (*words, "--devices", "--csv"), (*words, "--json")
    )

    assert "nobody" in people
    assert "59.5 kW.h" in people
    assert DEVICE in by_device
    assert "reset once" in by_device
    (row,) = csv.DictReader(io.StringIO(lines))
    assert (row["customer"], row["device"], row["usage"], row["opening"]) == ("", DEVICE, "59.5", "1000.0")
    assert json.loads(document)["total"]["devices"] == 1
