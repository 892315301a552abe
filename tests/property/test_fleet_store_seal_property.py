"""Whatever comes, in whatever order, however late, sealed whenever: each reading once, and rollups as counted."""

from batches import T0_US
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seals import a_shelf, a_store, kept_in_full

from agent.wire.messages import Clock, Segment, Series
from fleet.core.rollup import DAY_US

pytest_plugins = ("databases",)

VALUES = st.one_of(
    st.integers(-300, 300).map(lambda whole: whole / 10),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([None, "fault", -0.0, 0.1 + 0.2, 1e300]),
)
NUMBERS = st.integers(-300, 300).map(lambda whole: whole / 10)
# Days, then minutes, then microseconds: much falls into the same moment, the same window, the same day.
TIMES = st.tuples(st.integers(0, 2), st.integers(0, 95), st.integers(0, 2)).map(
    lambda at: (T0_US // DAY_US) * DAY_US + at[0] * DAY_US + at[1] * 900_000_000 + at[2]
)
SERIES = st.builds(
    lambda name, unit, t0_us, rows: Series(
        f"board.{name}", unit, t0_us, (0, *(dt for dt, _ in rows[1:])), tuple(v for _, v in rows)
    ),
    st.sampled_from(["temp", "door"]),
    st.sampled_from(["Cel", "K"]),
    TIMES,
    st.one_of(
        *(
            st.lists(st.tuples(st.sampled_from([0, 1, 60_000_000, 30_000_000_000]), kind), min_size=1, max_size=8)
            for kind in (NUMBERS, VALUES)
        )
    ),
)
BATCHES = st.lists(
    st.lists(st.tuples(st.sampled_from(Clock), st.lists(SERIES, min_size=1, max_size=2)), min_size=1, max_size=3),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(batches=BATCHES, seals=st.sets(st.integers(0, 5)))
def test_sealing_changes_nothing_but_how_it_is_kept(
    batches: list[list[tuple[Clock, list[Series]]]], seals: set[int], sqlite_url: str
):
    with a_store(sqlite_url) as engine:
        shelf = a_shelf(engine)
        seq = 0
        for number, segments in enumerate(batches):
            rows = [Segment(seq + i, "boot", 0, clock, tuple(some)) for i, (clock, some) in enumerate(segments, 1)]
            seq += len(rows)
            shelf.take(rows)
            if number in seals:
                shelf.seal()
            assert all(shelf.readings(name) == shelf.wanted(name) for name in shelf.came)

        shelf.seal()

        assert kept_in_full(shelf)
