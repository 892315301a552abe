"""Whatever a device sent, sealed whenever: taken out and brought back in any parts, twice, it is the same."""

from itertools import chain, groupby

from batches import T0_US
from fleets import FAR_US
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seals import Shelf, a_shelf, a_store, kept_in_full
from test_fleet_store_seal_property import BATCHES

from agent.wire.messages import Clock, Segment, Series
from fleet.core.actor import FLEET
from fleet.core.chunk import CLOCKS
from fleet.core.line import Readings, check
from fleet.core.names import Names
from fleet.core.sealing import Gathering
from fleet.store import export, restore
from fleet.store.export import Wanted
from fleet.store.restore import Run

pytest_plugins = ("databases",)

RUN = Run("0" * 16, "a test", FLEET)
Row = tuple[str, int, str, str, str]
"""Series, time, value exactly, unit and clock."""


def taken_out(shelf: Shelf) -> list[Readings]:
    with shelf.engine.connect() as conn:
        said = export.readings(conn, Wanted([shelf.device_id], Names(), 0, FAR_US))
        return [one for one in said if isinstance(one, Readings)]


def rows(lines: list[Readings]) -> list[Row]:
    return [
        (one.series, one.t0_us + sum(one.dt[: i + 1]), repr(v), one.unit, one.clock)
        for one in lines
        for i, v in enumerate(one.v)
    ]


def bring(shelf: Shelf, lines: list[Readings]) -> int:
    """Bring lines in with one request; returns how many readings were new."""
    gathered: dict[str, Gathering] = {}
    for one in lines:
        check(one)
        into = gathered.setdefault(one.series, Gathering(one.series))
        into.add(one.t0_us, one.dt, one.v, clock=CLOCKS.index(Clock(one.clock)), unit=one.unit)
    with shelf.engine.begin() as conn:
        made = restore.draft(conn, shelf.device_id, [one.rows() for one in gathered.values()])
        assert restore.store(conn, RUN, [made], [], now_us=T0_US) == (set(), 0)
    return made.readings


def moments(lines: list[Readings]) -> list[list[Readings]]:
    """Cut lines into the smallest parts that requests may be cut into: of one series and microsecond all."""
    single = [
        Readings(one.device, one.series, one.unit, one.clock, one.t0_us + sum(one.dt[: i + 1]), [0], [v])
        for one in lines
        for i, v in enumerate(one.v)
    ]
    return [list(some) for _, some in groupby(single, key=lambda one: (one.series, one.t0_us))]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(batches=BATCHES, seals=st.sets(st.integers(0, 5)), cut=st.integers(1, 7), turn=st.sampled_from([1, -1]))
def test_what_is_brought_back_is_what_was_taken_out(
    batches: list[list[tuple[Clock, list[Series]]]], seals: set[int], cut: int, turn: int, sqlite_url: str
):
    with a_store(sqlite_url) as engine:
        first, second = a_shelf(engine), a_shelf(engine)
        seq = 0
        for number, segments in enumerate(batches):
            some = [Segment(seq + i, "boot", 0, clock, tuple(made)) for i, (clock, made) in enumerate(segments, 1)]
            seq += len(some)
            first.take(some)
            if number in seals:
                first.seal()
        out = taken_out(first)
        parts = moments(out)
        requests = [list(chain(*parts[at : at + cut])) for at in range(0, len(parts), cut)][::turn]

        new = sum(bring(second, some) for some in requests)
        again = sum(bring(second, some) for some in requests) + bring(second, out) + bring(first, out)
        second.came = first.came

        assert (new, again) == (len(rows(out)), 0)
        assert rows(taken_out(second)) == rows(out)
        assert kept_in_full(second)
