"""Telemetry brought back: out of the second fleet comes what came out of the first, whatever happens between."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archives import DAY_US, NEVER, OTHER, UNTIL, fill, held, killed, runner
from batches import T0_US, segment, telemetry
from desks import DEVICE, Desk, a_desk, alarms
from seals import seal_some

from fleet.cli.archive import bring
from fleet.core.actor import Scope
from fleet.store import latest

pytest_plugins = ("databases",)

FORMS = ("ndjson", "csv", "parquet")
TOO_WARM = '[[rule]]\nname = "too-warm"\nseries = "board.temp"\nabove = 0.0\n'


@contextlib.asynccontextmanager
async def two_desks(url: str, other: str) -> AsyncIterator[tuple[Desk, Desk]]:
    """A fleet with something of everything, and an empty one."""
    async with a_desk(url, devices=(DEVICE, OTHER)) as full, a_desk(other, devices=()) as empty:
        await fill(full.fleet)
        yield full, empty


@pytest.fixture
def other_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'other.db'}"


@pytest.mark.parametrize("form", FORMS)
def test_what_comes_out_went_in(database_url: str, other_url: str, tmp_path: Path, form: str):
    async def story() -> None:
        async with two_desks(other_url, database_url) as (full, empty):
            first, second = tmp_path / f"first.{form}", tmp_path / f"second.{form}"
            words = ("export", "--to", UNTIL, "--format", form, "--out")
            await runner(full)(*words, str(first))
            done = await runner(empty)("import", str(first), "--create", "--json")
            await runner(empty)(*words, str(second))
            tallies = [(await runner(desk)("tally", "--to", UNTIL, "--json")).stdout for desk in (full, empty)]

        assert done.exit_code == 0, done.output
        assert held(second) == held(first)
        assert tallies[0] == tallies[1]

    asyncio.run(story())
    assert {path.name for path in tmp_path.glob("first*")} <= {f"first.{form}", f"first.{form}.manifest"}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_there_already_is_left_alone(database_url: str, tmp_path: Path, form: str):
    async def story() -> None:
        async with a_desk(database_url, devices=(DEVICE, OTHER)) as desk:
            await fill(desk.fleet)
            run = runner(desk)
            before, after = tmp_path / f"before.{form}", tmp_path / f"after.{form}"
            words = ("export", "--to", UNTIL, "--format", form, "--out")
            await run(*words, str(before))
            done = json.loads((await run("import", str(before), "--json")).stdout)
            await seal_some(desk.fleet.db, DEVICE, T0_US)
            again = json.loads((await run("import", str(before), "--json")).stdout)
            await run(*words, str(after))
            stored = await desk.fleet.events("import.stored")

        assert (done["readings"], done["gaps"], again["readings"]) == (0, 0, 0)
        assert done["known"] == again["known"] > 300
        assert held(after) == held(before)
        assert stored == []

    asyncio.run(story())


def test_only_what_is_missing_comes_and_readings_of_one_microsecond_are_counted(database_url: str, tmp_path: Path):
    async def story() -> None:
        async with a_desk(database_url) as desk:
            await desk.fleet.take(telemetry([segment(1, [1.0, 1.0, 2.0], t0_us=T0_US)]))
            path = tmp_path / "some.ndjson"
            said = [(T0_US, 1.0), (T0_US, 1.0), (T0_US, 1), (T0_US + 1000, 1.0), (T0_US + 1000, 1.0), (T0_US - 5, "x")]
            path.write_text("".join(map(_line, said)))
            done = json.loads((await runner(desk)("import", str(path), "--json")).stdout)
            readings = await desk.fleet.readings()

        assert (done["readings"], done["known"]) == (4, 2)
        wanted = [
            (T0_US - 5, "x"),
            (T0_US, 1.0),
            (T0_US, 1.0),
            (T0_US, 1),
            *[(T0_US + 1000, 1.0)] * 2,
            (T0_US + 2000, 2.0),
        ]
        assert sorted(map(repr, readings)) == sorted(map(repr, wanted))

    asyncio.run(story())


def _line(said: tuple[int, object], device: str = DEVICE, **more: object) -> str:
    about = {"device": device, "series": "board.temp", "t_us": said[0], "v": said[1], "unit": "Cel", "clock": "synced"}
    return json.dumps(about | more) + "\n"


def test_history_moves_no_newest_value_back_and_raises_no_alarm(database_url: str, tmp_path: Path):
    async def story() -> None:
        async with a_desk(database_url) as desk:
            await desk.admin.post("/configs", json={"product": "freezer", "toml": TOO_WARM})
            await desk.fleet.take(telemetry([segment(1, [-20.0], t0_us=T0_US)]))
            path = tmp_path / "some.ndjson"
            path.write_text("".join(_line((T0_US - n * 1_000_000, 30.0 + n)) for n in range(100, -1, -1)))
            done = await runner(desk)("import", str(path))
            newest = await desk.fleet.db.read(lambda conn: latest.get(conn, DEVICE))
            path.write_text(_line((T0_US + 1, 5.5)))
            await runner(desk)("import", str(path))
            newer = await desk.fleet.db.read(lambda conn: latest.get(conn, DEVICE))
            raised = await alarms(desk.fleet)
            values = await desk.fleet.values()

        assert done.exit_code == 0, done.output
        assert (newest["board.temp"].t_us, newest["board.temp"].v) == (T0_US, -20.0)
        assert newer["board.temp"].v == 5.5
        assert raised == []
        assert len(values) == 103

    asyncio.run(story())


def test_devices_that_are_not_known_are_named_before_anything_is_stored(
    sqlite_url: str, other_url: str, tmp_path: Path
):
    async def story() -> None:
        async with two_desks(other_url, sqlite_url) as (full, empty):
            path = tmp_path / "all.ndjson"
            await runner(full)("export", "--to", UNTIL, "--out", str(path))
            refused = await runner(empty)("import", str(path))
            before = (await empty.admin.get("/devices")).json()["items"]
            done = await runner(empty)("import", str(path), "--create")
            after = (await empty.admin.get(f"/devices/{DEVICE}")).json()
            made = await empty.fleet.events("device.imported")

        assert (refused.exit_code, before) == (3, [])
        assert all(name in refused.stderr for name in (DEVICE, OTHER, "oven-1", "--create"))
        assert done.exit_code == 0, done.output
        assert (after["product"], after["serial"], after["presence"]) == ("freezer", f"S-{DEVICE}", "never")
        assert [one.actor for one in made] == ["user:admin-1"] * 3

    asyncio.run(story())


def test_an_unknown_device_in_the_middle_is_left_out_and_named(sqlite_url: str, tmp_path: Path):
    async def story() -> None:
        async with a_desk(sqlite_url) as desk:
            path = tmp_path / "some.ndjson"
            path.write_text(_line((T0_US, 1.0)) + _line((T0_US, 2.0), NEVER) + _line((T0_US + 1, 3.0)))
            done = await runner(desk)("import", str(path), "--json")
            nameless = await runner(desk)("import", str(path), "--create")
            path.write_text(_line((T0_US, 2.0), NEVER, product="freezer"))
            made = await runner(desk)("import", str(path), "--create")

            assert (done.exit_code, nameless.exit_code) == (1, 1)
            assert json.loads(done.stdout)["left_out"] == {NEVER: 1}
            assert json.loads(done.stdout)["readings"] == 2
            assert NEVER in nameless.stderr
            assert made.exit_code == 0, made.output
            assert await desk.fleet.values(device_id=NEVER) == [2.0]

    asyncio.run(story())


def test_who_imports_what_is_told_and_only_an_admin_may(sqlite_url: str, tmp_path: Path):
    async def story() -> None:
        async with a_desk(sqlite_url) as desk:
            path = tmp_path / "some.ndjson"
            path.write_text("".join(_line((T0_US + n, 1.0)) for n in range(10)))
            refused = await runner(desk)("import", str(path), scope=Scope.TECHNICIAN)
            await runner(desk)("import", str(path))
            (begun,) = await desk.fleet.events("import.begun")
            (stored,) = await desk.fleet.events("import.stored")

        assert refused.exit_code == 4
        assert (begun.actor, begun.data["source"], stored.device_id) == ("user:admin-1", "some.ndjson", DEVICE)
        assert stored.data["import"] == begun.noun_id

    asyncio.run(story())


def test_an_import_that_is_killed_at_any_flush_goes_on_to_the_same_result(
    sqlite_url: str, other_url: str, tmp_path: Path
):
    async def story() -> None:
        async with two_desks(other_url, sqlite_url) as (full, empty):
            path = tmp_path / "all.csv"
            await runner(full)("export", "--to", UNTIL, "--out", str(path))
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join([*lines[:2], "reading,,,,,,,,,,,,,,,,,,,\n", *lines[2:]]))
            rejects = tmp_path / "rejects.ndjson"
            words = ("import", str(path), "--create", "--rejects", str(rejects), "--json")
            cuts = await killed(empty, "SMALL", *words, code=1)
            done = await runner(empty)(*words)
            tallies = [(await runner(desk)("tally", "--to", UNTIL, "--json")).stdout for desk in (full, empty)]

        assert cuts >= 3
        assert json.loads(done.stdout.splitlines()[0])["readings"] == 0
        assert len(rejects.read_text().splitlines()) == 1
        assert tallies[0] == tallies[1]

    asyncio.run(story())


def test_a_device_that_sends_and_is_sealed_meanwhile_loses_and_doubles_nothing(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bring, "FULL_BYTES", 400)

    async def story() -> None:
        async with a_desk(database_url) as desk:
            path = tmp_path / "some.ndjson"
            path.write_text("".join(_line((T0_US + n * 7, n + 0.5), unit=str(n % 7)) for n in range(60)))
            importing = asyncio.create_task(runner(desk)("import", str(path), "--json"))
            seq = 0
            while not importing.done():
                seq += 1
                await desk.fleet.take(telemetry([segment(seq, [float(seq)], t0_us=T0_US + seq)]))
                if seq % 3 == 0:
                    await seal_some(desk.fleet.db, DEVICE, T0_US)
            done = await importing
            readings = await desk.fleet.readings()

        assert done.exit_code == 0, done.output
        wanted = [(T0_US + n * 7, n + 0.5) for n in range(60)] + [(T0_US + n, float(n)) for n in range(1, seq + 1)]
        assert sorted(readings) == sorted(wanted)

    asyncio.run(story())


HOSTILE = [
    b"\xff\xfe\x00garbage\n",
    b"{]\n",
    b'{"device":"freezer-000001","series":"board.temp","t_us":1780000000000000,"v":true}\n',
    b'{"device":"freezer-000001","series":"board.temp","t_us":1780000000000000,"v":NaN}\n',
    b'{"device":"freezer-000001","series":"board.temp","t_us":1780000000000000,"v":1e999}\n',
    b'{"device":"freezer-000001","series":"board.temp","t_us":1780000000000000,"v":9223372036854775808}\n',
    b'{"device":"freezer-000001","series":"board.temp","t_us":1780000000000000,"v":"\\u0000"}\n',
    b'{"device":"freezer-000001","series":"board.temp","t_us":1780000000000000,"v":"\\ud800"}\n',
    b'{"device":"freezer-000001","series":"board.temp","t_us":1780000000000000,"v":[1]}\n',
    b'{"device":"freezer-000001","series":"board.temp","t_us":"yesterday","v":1}\n',
    b'{"device":"freezer-000001","series":"board.temp","t_us":-1,"v":1}\n',
    b'{"device":"freezer-000001","series":"board.temp","t_us":4000000000000000,"v":1}\n',
    b'{"device":"freezer-000001","series":"board.temp","t_us":1000000,"v":1}\n',
    b'{"device":"freezer-000001","series":"a b","t_us":1780000000000000,"v":1}\n',
    b'{"device":"../../etc","series":"board.temp","t_us":1780000000000000,"v":1}\n',
    b'{"device":7,"series":"board.temp","t_us":1780000000000000,"v":1}\n',
    b'{"device":"freezer-000001","series":"board.temp","t_us":1780000000000000,"v":1,"clock":"quartz"}\n',
    b'{"kind":"gap","device":"freezer-000001","lane":"telemetry","store_id":"s","from_seq":9,"to_seq":2}\n',
    b'{"kind":"poem","device":"freezer-000001"}\n',
    b"[1,2,3]\n",
    b'"' + b"x" * 2_000_000 + b'"\n',
    b"[" * 100_000 + b"\n",
    b'{"device":"freezer-000001","series":"board.temp","t_us":1780000000000000,"v":' + b"9" * 5000 + b"}\n",
]


def test_each_line_that_cannot_be_read_is_named_with_its_reason_and_the_rest_is_imported(
    sqlite_url: str, tmp_path: Path
):
    async def story() -> None:
        async with a_desk(sqlite_url) as desk:
            path = tmp_path / "hostile.ndjson"
            path.write_bytes(b"".join(bad + _line((T0_US + n, float(n))).encode() for n, bad in enumerate(HOSTILE)))
            done = await runner(desk)("import", str(path), "--json")
            values = await desk.fleet.values()

        told = [json.loads(line) for line in (tmp_path / "hostile.ndjson.rejects.ndjson").read_text().splitlines()]
        assert done.exit_code == 1
        assert "Traceback" not in done.output
        assert values == [float(n) for n in range(len(HOSTILE))]
        assert [one["line"] for one in told] == [1 + 2 * n for n in range(len(HOSTILE))]
        assert all(one["reason"] for one in told)

    asyncio.run(story())


def test_a_hostile_csv_is_read_as_far_as_it_can_be(sqlite_url: str, tmp_path: Path):
    head = b"\xef\xbb\xbfdevice,series,t_us,value,type\n"
    good = f"{DEVICE},board.temp,{T0_US},1.5,\n".encode()
    bad = [
        b"freezer-000001,board.temp\n",
        b"freezer-000001,board.temp,1780000000000000,1_0,int\n",
        b"freezer-000001,board.temp,1780000000000000,nan,float\n",
        b"freezer-000001,board.temp,1780000000000000,x,colour\n",
        b"freezer-000001,board.temp,1780000000000000,\xff\xfe,text\n",
        b'freezer-000001,board.temp,1780000000000000,"a"b,text\n',
        b"freezer-000001,board.temp,1780000000000000,5,none\n",
        b"x" * 1_500_000 + b"\n",
        b'freezer-000001,board.temp,1780000000000000,"never closed\n',
    ]

    async def story() -> None:
        async with a_desk(sqlite_url) as desk:
            path = tmp_path / "hostile.csv"
            path.write_bytes(head + good + b"".join(bad[:8]) + good.replace(b"1.5", b"2.5") + bad[8])
            done = await runner(desk)("import", str(path), "--json")
            values = await desk.fleet.values()
            (tmp_path / "other.csv").write_text("a,b\n1,2\n")
            lacking = await runner(desk)("import", str(tmp_path / "other.csv"))

        told = [json.loads(line) for line in (tmp_path / "hostile.csv.rejects.ndjson").read_text().splitlines()]
        assert (done.exit_code, lacking.exit_code, values) == (1, 1, [1.5, 2.5])
        assert [one["line"] for one in told] == [*range(3, 11), 12]
        assert "device" in lacking.stderr

    asyncio.run(story())


def test_a_hostile_folder_of_parquet_costs_its_own_files_only(sqlite_url: str, tmp_path: Path):
    lake = tmp_path / "lake" / "product=freezer" / "day=2026-05-28"
    lake.mkdir(parents=True)
    (lake / "a.parquet").write_bytes(b"PAR1 this is none PAR1")
    pq.write_table(pa.table({"device": [DEVICE], "series": ["board.temp"]}), lake / "b.parquet")
    times = pa.array([T0_US, T0_US + 1, -5], pa.timestamp("us", tz="UTC"))
    names = {"device": [DEVICE] * 3, "series": ["board.temp", "board.temp", "board.temp"]}
    pq.write_table(pa.table({**names, "t": times, "value": [1.5, float("nan"), 2.5]}), lake / "c.parquet")
    whole = {"device": [DEVICE], "series": ["board.temp"], "t": pa.array([T0_US + 9], pa.timestamp("ns", tz="UTC"))}
    whole["t"] = pa.array([(T0_US + 9) * 1000], pa.timestamp("ns", tz="UTC"))
    pq.write_table(pa.table({**whole, "value": [4.0], "value_int": pa.array([4], pa.int64())}), lake / "d.parquet")

    async def story() -> None:
        async with a_desk(sqlite_url) as desk:
            done = await runner(desk)("import", str(tmp_path / "lake"), "--json")
            values = await desk.fleet.values()

        told = [json.loads(line) for line in (tmp_path / "lake.rejects.ndjson").read_text().splitlines()]
        assert (done.exit_code, list(map(repr, values))) == (1, ["1.5", "4"])
        assert [(Path(one["file"]).name, one["line"]) for one in told] == [
            ("a.parquet", 0), ("b.parquet", 0), ("c.parquet", 2), ("c.parquet", 3)
        ]  # fmt: skip

    asyncio.run(story())


def test_an_export_that_is_not_whole_is_not_taken_for_one(sqlite_url: str, tmp_path: Path):
    async def story() -> None:
        async with a_desk(sqlite_url) as desk:
            await desk.fleet.take(telemetry([segment(1, [1.0, 2.0, 3.0])]))
            run = runner(desk)
            path = tmp_path / "x.ndjson"
            await run("export", "--out", str(path))
            path.write_text(path.read_text().rpartition('{"kind":"reading"')[0])
            short = await run("import", str(path))
            manifest = tmp_path / "x.ndjson.manifest"
            manifest.write_text(manifest.read_text().rpartition('{"kind": "end"')[0])
            half = await run("import", str(path))
            gone = await run("import", str(tmp_path / "gone.csv"))

        assert (short.exit_code, "3 readings" in short.stderr) == (1, True)
        assert (half.exit_code, "not whole" in half.stderr) == (4, True)
        assert gone.exit_code == 3

    asyncio.run(story())


def test_what_is_older_than_what_is_kept_is_refused_line_by_line(sqlite_url: str, tmp_path: Path):
    async def story() -> None:
        async with a_desk(sqlite_url) as desk:
            path = tmp_path / "old.ndjson"
            path.write_text(_line((T0_US - 200 * DAY_US, 1.0)) + _line((T0_US, 2.0)))
            done = await runner(desk)("import", str(path), "--json")
            run = await desk.admin.post("/import", json={"source": "x"})
            body = (
                '{"kind":"readings","device":"%s","series":"a","unit":"","clock":"synced","t0_us":5,"dt":[0],"v":[1]}'
            )
            refused = await desk.admin.post(f"/import/{run.json()['id']}/lines", content=body % DEVICE)
            values = await desk.fleet.values()

        assert (done.exit_code, json.loads(done.stdout)["rejected"], values) == (1, 1, [2.0])
        assert (refused.status_code, "not kept" in refused.json()["detail"]) == (422, True)

    asyncio.run(story())


def test_stdin_is_read_too(sqlite_url: str):
    async def story() -> None:
        async with a_desk(sqlite_url) as desk:
            done = await runner(desk)("import", "-", "--format", "ndjson", given=_line((T0_US, 1.5)))
            values = await desk.fleet.values()

        assert (done.exit_code, values) == (0, [1.5]), done.output

    asyncio.run(story())
