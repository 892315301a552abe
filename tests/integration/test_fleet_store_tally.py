"""The tally of a database: the same whether readings are sealed or not, in every span, on either kind."""

import pytest
from batches import T0_US, segment
from fleets import FAR_US
from seals import a_shelf, a_store

from fleet.core.tally import Tally
from fleet.store.tally import MANY, tally

pytest_plugins = ("databases",)

SPANS = ((0, FAR_US), (T0_US + 3_000_000, T0_US + 5_000_500), (0, T0_US))


@pytest.mark.parametrize("sealed", [(), (0, 1, 2), (0,), (2,)])
def test_a_reading_counts_once_sealed_or_not(database_url: str, sealed: tuple[int, ...]):
    with a_store(database_url) as engine:
        shelf, other = a_shelf(engine), a_shelf(engine)
        other.take([segment(1, [9.0])])
        for number in range(3):
            rows = [
                segment(2 * number + 1, [1.5, None, 2]),
                segment(2 * number + 2, ["fault", -3.25], series="board.state"),
            ]
            shelf.take(rows)
            if number in sealed:
                shelf.seal()
        for from_us, to_us in SPANS:
            with engine.connect() as conn:
                found = {one.device_id: one.series for one in tally(conn, from_us, to_us)}
                alone = list(tally(conn, from_us, to_us, shelf.device_id))

            wanted = {name: Tally() for name in shelf.came}
            for name, kept in wanted.items():
                kept.add([(t_us, v) for t_us, v in shelf.wanted(name) if from_us <= t_us < to_us])
            wanted = {name: kept for name, kept in wanted.items() if kept.count}
            assert found.get(shelf.device_id, {}) == wanted
            assert [one.series for one in alone] == ([wanted] if wanted else [])
            assert (other.device_id in found) == (from_us <= T0_US + 1_000_000 < to_us)


@pytest.mark.parametrize(
    "values", [[0.25 * n for n in range(MANY)], list(range(MANY)), [2**53, -(2**53), *range(MANY)], [1.5, "x"] * MANY]
)
def test_long_rows_count_as_their_readings_do_whole_or_cut(sqlite_url: str, values: list[float | int | str]):
    with a_store(sqlite_url) as engine:
        shelf = a_shelf(engine)
        shelf.take([segment(1, values)])
        ((name, readings),) = ((name, shelf.wanted(name)) for name in shelf.came)
        for from_us, to_us in ((0, FAR_US), (readings[1][0], FAR_US), (0, readings[-1][0])):
            with engine.connect() as conn:
                (found,) = tally(conn, from_us, to_us)

            wanted = Tally()
            wanted.add([(t_us, v) for t_us, v in readings if from_us <= t_us < to_us])
            assert found.series == {name: wanted}
