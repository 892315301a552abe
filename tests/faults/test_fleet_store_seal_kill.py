"""Sealing is killed (SIGKILL) before each of its statements, and at its commit: nothing is lost, nothing is doubled."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from batches import T0_US, segment
from seals import a_shelf, a_store, kept_in_full

from fleet.core.rollup import DAY_US
from fleet.store import seal

pytest_plugins = ("databases",)

DOOMED = Path(__file__).parents[1] / "fixtures" / "doomed.py"


@contextmanager
def doomed(url: str, device_id: str) -> Iterator[Callable[[int], bool]]:
    """Seal in children that die before their nth statement; tells of each whether it died."""
    with subprocess.Popen(
        [sys.executable, DOOMED, url, device_id], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
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

        with doomed(database_url, shelf.device_id) as kill:
            for step in range(1, 100):
                assert kill(step)
                assert all(shelf.readings(name) == shelf.wanted(name) for name in shelf.came)
                with engine.connect() as conn:
                    if seal.plan(conn, shelf.device_id) is None:
                        break  # it died after its commit
                engine.dispose()

        assert step > 15
        assert kept_in_full(shelf)
