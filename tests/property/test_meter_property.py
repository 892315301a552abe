"""Usage is what the readings say, however they came, were sealed, and are cut into periods."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from batches import T0_US
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from seals import Shelf, a_shelf, a_store

from agent.wire.messages import Clock, Segment, Series, Value
from fleet.core.meter import Usage
from fleet.core.ownership import Transfer, tenures, within
from fleet.core.rollup import DAY_US
from fleet.core.share import cut, sums
from fleet.store import meter

pytest_plugins = ("databases",)

MIN_US = 60_000_000
DAY0_US = T0_US // DAY_US * DAY_US
NOW_US = DAY0_US + 10 * DAY_US
ROLLOVER = 1000
GAP_US = 60 * MIN_US

COUNTS = st.integers(0, 9999).map(lambda whole: whole / 10)
VALUES = st.one_of(COUNTS, COUNTS, COUNTS, st.integers(-5, 1000), st.sampled_from([None, "fault"]))
READINGS = st.lists(st.tuples(st.integers(0, 3 * 96 * 15), VALUES), min_size=1, max_size=12)  # minutes
BATCHES = st.lists(READINGS, min_size=1, max_size=5)
EDGES = st.lists(st.integers(0, 3 * 96 * 60), min_size=2, max_size=6, unique=True).map(sorted)  # quarters of a minute


def used(shelf: Shelf, edges: Sequence[int], *, since_us: int = 0) -> list[Usage]:
    with shelf.engine.connect() as conn:
        how = {"max_gap_us": GAP_US, "rollover": ROLLOVER, "now_us": NOW_US, "since_us": since_us}
        return meter.usage(conn, shelf.device_id, "board.kwh", edges, **how)


def step(before: Value, now: Value) -> Fraction:
    was, is_ = Fraction(str(before)), Fraction(str(now))
    if is_ >= was:
        return is_ - was
    rolled = is_ - was + ROLLOVER
    return rolled if 0 <= rolled <= Fraction(ROLLOVER, 2) else max(is_, Fraction(0))


def wanted(
    shelf: Shelf, from_us: int, to_us: int, among: tuple[int, int] | None = None
) -> tuple[Fraction | None, int, float]:
    """Usage, number of readings and coverage, the long way; of one period `among` all that are asked for at once."""
    begin_us, end_us = among or (from_us, to_us)
    all_numbers = [(t_us, v) for t_us, v in shelf.wanted("board.kwh") if isinstance(v, int | float) and t_us < end_us]
    numbers = [(t_us, v) for t_us, v in all_numbers if t_us < to_us]
    inside = [t_us for t_us, _ in numbers if t_us >= from_us]
    total = sum((step(a, b) for (_, a), (t_us, b) in pairwise(numbers) if t_us >= from_us), Fraction(0))
    times = [t_us for t_us, _ in all_numbers]
    if not times or times[0] > begin_us:
        times.insert(0, begin_us)
    gaps = [(a, b) for a, b in pairwise([*times, end_us]) if b - a > GAP_US or not all_numbers]
    missing = sum(max(0, min(end, to_us) - max(start, from_us)) for start, end in gaps)
    return total if inside else None, len(inside), 1 - missing / (to_us - from_us)


def filled(shelf: Shelf, batches: list[list[tuple[int, Value]]], seals: set[int]) -> None:
    for number, some in enumerate(batches, 1):
        rows = sorted((minute, i) for i, (minute, _) in enumerate(some))
        times = [DAY0_US + minute * MIN_US for minute, _ in rows]
        steps = (0, *(b - a for a, b in pairwise(times)))
        values = tuple(some[i][1] for _, i in rows)
        shelf.take([Segment(number, "boot", 0, Clock.SYNCED, (Series("board.kwh", "kW.h", times[0], steps, values),))])
        if number in seals:
            shelf.seal()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(batches=BATCHES, seals=st.sets(st.integers(1, 5)), cuts=EDGES)
@example(batches=[[(0, 1.5), (1500, 2.5)], [(700, 2.0)]], seals={1}, cuts=[0, 5760])
@example(batches=[[(0, 0.0)], [(0, 0.1), (1, 0.1)]], seals={1}, cuts=[1, 5])  # two of one moment, one of them sealed
def test_usage_is_what_the_readings_say_and_adds_up(
    batches: list[list[tuple[int, Value]]], seals: set[int], cuts: list[int], sqlite_url: str
):
    edges = [DAY0_US + cut * MIN_US // 4 for cut in cuts]
    with a_store(sqlite_url) as engine:
        shelf = a_shelf(engine)
        filled(shelf, batches, seals)

        *periods, whole = used(shelf, edges)

        for one, (from_us, to_us) in zip(periods, pairwise(edges), strict=True):
            usage, count, coverage = wanted(shelf, from_us, to_us)
            assert (one.usage, one.readings) == (usage, count)
            assert used(shelf, [from_us, to_us])[-1].usage == usage
            assert one.exact
        usage, count, coverage = wanted(shelf, edges[0], edges[-1])
        assert (whole.usage, whole.readings) == (usage, count)
        assert abs((whole.coverage or 0) - coverage) < 1e-9
        assert (whole.usage or 0) == sum(one.usage or 0 for one in periods)


FAULTS = st.lists(
    st.tuples(st.integers(0, 3 * 144 - 1), st.sampled_from(["fall", "lost", "late"])),
    max_size=3,
    unique_by=lambda f: f[0],
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(faults=FAULTS, hours=st.lists(st.integers(0, 3 * 24), min_size=2, max_size=5, unique=True).map(sorted))
@example(faults=[(0, "lost")], hours=[0, 1, 2])  # what is missing at the start goes over two periods
def test_days_that_are_read_whole_count_as_their_readings_do(
    faults: list[tuple[int, str]], hours: list[int], sqlite_url: str
):
    rows: dict[int, Value] = {i: round(i * 0.1, 1) for i in range(3 * 144)}  # a reading each 10 minutes, for three days
    late = {}
    for at, kind in faults:
        if kind == "fall":
            rows |= {i: round((i - at) * 0.1, 1) for i in range(at, 3 * 144)}
        elif kind == "lost":
            rows = {i: v for i, v in rows.items() if not at <= i < at + 8}
        else:
            late[at] = rows.pop(at, 7.0)
    edges = [DAY0_US + hour * 60 * MIN_US for hour in hours]
    with a_store(sqlite_url) as engine:
        shelf = a_shelf(engine)
        filled(shelf, [[(10 * i, v) for i, v in some.items()] for some in (rows, late) if some], {1})

        *periods, whole = used(shelf, edges)

        for one, span in zip([*periods, whole], [*pairwise(edges), (edges[0], edges[-1])], strict=True):
            usage, count, coverage = wanted(shelf, *span, among=(edges[0], edges[-1]))
            assert (one.usage, one.readings) == (usage, count)
            assert abs((one.coverage or 0) - coverage) < 1e-9


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(batches=BATCHES, seals=st.sets(st.integers(1, 5)), cuts=EDGES, moves=EDGES)
def test_what_each_owner_has_used_and_the_steps_between_them_are_all_that_was_used(
    batches: list[list[tuple[int, Value]]], seals: set[int], cuts: list[int], moves: list[int], sqlite_url: str
):
    edges = [DAY0_US + cut * MIN_US // 4 for cut in cuts]
    owned = tenures([Transfer(DAY0_US + move * MIN_US // 4, f"c{i}") for i, move in enumerate(moves)])
    with a_store(sqlite_url) as engine:
        shelf = a_shelf(engine)
        filled(shelf, batches, seals)
        mine = within(owned, edges[0], edges[-1])

        shares = [used(shelf, cut(edges, one), since_us=one.from_us) for one in mine]

        for one, usages in zip(mine, shares, strict=True):
            assert all(u.opening is None or u.opening.t_us >= one.from_us for u in usages)
            assert all(u.closing is None or u.closing.t_us < one.to_us for u in usages)
        numbers = [(t, v) for t, v in shelf.wanted("board.kwh") if isinstance(v, int | float) and t < edges[-1]]
        moved_us = [one.from_us for one in mine[1:]] + [mine[0].from_us]
        between = [
            step(a, b)
            for (t, a), (after, b) in pairwise(numbers)
            if after >= edges[0] and any(t < at <= after for at in moved_us)
        ]
        total = used(shelf, edges)[-1].usage or 0
        assert sum(usages[-1].usage or 0 for usages in shares) + sum(between) == total
        for period, one in zip(
            pairwise(edges), sums(edges, [("d", some) for some in shares], NOW_US)[:-1], strict=True
        ):
            parts = [u for some in shares for u in some[:-1] if period[0] <= u.from_us < period[1]]
            assert (one.usage or 0) == sum(u.usage or 0 for u in parts)
            assert one.readings == sum(period[0] <= t < period[1] for t, _ in numbers)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    minutes=st.lists(st.integers(0, 3 * 96 * 15 - 1), min_size=2, max_size=30, unique=True).map(sorted),
    steps=st.lists(st.integers(0, 40), min_size=30, max_size=30),
)
def test_a_counter_that_never_fell_counts_the_same_from_windows_alone(
    minutes: list[int], steps: list[int], sqlite_url: str
):
    values = [sum(steps[: i + 1]) / 10 for i in range(len(minutes))]
    edges = [DAY0_US + hour * 60 * MIN_US for hour in range(0, 73, 6)]
    with a_store(sqlite_url) as engine:
        shelf = a_shelf(engine)
        filled(shelf, [list(zip(minutes, values, strict=True))], {1})
        before = used(shelf, edges)
        shelf.forget_readings(NOW_US)

        after = used(shelf, edges)

        assert after == before
        assert all(one.exact for one in after)
