"""How fast telemetry is taken out and brought back: by the command, through a server of its own, on the same machine.

    python bench/fleet/export.py [--devices 20] [--days 3]

The limit beside each figure, as a ratio: the chunks of the same database decoded in this process and thrown away. Ten
series of two decimals every 10 s, sealed, on SQLite; each format is written to the disk and flushed, then read back
into an empty fleet.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fixtures")]

from chunk import swarm  # noqa: E402 - found through the line above

from fleet_process import Server, serving  # noqa: E402
from fleets import add_device  # noqa: E402
from seals import a_store  # noqa: E402
from sqlalchemy import Engine  # noqa: E402

from fleet.api.export import _lines  # noqa: E402 - what the server does for an answer, without its socket
from fleet.core.chunk import Rows, decode  # noqa: E402
from fleet.core.column import values_of  # noqa: E402
from fleet.core.line import Place  # noqa: E402
from fleet.core.names import Names  # noqa: E402
from fleet.core.rollup import DAY_US  # noqa: E402
from fleet.core.sealing import cut  # noqa: E402
from fleet.store import chunk, export  # noqa: E402
from fleet.store.export import Wanted  # noqa: E402

FORMS = {"ndjson": "x.ndjson", "csv": "x.csv", "parquet": "lake"}
ROWS = 8640  # of a day
STEP_US = 10_000_000


def a_day() -> list[Rows]:
    """Return a day of one device, from 1970 on."""
    names, units, frames, _ = swarm()
    t_us = np.arange(ROWS, dtype=np.int64) * STEP_US
    synced, first = np.full(ROWS, 2, np.int64), np.zeros(ROWS, np.int64)
    columns = zip(*(next(frames) for _ in range(ROWS)), strict=True)
    return [
        Rows(name, t_us, values_of(values), synced, first, (unit,))
        for name, unit, values in zip(names, units, columns, strict=True)
    ]


def fill(engine: Engine, devices: int, days: int) -> int:
    """Put sealed days into a database, the last one yesterday's; returns how many readings."""
    day = a_day()
    today_us = time.time_ns() // 1000 // DAY_US * DAY_US
    for number in range(devices):
        device_id = f"swarm-{number:06}"
        with engine.begin() as conn:
            add_device(conn, device_id, "swarm")
            for back in range(days, 0, -1):
                base = today_us - back * DAY_US
                rows = [Rows(one.name, one.t_us + base, one.v, one.clock, one.unit, one.units) for one in day]
                chunk.add(conn, device_id, [chunk.make("board", some, part=0) for some in cut(rows, evenly=True)])
    return devices * days * ROWS * len(day)


def limit(engine: Engine) -> float:
    """Return the seconds that decoding all chunks takes."""
    with engine.connect() as conn:
        bodies = list(conn.exec_driver_sql("SELECT body FROM chunk").scalars())
    begun = time.perf_counter()
    for body in bodies:
        decode(body)
    return time.perf_counter() - begun


def answer(engine: Engine, devices: int) -> float:
    """Return the seconds that the server works for all answers, without its socket."""
    ids = [f"swarm-{number:06}" for number in range(devices)]
    begun = time.perf_counter()
    place: Place | None = Place(0)
    with engine.connect() as conn:
        while place is not None:
            wanted = Wanted(ids, Names(), place.t_us, 2**62, place.after)
            *_, end = _lines(export.readings(conn, wanted))
            said = json.loads(end)
            place = None if said["next_us"] is None else Place(said["next_us"], said["after"])
    return time.perf_counter() - begun


@contextmanager
def server(folder: Path) -> Iterator[tuple[Server, Callable[..., float]]]:
    """Run a server on a folder; yields it and what runs the command against it, which returns seconds."""
    with serving(folder) as running:
        env = {
            **os.environ,
            "FLEET_URL": str(running.api.base_url).removesuffix("/api/v1/"),
            "FLEET_TOKEN": running.token,
        }

        def run(*words: str) -> float:
            begun = time.perf_counter()
            command = [sys.executable, "-m", "fleet.cli", *words, "--json"]
            subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
            return time.perf_counter() - begun

        yield running, run


def tell(what: str, readings: int, took_s: float, limit_s: float, size: int | None = None) -> None:
    """Print one figure."""
    beside = f" {size / readings:6.1f} B/reading" if size else ""
    print(f"{what:26} {readings / took_s / 1e6:7.2f} M readings/s {limit_s / took_s:6.1%} of the limit{beside}")


def size_of(place: Path) -> int:
    """Return the bytes of a file, or of all in a folder."""
    return sum(path.stat().st_size for path in ([place] if place.is_file() else place.rglob("*")) if path.is_file())


def main() -> None:
    """Fill a database, take everything out of it, and bring it back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--days", type=int, default=3)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fieldline-bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        (folder / "full").mkdir(mode=0o700)
        with a_store(f"sqlite:///{folder}/full/fieldline.db") as engine:
            readings = fill(engine, said.devices, said.days)
            limit_s = limit(engine)
            answer_s = answer(engine, said.devices)
        print(f"{readings:,} readings of {said.devices} devices and {said.days} days")
        tell("decoded (the limit)", readings, limit_s, limit_s)
        tell("the server's answers", readings, answer_s, limit_s)
        with server(folder / "full") as (_, run):
            for form, place in FORMS.items():
                took_s = run("export", "--format", form, "--out", str(folder / place))
                tell(f"export {form}", readings, took_s, limit_s, size_of(folder / place))
        for form, place in FORMS.items():
            (folder / f"into-{form}").mkdir(mode=0o700)
            with server(folder / f"into-{form}") as (_, run):
                tell(f"import {form}", readings, run("import", str(folder / place), "--create"), limit_s)
                tell(f"import {form} again", readings, run("import", str(folder / place)), limit_s)


if __name__ == "__main__":
    main()
