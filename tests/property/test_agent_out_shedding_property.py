"""Thinning, for any readings: what is said to be gone and what is left add up, and no extreme is lost."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from agent.core.outbox import Columns, Moment, readings_of
from agent.core.shedding import MEAN, MINUTE_US, Budget, Fill, excess_bytes, thin
from agent.ports import Reading
from agent.wire.codec import decode
from agent.wire.messages import Clock, Segment

START_US = 1_800_000_000_000_000
VALUES = st.one_of(st.floats(-1e6, 1e6), st.integers(-(10**6), 10**6), st.none(), st.sampled_from(["on", "off"]))
STEPS = st.lists(
    st.tuples(st.integers(0, 3_000_000), st.sampled_from(["a.x", "a.y"]), VALUES), min_size=20, max_size=300
)


def rows_of(steps: list[tuple[int, str, object]], a_row: int) -> list[tuple[Segment, int]]:
    rows, now_us = [], START_US
    for i in range(0, len(steps), a_row):
        columns = Columns()
        for dt, name, value in steps[i : i + a_row]:
            now_us += dt
            columns.add([Reading(name, "Cel", now_us, value)])  # type: ignore[arg-type] # drawn as a Value
        body = columns.cut(len(rows) + 1, Moment(now_us, now_us - START_US, "boot", Clock.SYNCED))[0].body
        rows.append((decode(Segment, body), len(body)))
    return rows


def by_minute(segments: list[Segment]) -> dict[tuple[str, int], list[Reading]]:
    found = defaultdict(list)
    for segment in segments:
        for reading in readings_of(segment):
            found[reading.name, reading.t_us // MINUTE_US].append(reading)
    return found


@given(steps=STEPS, a_row=st.integers(1, 20))
def test_thinning_keeps_each_minutes_extremes_and_counts_the_rest(steps: list[tuple[int, str, object]], a_row: int):
    rows = rows_of(steps, a_row)
    shed = thin(rows)
    if shed is None:
        return
    taken = [segment for segment, _ in rows if shed.first_seq <= segment.seq <= shed.last_seq]
    assert shed.put is not None
    left = decode(Segment, shed.put.body)
    before, after = by_minute(taken), by_minute([left])
    means = {key: readings for key, readings in after.items() if key[0].endswith(MEAN)}
    kept = {key: readings for key, readings in after.items() if key not in means}
    assert left.seq == shed.last_seq == taken[-1].seq
    assert set(kept) == set(before)
    for key, readings in kept.items():
        assert {(it.t_us, it.v) for it in readings} <= {(it.t_us, it.v) for it in before[key]}
        numbers = [it.v for it in before[key] if isinstance(it.v, int | float)]
        numbers_left = [it.v for it in readings if isinstance(it.v, int | float)]
        assert len(numbers_left) <= 2
        if numbers:
            assert (min(numbers_left), max(numbers_left)) == (min(numbers), max(numbers))
    count = sum(map(len, before.values()))
    assert shed.gap.count == count - sum(map(len, kept.values()))
    assert shed.readings == count - shed.put.count
    assert shed.bytes == sum(size for segment, size in rows[: len(taken)]) - len(shed.put.body) > 0


@given(
    file_bytes=st.integers(0, 2**40),
    unused=st.integers(0, 2**30),
    free=st.integers(0, 2**40),
    budget=st.builds(Budget, max_bytes=st.integers(2**23, 2**40), min_free_bytes=st.integers(0, 2**34)),
)
def test_a_disk_without_room_never_asks_for_more_than_the_file_holds(
    file_bytes: int, unused: int, free: int, budget: Budget
):
    fill = Fill(file_bytes, min(unused, file_bytes), free)
    excess = excess_bytes(budget, fill)
    used = fill.file_bytes - fill.unused_bytes
    if used < min(budget.max_bytes // 2, budget.least_bytes // 2):
        assert excess <= 0
    if used > budget.max_bytes:
        assert excess > 0
