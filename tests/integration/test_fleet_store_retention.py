"""Telemetry goes when it has been kept as long as was said, coarser things later than finer ones; evidence stays."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from batches import T0_US, segment, telemetry
from click.testing import CliRunner
from desks import ANA, a_desk
from fleets import DEVICE, Fleet, a_fleet
from seals import Shelf, a_shelf, a_store, seal_some
from sqlalchemy import Connection, Engine

from fleet.cli import main
from fleet.core.actor import Scope
from fleet.core.retention import DEFAULT_DAYS, Kept, Policy
from fleet.core.rollup import DAY_S, DAY_US, QUARTER_S
from fleet.errors import Invalid, NotFound
from fleet.jobs import retention as job
from fleet.store import chart, retention
from fleet.store.chart import Points

pytest_plugins = ("databases",)

T = TypeVar("T")
NOW_US = T0_US


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 100))


def aged(engine: Engine, *ages_days: int) -> Shelf:
    """A device with two readings of each age, sealed."""
    shelf = a_shelf(engine)
    for seq, days in enumerate(ages_days, 1):
        shelf.take([segment(seq, [float(days), 2.0], t0_us=NOW_US - days * DAY_US)])
        shelf.seal()
    return shelf


def drop(engine: Engine, shelf: Shelf, policy: Policy) -> dict[Kept, retention.Dropped]:
    with engine.begin() as conn:
        return retention.drop(conn, shelf.device_id, policy, now_us=NOW_US)


def test_each_goes_after_its_time(database_url: str):
    with a_store(database_url) as engine:
        shelf = aged(engine, 4000, 1000, 100, 10)

        gone = drop(engine, shelf, Policy())

        assert [v for _, v in shelf.readings("board.temp")] == [10.0, 2.0]
        assert len(shelf.windows("board.temp", QUARTER_S)) == 2
        assert len(shelf.windows("board.temp", DAY_S)) == 3
        assert {kept: one.rows for kept, one in gone.items()} == {Kept.READINGS: 3, Kept.QUARTERS: 2, Kept.DAYS: 1}
        assert gone[Kept.READINGS].readings == 6
        assert gone[Kept.READINGS].size_bytes > 100


def test_much_goes_in_steps(database_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retention, "CHUNKS_AT_ONCE", 2)
    with a_store(database_url) as engine:
        shelf = aged(engine, 104, 103, 102, 101, 100, 1)
        left = []
        for _ in range(5):
            drop(engine, shelf, Policy())
            left.append(len(shelf.readings("board.temp")))

        assert left == [10, 8, 6, 4, 2]


def test_late_readings_count_where_only_windows_are_left(database_url: str):
    with a_store(database_url) as engine:
        shelf = aged(engine, 100, 1)
        drop(engine, shelf, Policy())
        shelf.take([segment(9, [7.5, -1.0, None], t0_us=NOW_US - 100 * DAY_US + 5)])
        shelf.seal()

        assert [v for _, v in shelf.readings("board.temp")] == [1.0, 2.0]
        assert shelf.windows("board.temp", QUARTER_S).keys() == shelf.wanted_windows("board.temp", QUARTER_S).keys()
        kept = min(shelf.windows("board.temp", QUARTER_S).items())[1]
        wanted = min(shelf.wanted_windows("board.temp", QUARTER_S).items())[1]
        assert (*kept[:3], *kept[4:]) == (*wanted[:3], *wanted[4:])  # all but how often it fell
        assert min(shelf.windows("board.temp", DAY_S).items())[1][:3] == wanted[:3]


def test_readings_so_late_that_only_days_are_left_count_there(database_url: str):
    with a_store(database_url) as engine:
        shelf = aged(engine, 1000)
        drop(engine, shelf, Policy())
        shelf.take([segment(9, [7.5], t0_us=NOW_US - 1000 * DAY_US + 5)])
        shelf.take([segment(10, [7.5], t0_us=NOW_US - 5000 * DAY_US)])
        shelf.seal()

        [(_, day)] = shelf.windows("board.temp", DAY_S).items()
        assert day[0] == 3
        assert shelf.windows("board.temp", QUARTER_S) == {}


def test_a_chart_of_what_is_gone_is_drawn_of_what_is_left(database_url: str):
    async def story() -> list[Points]:
        async with a_fleet(database_url) as fleet:
            fleet.clock.forward(10)
            for seq, days in enumerate((1000, 100, 1), 1):
                values = [float(days), float(-days)]
                await fleet.take(telemetry([segment(seq, values, t0_us=NOW_US - days * DAY_US)]))
            await seal_some(fleet.db, DEVICE, 1)
            await retention.drop_some(fleet.db, NOW_US, most_s=30)

            def points(days: int) -> Callable[[Connection], Points]:
                at = NOW_US - days * DAY_US
                return lambda conn: chart.points(conn, DEVICE, "board.temp", at - 5, at + 10**9, 600)

            return [await fleet.db.read(points(days)) for days in (1000, 100, 1)]

    by_day, by_quarter, single = run(story())

    assert (by_day.step_s, by_day.low, by_day.high) == (DAY_S, [-1000.0], [1000.0])
    assert (by_quarter.step_s, by_quarter.low, by_quarter.high) == (QUARTER_S, [-100.0], [100.0])
    assert (single.step_s, single.v) == (0, [1.0, -1.0])


def test_a_product_follows_the_fleet_until_it_has_its_own(database_url: str):
    async def story() -> tuple[list[Policy], list[Any]]:
        async with a_fleet(database_url) as fleet:

            async def put(product: str, days: dict[Kept, int | None]) -> Policy:
                await fleet.db.write(lambda conn: retention.put(conn, product, days, now_us=NOW_US, by=ANA))
                return (await fleet.db.read(retention.policies))["freezer"]

            seen = [
                await put("", {Kept.READINGS: 30}),
                await put("freezer", {Kept.READINGS: 60, Kept.DAYS: 800}),
                await put("freezer", {Kept.READINGS: None}),
            ]
            return seen, await fleet.events("retention.set")

    seen, events = run(story())

    assert seen == [Policy(30, 730, 3650), Policy(60, 730, 800), Policy(30, 730, 800)]
    assert [(one.noun_id, one.actor) for one in events] == [("fleet", ANA.id), *[("freezer", ANA.id)] * 2]
    assert events[1].text == "Telemetry of freezer is kept so long: readings 60 days, 15min 730 days, 1day 800 days."


@pytest.mark.parametrize(
    ("product", "days", "error"),
    [
        ("freezer", {Kept.READINGS: 800}, Invalid),  # longer than 15min
        ("", {Kept.DAYS: 100}, Invalid),  # shorter than 15min
        ("toaster", {Kept.READINGS: 10}, NotFound),
    ],
)
def test_what_cannot_be_followed_is_refused(
    product: str, days: dict[Kept, int | None], error: type[Exception], sqlite_url: str
):
    async def story() -> dict[str, Policy]:
        async with a_fleet(sqlite_url) as fleet:
            with pytest.raises(error):
                await fleet.db.write(lambda conn: retention.put(conn, product, days, now_us=NOW_US, by=ANA))
            return await fleet.db.read(retention.policies)

    assert set(run(story()).values()) == {Policy()}


def test_the_job_lets_go_and_has_nothing_more_to_do(database_url: str):
    async def story() -> tuple[list[object], list[Any]]:
        async with a_fleet(database_url) as fleet:
            await old_and_new(fleet)
            await job.Retention().turn(fleet.db, NOW_US)
            overdue = await fleet.db.read(lambda conn: retention.overdue(conn, now_us=NOW_US, limit=9))
            return await fleet.values(), overdue

    assert run(story()) == ([5.0], [])


async def old_and_new(fleet: Fleet) -> None:
    await fleet.take(telemetry([segment(1, [4.0], t0_us=NOW_US - 100 * DAY_US), segment(2, [5.0], t0_us=NOW_US)]))
    await seal_some(fleet.db, DEVICE, 1)


def test_the_command_shows_sets_and_runs(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    async def story() -> list[Any]:
        async with a_desk(sqlite_url) as desk:
            await old_and_new(desk.fleet)

            async def fleet(*words: str, scope: Scope = Scope.ADMIN) -> Any:  # noqa: ANN401 - JSON
                env = {"FLEET_URL": desk.url, "FLEET_TOKEN": desk.secrets[scope]}
                done = await asyncio.to_thread(CliRunner().invoke, main, ["retention", *words], env=env)
                if "--json" not in words:
                    return done.output if done.exit_code == 0 else (done.exit_code, done.output)
                assert done.exit_code == 0, done.output
                return json.loads(done.stdout)

            return [
                await fleet("show", "--json"),
                await fleet("set", "freezer", "--readings", "2y", "--json"),
                await fleet("run", "--dry-run"),
                await fleet("set", "freezer", "--readings", "default"),
                await fleet("run", "--dry-run", "--json"),
                await fleet("run"),
                await desk.fleet.values(),
                await fleet("run"),
                await fleet("run", scope=Scope.READ),
                await fleet("set", "freezer", "--readings", "soon"),
                await fleet("set", "freezer", "--readings", "20y"),
            ]

    shown, made, not_yet, default, would, gone, values, nothing, refused, no_days, too_long = run(story())

    assert {(one["product"], one["kept"], one["days"]) for one in shown["items"]} == {
        (product, kept.value, DEFAULT_DAYS[kept]) for product in (None, "freezer") for kept in Kept
    }
    assert {one["kept"]: (one["days"], one["own"]) for one in made["items"]}["readings"] == (730, True)
    assert not_yet == "Nothing is older than it is to be kept.\n"
    assert "90 d" in default
    assert [(one["product"], one["readings"]) for one in would["items"] if one["rows"]] == [("freezer", 1)]
    assert "It is gone." in gone
    assert values == [5.0]
    assert "Nothing is older" in nothing
    assert refused[0] == 4
    assert "no number of days" in no_days[1]
    assert "cannot be kept longer than what is coarser" in too_long[1]
