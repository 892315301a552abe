"""Prometheus's API over the fleet's telemetry: asked by Prometheus's own client, and checked against plain readings."""

import asyncio
import contextlib
import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from batches import telemetry
from desks import DEVICE, Desk, a_desk, announce
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from seals import Shelf, a_shelf, a_store

from agent.wire.messages import AlarmState, Clock, Segment, Series, Value
from fleet.api.slots import Slots
from fleet.core import promql
from fleet.core.actor import Scope
from fleet.core.label import Matcher, Operator
from fleet.errors import Busy
from fleet.store import latest, seal
from fleet.store import promql as store

pytest_plugins = ("databases",)

OTHER = "freezer-000002"
S_US = 1_000_000
H_US = 3_600 * S_US
DAY0_US = 1_774_656_000_000_000  # 2026-03-28T00:00Z
DAY0_S = DAY0_US // S_US
NOW_S = DAY0_S + 7200


def came(  # noqa: PLR0913 - one series
    seq: int, series: str, start_s: int, values: list[Value], *, step_s: int = 10, unit: str = "Cel"
) -> bytes:
    steps = (0, *(step_s * S_US for _ in values[1:]))
    one = Series(series, unit, DAY0_US + start_s * S_US, steps, tuple(values))
    return telemetry([Segment(seq, "boot-1", seq, Clock.SYNCED, (one,))])


async def filled(desk: Desk) -> None:
    """Two hours: a temperature that is silent from 0:30 to 1:00, a counter that is reset at 1:30; half of it sealed."""
    fleet = desk.fleet
    fleet.clock.now_us = NOW_S * S_US
    await fleet.take(came(1, "board.temp", 0, [float(-20 + i % 7) for i in range(180)]))
    await fleet.take(came(2, "meter.energy", 0, [i / 2 for i in range(90)], step_s=60, unit="kW.h"))
    plan = await fleet.db.read(lambda conn: seal.plan(conn, DEVICE))
    assert plan is not None
    await fleet.db.write(lambda conn: seal.apply(conn, plan, now_us=1))
    await fleet.take(came(3, "board.temp", 3600, [float(-10 + i % 5) for i in range(360)]))
    await fleet.take(came(4, "meter.energy", 5400, [i / 2 for i in range(30)], step_s=60, unit="kW.h"))
    await fleet.take(came(1, "board.temp", 3600, [-5.0] * 359 + [None]), device_id=OTHER)
    await fleet.take(came(2, "board.door", 7000, ["open"]), device_id=OTHER)
    await announce(fleet, AlarmState.ACTIVE, at_us=(NOW_S - 60) * S_US)
    await desk.admin.put("/customers/acme", json={"name": "ACME"})
    await desk.admin.put("/customers/zenit", json={"name": "Zenit"})
    for name, at_s in (("acme", DAY0_S + 600), ("zenit", DAY0_S + 5400)):
        await desk.admin.post(f"/devices/{DEVICE}/transfer", json={"customer": name, "at": str(at_s * S_US)})


def told(url: str, story: Callable[[Desk], Coroutine[Any, Any, Any]]) -> Any:  # noqa: ANN401 - what the story returns
    async def whole() -> Any:  # noqa: ANN401
        async with a_desk(url, devices=(DEVICE, OTHER)) as desk:
            await filled(desk)
            return await story(desk)

    return asyncio.run(whole())


def asked(url: str, path: str, **params: object) -> Any:  # noqa: ANN401 - JSON
    async def story(desk: Desk) -> Any:  # noqa: ANN401
        answer = await desk.read.get(f"{desk.url}/api/prom/api/v1/{path}", params=params)
        return answer.status_code, answer.json()

    return told(url, story)


def values(result: list[Any]) -> dict[str, Any]:
    return {one["metric"].get("device", ""): one.get("values") or one["value"] for one in result}


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("promtool is missing; .ci/parts installs it")
        pytest.skip("promtool is missing; it comes with Debian's package prometheus")
    return found


def test_prometheus_own_client_gets_its_answers(database_url: str, promtool: str):
    async def story(desk: Desk) -> list[str]:
        token = next(iter(desk.secrets.values()))
        url = desk.url.replace("http://", f"http://any:{token}@") + "/api/prom"
        span = (f"--start={DAY0_S}", f"--end={NOW_S}")
        commands = (
            ("instant", f"--time={NOW_S - 1}", url, 'board_temp{product="freezer"}'),
            ("instant", f"--time={NOW_S}", url, "1 + 1"),
            ("range", *span, "--step=15m", url, f'max_over_time(board_temp{{device="{DEVICE}"}}[15m])'),
            ("series", '--match={series="board.temp"}', *span, url),
            ("labels", url, "series"),
            ("instant", f"--time={NOW_S}", url, "topk(2, board_temp)"),
        )
        said = []
        for command in commands:
            done = await asyncio.to_thread(
                subprocess.run, [promtool, "query", *command], capture_output=True, text=True, check=False
            )
            said.append(done.stdout + done.stderr)
        return said

    instant, scalar, spans, series, labels, refused = told(database_url, story)

    assert f'device="{DEVICE}"' in instant
    assert 'customer="zenit"' in instant
    assert "=> -6 @" in instant
    assert scalar.startswith("scalar: 2 @")
    told_ = [line.split(" @")[0].split('"')[1 if "customer" in line else 0] for line in spans.splitlines()]
    assert told_ == ["{device=", "-14", "acme", "-14", "-14", "-6", "-6", "zenit", "-6", "-6"]
    assert 'customer="acme"' in series
    assert OTHER in series
    assert labels.split() == ["board.door", "board.temp", "meter.energy"]
    assert "the function topk is not supported" in refused


def test_nothing_is_told_where_nothing_was_measured(database_url: str):
    query = {"query": f'board_temp{{device="{DEVICE}"}}', "start": DAY0_S + 600, "end": NOW_S, "step": 60}

    status, told_ = asked(database_url, "query_range", **query)

    assert status == 200
    acme, zenit = told_["data"]["result"]
    assert (acme["metric"]["customer"], zenit["metric"]["customer"]) == ("acme", "zenit")
    times = [t - DAY0_S for t, _ in acme["values"]]
    # The last reading before the silence is of 1790 s and stands for 5 minutes; the first after it is of 3600 s.
    assert times == [*range(600, 2090, 60), *range(3600, 5400, 60)]
    assert [t - DAY0_S for t, _ in zenit["values"]] == [*range(5400, 7201, 60)]


def test_a_reading_without_a_value_ends_what_was_before_it(sqlite_url: str):
    query = f'board_temp{{device="{OTHER}"}}'

    _, before = asked(sqlite_url, "query", query=query, time=NOW_S - 11)
    _, after = asked(sqlite_url, "query", query=query, time=NOW_S - 1)

    assert values(before["data"]["result"])[OTHER][1] == "-5"
    assert after["data"]["result"] == []


def test_metrics_are_named_as_prometheus_allows_and_the_series_as_it_is(sqlite_url: str):
    _, told_ = asked(sqlite_url, "query", query='{series="meter.energy"}', time=NOW_S - 1)
    _, metadata = asked(sqlite_url, "metadata", metric="meter_energy")

    assert told_["data"]["result"][0]["metric"] == {
        "__name__": "meter_energy",
        "series": "meter.energy",
        "device": DEVICE,
        "product": "freezer",
        "serial": f"S-{DEVICE}",
        "customer": "zenit",
        "unit": "kW.h",
    }
    assert metadata["data"] == {
        "meter_energy": [{"type": "unknown", "help": "The series meter.energy.", "unit": "kW.h"}]
    }


def test_what_a_counter_rose_passes_over_a_reset(sqlite_url: str):
    span = {"start": DAY0_S + 7200, "end": DAY0_S + 7200, "step": 60}

    _, rose = asked(sqlite_url, "query_range", query='sum(increase(meter_energy{customer="zenit"}[1h]))', **span)
    _, rate = asked(sqlite_url, "query_range", query="rate(meter_energy[30m]) * 3600", **span)

    assert rose["data"]["result"] == [{"metric": {}, "values": [[NOW_S, "14.5"]]}]
    assert float(rate["data"]["result"][0]["values"][0][1]) == pytest.approx(30.0)


def test_states_of_devices_are_metrics_too(sqlite_url: str):
    _, online = asked(sqlite_url, "query", query="count(fieldline_device_online == 1)", time=NOW_S)
    _, alarms = asked(
        sqlite_url, "query_range", query="sum(fieldline_device_open_alarms)", start=NOW_S - 120, end=NOW_S, step=60
    )

    assert online["data"]["result"][0]["value"][1] == "2"
    assert [value for _, value in alarms["data"]["result"][0]["values"]] == ["0", "1", "1"]


def test_a_form_is_taken_as_a_query_is(sqlite_url: str):
    async def story(desk: Desk) -> list[int]:
        url, form = f"{desk.url}/api/prom/api/v1/query", {"query": "board_temp", "time": str(NOW_S - 11)}
        return [
            len((await desk.read.post(url, data=form)).json()["data"]["result"]),
            len((await desk.read.get(url, params=form)).json()["data"]["result"]),
        ]

    assert told(sqlite_url, story) == [2, 2]


@pytest.mark.parametrize(
    ("path", "params", "status", "kind", "said"),
    [
        ("query", {"query": "board_temp offset 5m"}, 400, "bad_data", "offset is not supported"),
        ("query", {"query": "a + b"}, 400, "bad_data", "between series and series"),
        ("query", {"query": "{device!='x'}"}, 400, "bad_data", "a selector names something"),
        ("query", {"query": "x{a=~'(a+)+'}"}, 400, "bad_data", "repeats a group"),
        ("query", {"query": f"x{{a=~'{'(.|.)' * 9}'}}"}, 400, "bad_data", "more than one group"),
        ("query", {"query": "x{a=~'.*.*.*z'}"}, 400, "bad_data", "more than 2 repetitions"),
        ("query", {"query": "(" * 40 + "1" + ")" * 40}, 400, "bad_data", "at most 32 brackets"),
        ("query", {}, 400, "bad_data", "query is missing"),
        ("query", {"query": "x", "time": "soon"}, 400, "bad_data", "is no time"),
        ("query", {"query": "min_over_time(fieldline_device_online[5m])"}, 422, "execution", "is a state of a device"),
        (
            "query_range",
            {"query": "x", "start": 0, "end": 11_000, "step": 1},
            400,
            "bad_data",
            "more than 11000 points",
        ),
        ("query_range", {"query": "x", "start": 5, "end": 1, "step": 1}, 400, "bad_data", "before start"),
        ("series", {}, 400, "bad_data", "match[]"),
    ],
)
def test_what_is_not_answered_is_said_in_prometheus_form(  # noqa: PLR0913 - the parameters
    sqlite_url: str, *, path: str, params: dict[str, object], status: int, kind: str, said: str
):
    found, body = asked(sqlite_url, path, **params)

    assert (found, body["status"], body["errorType"]) == (status, "error", kind)
    assert said in body["error"]


def test_a_token_is_needed(sqlite_url: str):
    async def story(desk: Desk) -> tuple[int, Any]:
        url = f"{desk.url}/api/prom/api/v1/query?query=1"
        answer = await desk.read.get(url, headers={"Authorization": "Basic bm9ib2R5Om5vdGhpbmc="})
        return answer.status_code, answer.json()

    status, body = told(sqlite_url, story)

    assert (status, body["errorType"]) == (401, "unauthorized")


def test_queries_go_a_few_at_a_time_and_too_many_are_refused():
    async def story() -> tuple[list[str], str]:
        slots, said = Slots(at_once=1, waiting=1), []

        async def ask(name: str, end: asyncio.Event) -> None:
            async with slots.one():
                said.append(name)
                await end.wait()

        end = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for name in ("first", "second"):
                group.create_task(ask(name, end))
                await asyncio.sleep(0)
            before = list(said)
            with pytest.raises(Busy) as refused:
                await ask("third", end)
            end.set()
        await ask("fourth", end)
        assert said == ["first", "second", "fourth"]
        return before, refused.value.message

    assert asyncio.run(story()) == (["first"], "too many queries wait already")


VALUES = st.one_of(st.integers(-5, 50), st.integers(-50, 500).map(lambda v: v / 10), st.sampled_from([None, "text"]))
READINGS = st.lists(st.tuples(st.integers(0, 2 * 96 * 15), VALUES), min_size=1, max_size=25)  # minutes
BATCHES = st.lists(READINGS, min_size=1, max_size=4)
GRIDS = st.sampled_from([(0, 15, 8), (7, 15, 8), (0, 60, 30), (0, 1440, 3), (3, 11, 40), (1440, 1440, 1)])  # minutes
FUNCTIONS = st.sampled_from(["", *promql.RANGE_FUNCTIONS])
M_US = 60 * S_US


def shelved(shelf: Shelf, batches: list[list[tuple[int, Value]]], seals: set[int]) -> None:
    for number, some in enumerate(batches, 1):
        rows = sorted(enumerate(some), key=lambda row: (row[1][0], row[0]))
        times = [DAY0_US + minute * M_US for _, (minute, _) in rows]
        steps = (0, *(b - a for a, b in pairwise(times)))
        one = Series("board.x", "", times[0], steps, tuple(v for _, (_, v) in rows))
        shelf.take([Segment(number, "boot", 0, Clock.SYNCED, (one,))])
        if number in seals:
            shelf.seal()
    with shelf.engine.begin() as conn:
        latest.put(conn, shelf.device_id, {"board.x": [DAY0_US + 9 * 1440 * M_US, 0, ""]})


def wanted(function: str, rows: list[tuple[int, Value]], t_us: int, back_us: int) -> float | None:
    """A value of a step, the long way: of the readings up to now, or of those with t - range ≤ time < t."""
    if not function:
        recent = [(at, v) for at, v in rows if t_us - back_us < at <= t_us]
        return float(recent[-1][1]) if recent and isinstance(recent[-1][1], int | float) else None
    some = [(at, float(v)) for at, v in rows if t_us - back_us <= at < t_us and isinstance(v, int | float)]
    if not some:
        return None
    numbers = [v for _, v in some]
    before = [(at, float(v)) for at, v in rows if 0 < t_us - back_us - at < back_us and isinstance(v, int | float)]
    counted = [*before[-1:], *some]
    rose = sum(b - a if b >= a else max(b, 0.0) for (_, a), (_, b) in pairwise(counted))
    length_s = (some[-1][0] - counted[0][0]) / S_US
    plain = {
        "min_over_time": min(numbers),
        "max_over_time": max(numbers),
        "sum_over_time": math.fsum(numbers),
        "avg_over_time": math.fsum(numbers) / len(numbers),
        "count_over_time": float(len(numbers)),
        "last_over_time": numbers[-1],
    }
    if function in plain:
        return plain[function]
    return None if not length_s else rose if function == "increase" else rose / length_s


def steps_of(grid: tuple[int, int, int]) -> list[int]:
    start, step, count = grid
    return [DAY0_US + (start + step * i) * M_US for i in range(count)]


def answered(shelf: Shelf, function: str, times: list[int], back: int) -> list[float | None]:
    series = f'board_x{{device="{shelf.device_id}"}}'
    expression = promql.parse(f"{function}({series}[{back}m])" if function else series)
    with shelf.engine.connect() as conn:
        how = {"lookback_us": back * M_US, "now_us": DAY0_US * 2}
        found = store.answer(conn, expression, np.array(times, np.int64), **how)
    assert isinstance(found, list)
    values = found[0].values.tolist() if found else [math.nan] * len(times)
    return [None if math.isnan(value) else value for value in values]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    batches=BATCHES, seals=st.sets(st.integers(1, 4)), grid=GRIDS, function=FUNCTIONS, back=st.sampled_from([5, 15, 60])
)
@example(batches=[[(0, 1), (5, 2), (14, 3), (20, 9)]], seals={1}, grid=(0, 15, 8), function="max_over_time", back=15)
@example(batches=[[(0, 1), (0, None)]], seals={1}, grid=(0, 15, 8), function="", back=5)
@example(batches=[[(0, 1), (16, "text")], [(40, 2), (60, None)]], seals={2}, grid=(0, 15, 8), function="", back=60)
def test_every_step_says_what_the_readings_do(  # noqa: PLR0913 - what is drawn
    *,
    batches: list[list[tuple[int, Value]]],
    seals: set[int],
    grid: tuple[int, int, int],
    function: str,
    back: int,
    sqlite_url: str,
):
    with a_store(sqlite_url) as engine:
        shelf = a_shelf(engine)
        shelved(shelf, batches, seals)
        times = steps_of(grid)

        said = answered(shelf, function, times, back)

        expected = [wanted(function, shelf.wanted("board.x"), t_us, back * M_US) for t_us in times]
    assert [one is None for one in said] == [one is None for one in expected]
    pairs = zip(said, expected, strict=True)
    assert all(a == pytest.approx(b, abs=1e-9) for a, b in pairs if a is not None and b is not None)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    minutes=st.lists(st.integers(0, 2 * 96 * 15 - 1), min_size=2, max_size=30, unique=True).map(sorted),
    grid=st.sampled_from([(0, 15, 30), (0, 60, 30), (1440, 1440, 2)]),
    function=FUNCTIONS,
)
def test_whole_quarters_say_the_same_when_their_readings_are_no_longer_kept(
    minutes: list[int], grid: tuple[int, int, int], function: str, sqlite_url: str
):
    with a_store(sqlite_url) as engine:
        shelf = a_shelf(engine)
        shelved(shelf, [[(minute, i / 4) for i, minute in enumerate(minutes)]], {1})
        before = answered(shelf, function, steps_of(grid), 15)

        shelf.forget_readings(DAY0_US + 9 * 1440 * M_US)

        assert answered(shelf, function, steps_of(grid), 15) == pytest.approx(before, abs=1e-9)


REGEX = st.text(st.sampled_from("ab.*+?|()[]\\d-^"), max_size=24)


@given(REGEX, st.text(st.sampled_from("ab.d1"), max_size=12))
def test_a_regular_expression_is_refused_or_means_what_it_means_to_python(text: str, value: str):
    try:
        fits = Matcher("x", Operator.MATCHES, text).fits({"x": value})
    except ValueError:
        return

    assert fits is (re.fullmatch(text, value, re.DOTALL | re.ASCII) is not None)
    named = Matcher("x", Operator.MATCHES, text).values()
    assert named is None or fits is (value in named)


@pytest.mark.parametrize("text", ["[[:alpha:]]+", "[a[b]", "[a--b]", "[a&&b]", "[a||b]", "[a~~b]"])
def test_a_set_that_python_reads_otherwise_than_prometheus_or_may_one_day_is_refused(text: str):
    with pytest.raises(ValueError, match="which is not supported"):
        Matcher("x", Operator.MATCHES, text).fits({"x": "a"})


@given(st.text(st.sampled_from("board_temp{}[]()=~!\"'.*5mby ,+-/sumrate<>"), max_size=60))
def test_no_query_breaks_the_parser(text: str):
    with suppress(promql.PromqlError):
        promql.parse(text)


GRAFANA = Path(__file__).parents[2] / "docs" / "operate" / "grafana"
BOARDS = {name: json.loads((GRAFANA / f"{name}.json").read_text()) for name in ("fleet", "device")}
CHOSEN = {
    "product": "(freezer|oven\\\\-2)",  # as Grafana writes two values
    "customer": ".*",  # all
    "site": ".*",
    "series": "board.temp",
    "counter": "meter.energy",
    "device": DEVICE,
    "__interval": "15m",
}
TARGETS = [
    pytest.param(target["expr"], target["instant"], id=f"{name}: {panel['title']} {target['refId']}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    for target in panel["targets"]
]
VARIABLES = [
    pytest.param(one["query"]["query"], id=f"{name}: {one['name']}")
    for name, board in BOARDS.items()
    for one in board["templating"]["list"]
    if one["type"] == "query"
]


def written(text: str) -> str:
    return re.sub(r"\$(\w+)", lambda found: CHOSEN[found[1]], text)


@pytest.fixture(scope="module")
def grafana(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """What Grafana does with the data source's file: POST with the token in a header, to a fleet that is filled."""
    url = f"sqlite:///{tmp_path_factory.mktemp('grafana') / 'fleet.db'}"
    source = (GRAFANA / "datasource.yaml").read_text()
    address = re.search(r"url: (\S+)", source)
    header = re.search(r"httpHeaderName1: (\S+)", source), re.search(r"httpHeaderValue1: (.+)", source)
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        desk = runner.run(stack.enter_async_context(a_desk(url, devices=(DEVICE, OTHER))))
        runner.run(filled(desk))
        name, value = (one[1] if one else "" for one in header)
        base = (address[1] if address else "").replace("$FIELDLINE_URL", desk.url)
        sent = {name: value.replace("$FIELDLINE_TOKEN", desk.secrets[Scope.READ])}

        def ask(path: str, *, method: str = "POST", **params: object) -> Any:  # noqa: ANN401 - JSON
            how = {"data" if method == "POST" else "params": params}

            async def asking() -> httpx.Response:
                async with httpx.AsyncClient(headers=sent, trust_env=False) as client:
                    return await client.request(method, f"{base}/api/v1/{path}", **how)

            return runner.run(asking()).json()

        yield ask
        runner.run(stack.aclose())


@pytest.mark.parametrize(("expr", "instant"), TARGETS)
def test_every_query_of_the_dashboards_is_answered_with_data(grafana: Callable[..., Any], expr: str, *, instant: bool):
    if instant:
        told_ = grafana("query", query=written(expr), time=NOW_S)
    else:
        told_ = grafana("query_range", query=written(expr), start=DAY0_S, end=NOW_S, step=900)

    assert told_["status"] == "success", told_
    assert told_["data"]["result"]


@pytest.mark.parametrize("query", VARIABLES)
def test_every_variable_of_the_dashboards_has_values(grafana: Callable[..., Any], query: str):
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", written(query))
    assert found is not None
    span = {"start": DAY0_S, "end": NOW_S}

    told_ = grafana(f"label/{found[2]}/values", method="GET", **{"match[]": found[1]}, **span)

    assert told_["status"] == "success", told_
    assert (told_["data"] != []) is (found[2] != "site")  # no device of the test has said its site


def test_grafana_is_told_whose_api_it_is(grafana: Callable[..., Any]):
    assert grafana("status/buildinfo", method="GET")["data"]["version"] == "2.42.0"
    assert grafana("query", query="1+1", time=NOW_S)["data"] == {"resultType": "scalar", "result": [NOW_S, "2"]}
