"""Sealing and retention are killed (SIGKILL) before each write, and at the commit: nothing lost, nothing doubled."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from batches import T0_US, segment
from seals import a_shelf, a_store, kept_in_full

from fleet.core.rollup import DAY_US, STEPS_S
from fleet.store import seal

pytest_plugins = ("databases",)

DOOMED = Path(__file__).parents[1] / "fixtures" / "doomed.py"


@contextmanager
def doomed(url: str, device_id: str, work: str) -> Iterator[Callable[[int], bool]]:
    """Work in children that die before their nth write; tells of each whether it died."""
    with subprocess.Popen(
        [sys.executable, DOOMED, url, device_id, work], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:

        def kill(step: int) -> bool:
            assert parent.stdin is not None
            assert parent.stdout is not None
            parent.stdin.write(f"{step}\n")
            parent.stdin.flush()
            return parent.stdout.readline() == "died\n"

        yield kill
        parent.communicate()


def test_a_sealing_killed_anywhere_has_happened_whole_or_not_at_all(database_url: str):
    with a_store(database_url) as engine:
        shelf = a_shelf(engine)
        late_us = T0_US - DAY_US
        shelf.take([segment(1, [20.5, 20.6, None]), segment(2, [3, 4], series="meter.energy", t0_us=late_us)])
        shelf.seal()
        before_us = T0_US // DAY_US * DAY_US + DAY_US - 1000  # so that the second batch lies in two days
        shelf.take([segment(3, [20.7, 20.8, 20.9], t0_us=before_us), segment(4, [20.1])])
        shelf.take([segment(5, [2, 5], series="meter.energy", t0_us=late_us)])
        engine.dispose()

        with doomed(database_url, shelf.device_id, "seal") as kill:
            for step in range(1, 100):
                assert kill(step)
                assert all(shelf.readings(name) == shelf.wanted(name) for name in shelf.came)
                with engine.connect() as conn:
                    if seal.plan(conn, shelf.device_id) is None:
                        break  # it died after its commit
                engine.dispose()

        assert step > 6
        assert kept_in_full(shelf)


def test_letting_go_killed_anywhere_has_happened_whole_or_not_at_all(database_url: str):
    with a_store(database_url) as engine:
        shelf = a_shelf(engine)
        for seq, days in enumerate((30, 20, 10, 1), 1):
            shelf.take([segment(seq, [1.0, 2.0], t0_us=T0_US - days * DAY_US)])
        shelf.seal()
        engine.dispose()

        def count() -> tuple[int, int, int]:
            windows = (len(shelf.windows("board.temp", step_s)) for step_s in STEPS_S)
            return len(shelf.readings("board.temp")), *windows

        with doomed(database_url, shelf.device_id, "drop") as kill:
            for step in range(1, 100):
                assert kill(step)
                if count() != (8, 4, 4):
                    break
                engine.dispose()

        assert step > 5
        assert count() == (4, 2, 4)
