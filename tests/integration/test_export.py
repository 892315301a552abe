"""Telemetry taken out: all of it, once, whatever happens meanwhile, in a form that others read as they find it."""

import asyncio
import contextlib
import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from archives import ALL, DAY_US, MIXED, OTHER, OVEN, UNTIL, fill, held, killed, runner
from batches import T0_US, segment
from desks import DEVICE, Desk, a_desk
from fleets import FAR_US
from seals import a_shelf, a_store

from fleet.cli.archive import keep, text
from fleet.core.actor import Scope
from fleet.core.line import Readings
from fleet.core.names import Names
from fleet.store import export
from fleet.store.export import Sum, Wanted

pytest_plugins = ("databases",)


@contextlib.asynccontextmanager
async def a_full_desk(url: str) -> AsyncIterator[Desk]:
    async with a_desk(url, devices=(DEVICE, OTHER)) as desk:
        await fill(desk.fleet)
        yield desk


def readings_of(lines: list[dict[str, Any]], device: str, series: str) -> list[tuple[int, object]]:
    mine = (one for one in lines if one["kind"] == "reading" and (one["device"], one["series"]) == (device, series))
    return [(one["t_us"], one["v"]) for one in mine]


def test_a_reading_leaves_once_whatever_is_sealed_or_comes_in_between(
    database_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export, "MOST_READINGS", 3)
    with a_store(database_url) as engine:
        shelves = [a_shelf(engine), a_shelf(engine)]
        for shelf in shelves:
            for n in range(1, 7):
                shelf.take([segment(n, [1.5, n], t0_us=T0_US + n % 3 * DAY_US), segment(n + 10, [None], series="x.y")])
        wanted = {(shelf.device_id, name): shelf.wanted(name) for shelf in shelves for name in shelf.came}
        ids = [shelf.device_id for shelf in shelves]
        found: dict[tuple[str, str], list[tuple[int, object]]] = {}
        place, answers = export.Place(0), 0
        while place is not None:
            answers += 1
            with engine.connect() as conn:
                said = list(export.readings(conn, Wanted(ids, Names(), place.t_us, FAR_US, place.after)))
            for one in said:
                if isinstance(one, Readings):
                    rows = found.setdefault((one.device, one.series), [])
                    rows += [(one.t0_us + sum(one.dt[: i + 1]), v) for i, v in enumerate(one.v)]
            assert isinstance(said[-1], Sum)
            place = said[-1].place
            shelves[answers % 2].seal()
            shelves[0].take([segment(100 + answers, [9.9], t0_us=T0_US - DAY_US)])  # too late for this export

        assert answers > 4
        assert found == wanted


def test_all_that_belongs_to_a_reading_travels(database_url: str):
    async def story() -> None:
        async with a_full_desk(database_url) as desk:
            run = runner(desk)
            done = await run("export", "--to", UNTIL)
            tallied = json.loads((await run("tally", "--device", DEVICE, "--to", UNTIL, "--json")).stdout)
            kept = await desk.fleet.readings("board.temp")

        assert done.exit_code == 0, done.output
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [one["device"] for one in lines if one["kind"] == "device"] == list(ALL)
        mixed = [v for _, v in readings_of(lines, DEVICE, "board.mixed")]
        assert list(map(repr, mixed)) == list(map(repr, MIXED))
        temp = readings_of(lines, DEVICE, "board.temp")
        assert temp == kept
        assert len(temp) == tallied["series"]["board.temp"]["count"]
        assert {one["clock"] for one in lines if one["kind"] == "reading" and one["device"] == DEVICE} == {
            *("synced", "free", "gnss")
        }
        assert [one["unit"] for one in lines if one.get("v") == 4 and one["device"] == DEVICE][-1] == "K"
        gaps = {(one["from_seq"], one["to_seq"], one["count"]) for one in lines if one["kind"] == "gap"}
        assert gaps == {(3, 3, None), (7, 9, 12)}

    asyncio.run(story())


def test_csv_reads_back_to_the_same_readings(sqlite_url: str):
    async def story() -> None:
        async with a_full_desk(sqlite_url) as desk:
            run = runner(desk)
            as_json = await run("export", "--to", UNTIL)
            as_csv = await run("export", "--to", UNTIL, "--format", "csv")

        lines = [json.loads(line) for line in as_json.stdout.splitlines()]
        rows = list(csv.DictReader(io.StringIO(as_csv.stdout)))
        kinds = {"int": int, "float": float, "text": str, "none": lambda _: None}
        found = [(one["device"], int(one["t_us"]), kinds[one["type"]](one["value"])) for one in rows if one["type"]]
        wanted = [(one["device"], one["t_us"], one["v"]) for one in lines if one["kind"] == "reading"]
        assert list(map(repr, found)) == list(map(repr, wanted))
        assert {one["product"] for one in rows if one["device"] == OVEN} == {"oven"}
        assert sum(one["kind"] == "gap" for one in rows) == 2

    asyncio.run(story())


def test_a_folder_of_parquet_is_read_as_others_find_it(sqlite_url: str, tmp_path: Path):
    async def story() -> None:
        async with a_full_desk(sqlite_url) as desk:
            run = runner(desk)
            as_json = await run("export", "--to", UNTIL)
            done = await run("export", "--to", UNTIL, "--format", "parquet", "--out", str(tmp_path / "lake"), "--json")
        assert done.exit_code == 0, done.output
        lake = ds.dataset(tmp_path / "lake", partitioning="hive")
        lines = [json.loads(line) for line in as_json.stdout.splitlines()]
        wanted = [one for one in lines if one["kind"] == "reading"]

        assert lake.count_rows() == len(wanted) == json.loads(done.stdout)["readings"]
        rows = lake.to_table(filter=(ds.field("product") == "freezer") & (ds.field("device") == DEVICE)).to_pylist()
        values = [_value(one) for one in rows if one["series"] == "board.mixed"]
        assert list(map(repr, values)) == list(map(repr, MIXED))
        days = {str(one["t"].date()) for one in rows}
        assert days == {one["day"] for one in rows}
        assert {(one["product"], one["device"]) for one in lake.to_table().to_pylist()} == {
            ("freezer", DEVICE), ("freezer", OTHER), ("oven", OVEN)
        }  # fmt: skip
        assert len((tmp_path / "lake" / "_gaps.ndjson").read_text().splitlines()) == 2

    asyncio.run(story())


def _value(row: dict[str, Any]) -> object:
    whole, number = row["value_int"], row["value"]
    return whole if whole is not None else number if number is not None else row["text"]


def test_devices_series_and_times_are_chosen(sqlite_url: str):
    async def story() -> None:
        async with a_full_desk(sqlite_url) as desk:
            run = runner(desk)

            async def found(*words: str) -> list[dict[str, Any]]:
                done = await run("export", "--to", UNTIL, *words)
                assert done.exit_code == 0, done.output
                lines = map(json.loads, done.stdout.splitlines())
                return [one for one in lines if one["kind"] == "reading"]

            assert {one["device"] for one in await found("product:oven")} == {OVEN}
            assert {one["device"] for one in await found("--device", OTHER, "--device", OVEN)} == {OTHER, OVEN}
            assert {one["series"] for one in await found("--series", "*.mixed")} == {"board.mixed"}
            assert {one["series"] for one in await found("--series", "board.temp", "--series", "no.such")} == {
                "board.temp"
            }
            assert [one["t_us"] for one in await found("--device", DEVICE, "--from", str(T0_US + 1))] == [T0_US + 1]
            nothing = await run("export", "product:freezer", "--from", str(T0_US + 2_000_000))
            assert (nothing.exit_code, nothing.stdout) == (3, "")

    asyncio.run(story())


def test_who_takes_readings_out_is_an_event_and_reading_is_enough_for_it(sqlite_url: str):
    async def story() -> None:
        async with a_full_desk(sqlite_url) as desk:
            run = runner(desk)
            await run("export", "--to", UNTIL, scope=Scope.READ)
            await run("export", "--device", OVEN, "--to", UNTIL, scope=Scope.READ)

            whole, one = await desk.fleet.events("export.begun")

        assert (whole.actor, whole.device_id, whole.data["devices"]) == ("user:read-1", None, 3)
        assert "the whole fleet" in whole.text
        assert one.device_id == OVEN

    asyncio.run(story())


@pytest.mark.parametrize("form", ["ndjson", "parquet"])
def test_an_export_that_is_killed_at_any_flush_goes_on_to_the_same_result(sqlite_url: str, tmp_path: Path, form: str):
    async def story() -> None:
        async with a_full_desk(sqlite_url) as desk:
            run = runner(desk)
            words = ("export", "--device", DEVICE, "--to", UNTIL, "--format", form, "--out")
            cuts = await killed(desk, *words, str(tmp_path / "CUT"))
            halves = [tmp_path / f"{cut}" for cut in range(1, cuts + 1) if (tmp_path / f"{cut}").is_file()]
            found = {path.read_bytes() for path in halves}  # a file of that name is a whole one
            for cut in range(1, cuts + 1):
                done = await run(*words, str(tmp_path / str(cut)))
                assert done.exit_code == 0, done.output

        assert cuts >= 4
        wanted = held(tmp_path / str(cuts + 1))  # of the one that lived
        assert all(one == wanted for one in found)
        for cut in range(1, cuts + 1):
            assert held(tmp_path / str(cut)) == wanted

    asyncio.run(story())


@pytest.mark.parametrize("form", ["ndjson", "parquet"])
def test_a_network_that_is_cut_costs_nothing_but_time(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
):
    monkeypatch.setattr(keep, "WAIT_S", 0.01)
    monkeypatch.setattr(text, "KEEP_S", 0.0)
    cuts = [6000, 300, 5000]  # bytes that each of the first connections carries
    running: set[asyncio.Task[None]] = set()

    async def story() -> None:
        async with a_full_desk(sqlite_url) as desk:
            port = int(desk.url.rpartition(":")[2])

            async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int) -> None:
                with contextlib.suppress(OSError):
                    while left > 0 and (part := await reader.read(min(left, 65_536))):
                        writer.write(part)
                        await writer.drain()
                        left -= len(part)

            async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                there, to_there = await asyncio.open_connection("127.0.0.1", port)
                left = cuts.pop(0) if cuts else FAR_US
                up = asyncio.create_task(carry(reader, to_there, FAR_US))
                down = asyncio.create_task(carry(there, writer, left))
                running.update((up, down))
                await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
                for way in (up, down):
                    way.cancel()
                await asyncio.wait((up, down))
                for end in (writer, to_there):
                    end.close()
                    with contextlib.suppress(OSError):
                        await end.wait_closed()

            async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
                url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
                words = ("export", "--to", UNTIL, "--format", form, "--out")
                done = await runner(desk)(*words, str(tmp_path / "cut"), url=url)
                await asyncio.wait(running)
            await runner(desk)(*words, str(tmp_path / "whole"))
            begun = await desk.fleet.events("export.begun")

        assert done.exit_code == 0, done.output
        assert cuts == []
        assert held(tmp_path / "cut") == held(tmp_path / "whole")
        assert len(begun) == 2

    asyncio.run(story())


def test_an_export_that_is_whole_is_left_alone_until_said_otherwise(sqlite_url: str, tmp_path: Path):
    async def story() -> None:
        async with a_full_desk(sqlite_url) as desk:
            run = runner(desk)
            words = ("export", "--out", str(tmp_path / "x.ndjson"), "--to")
            first = await run(*words, UNTIL)
            again = await run(*words, UNTIL, "--json")
            other = await run(*words, UNTIL, "--series", "board.temp")
            anew = await run(*words, UNTIL, "--series", "board.temp", "--again", "--json")
            foreign = tmp_path / "mine.csv"
            foreign.write_text("precious")
            refused = await run("export", "--out", str(foreign))

        assert first.exit_code == 0
        assert json.loads(again.stdout)["new"] is False
        assert (other.exit_code, "--again" in other.stderr) == (4, True)
        assert json.loads(anew.stdout)["new"] is True
        assert (refused.exit_code, foreign.read_text()) == (4, "precious")
        assert not (tmp_path / "mine.csv.manifest").exists()

    asyncio.run(story())


def test_what_cannot_be_followed_is_said_in_a_sentence(sqlite_url: str, tmp_path: Path):
    async def story() -> None:
        async with a_full_desk(sqlite_url) as desk:
            run = runner(desk)
            for words, code, said in (
                (("--out", str(tmp_path / "x.xlsx")), 2, "--format"),
                (("--format", "parquet"), 2, "--out"),
                (("colour:red",), 1, "colour"),
                (("--out", "/proc/x.csv"), 1, "/proc"),
                (("--from", "2026-02-01", "--to", "2026-01-01"), 2, "--from"),
            ):
                done = await run("export", *words)

                assert (done.exit_code, said in done.stderr) == (code, True), done.stderr
            devices = ",".join(f"d{n}" for n in range(101))
            many = await desk.read.get("/export/readings", params={"devices": devices})
            none = await desk.read.get("/export/readings", params={"devices": "A B"})

        assert (many.status_code, none.status_code) == (422, 422)

    asyncio.run(story())
