"""One series over many devices: who is meant, what they say, and how it is spread."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from batches import T0_US, segment, telemetry
from click.testing import CliRunner
from desks import Desk, a_desk
from sqlalchemy import update

from fleet.cli import main
from fleet.core.actor import Scope
from fleet.store.schema import device

pytest_plugins = ("databases",)

SITES = ("Berlin Mitte", "Berlin Spandau", "Hamburg", "100%_sure")
DEVICES = tuple(f"freezer-{number:06d}" for number in range(1, 5))


def told(url: str, story: Callable[[Desk], Coroutine[Any, Any, Any]]) -> Any:  # noqa: ANN401 - what the story returns
    async def whole() -> Any:  # noqa: ANN401
        async with a_desk(url, devices=DEVICES) as desk:
            for number, (name, site) in enumerate(zip(DEVICES, SITES, strict=True)):
                values = [0.0, -20.5 + number] if number < 3 else ["open"]
                late = segment(1, [99.0], series="board.other")
                rows = [late, segment(2, values), segment(3, [None], series="board.none")]
                await desk.fleet.take(telemetry(rows), device_id=name)
                here = update(device).where(device.c.id == name).values(site=site)
                await desk.fleet.db.write(lambda conn, here=here: conn.execute(here))
            return await story(desk)

    return asyncio.run(whole())


def test_a_selector_chooses_devices(database_url: str):
    wanted = {
        "": (1, 2, 3, 4),
        "site:Hamburg": (3,),
        'site:"Berlin Mitte",Hamburg': (1, 3),
        "site:berlin*": (1, 2),
        "-site:Berlin*": (3, 4),
        "site:100%*": (4,),
        "site:10_%*": (),
        "product:freezer device:freezer-000001,freezer-000004 -site:Ham*": (1, 4),
        "product:oven": (),
        "spand": (2,),
        "serial:S-freezer-000003": (3,),
    }

    async def story(desk: Desk) -> dict[str, tuple[int, ...]]:
        found = {}
        for said in wanted:
            answer = await desk.read.get("/fleet/latest", params={"series": "board.temp", "selector": said})
            found[said] = tuple(DEVICES.index(one["device"]) + 1 for one in answer.json()["items"])
        return found

    assert told(database_url, story) == wanted


def test_newest_values_are_shown_by_device_or_by_value(database_url: str):
    async def story(desk: Desk) -> list[Any]:
        path = "/fleet/latest?series=board.temp"
        asked = ("", "&order=highest&limit=2", "&order=lowest&limit=1", f"&from={T0_US + 3_000_000}")
        return [(await desk.read.get(path + more)).json()["items"] for more in asked]

    everything, highest, lowest, fresh = told(database_url, story)

    assert [(one["device"], one["v"]) for one in everything] == list(
        zip(DEVICES, (-20.5, -19.5, -18.5, "open"), strict=True)
    )
    assert everything[0] | {"t": ""} == {
        "device": DEVICES[0],
        "product": "freezer",
        "site": SITES[0],
        "t": "",
        "t_us": T0_US + 2_001_000,
        "v": -20.5,
        "unit": "Cel",
    }
    assert [one["v"] for one in highest] == [-18.5, -19.5]
    assert [one["v"] for one in lowest] == [-20.5]
    assert fresh == []


def test_values_are_spread_over_devices(sqlite_url: str):
    async def story(desk: Desk) -> tuple[Any, Any, Any]:
        spread = (await desk.read.get("/fleet/spread?series=board.temp&bars=2")).json()
        none = (await desk.read.get("/fleet/spread?series=board.none")).json()
        return spread, none, (await desk.read.get("/fleet/spread?series=x&selector=colour:red")).json()

    spread, none, wrong = told(sqlite_url, story)

    assert (spread["devices"], spread["numbers"], spread["mean"], spread["unit"]) == (4, 3, -19.5, "Cel")
    assert (spread["percentiles"]["p50"], spread["percentiles"]["p95"]) == (-19.5, -18.5)
    assert spread["histogram"] == [
        {"from": -20.5, "to": -19.5, "count": 1},
        {"from": -19.5, "to": -18.5, "count": 2},
    ]
    assert spread["texts"] == [{"text": "open", "count": 1}]
    assert (none["devices"], none["numbers"], none["empty"], none["histogram"]) == (4, 0, 4, [])
    assert "colour: is nothing that is compared" in wrong["detail"]


def test_nobody_says_what_is_no_name(sqlite_url: str):
    async def story(desk: Desk) -> list[Any]:
        names = ('board."quoted"', "board\\slash", "tab\t", "")
        return [(await desk.read.get("/fleet/latest", params={"series": name})).json().get("items") for name in names]

    assert told(sqlite_url, story) == [[], [], [], None]


def test_the_command_shows_series_over_the_fleet(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")

    async def story(desk: Desk) -> list[str]:
        env = {"FLEET_URL": desk.url, "FLEET_TOKEN": desk.secrets[Scope.READ]}
        commands = (
            ("series", "latest", "board.temp", "--highest", "--limit", "1", "--json"),
            ("series", "latest", "board.temp", "site:Berlin Mitte"),
            ("series", "spread", "board.temp", "site:Berlin*"),
        )
        done = [await asyncio.to_thread(CliRunner().invoke, main, words, env=env) for words in commands]
        assert [one.exit_code for one in done] == [0, 0, 0], [one.output for one in done]
        return [one.output for one in done]

    highest, berlin, spread = told(sqlite_url, story)

    assert [one["v"] for one in json.loads(highest)] == [-18.5]
    assert "-20.5 °C" in berlin
    assert "Hamburg" not in berlin
    assert "p95" in spread
    assert "█" in spread
