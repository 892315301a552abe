"""The ledger keeps what it is given, in order, for readers in other processes."""

from pathlib import Path

import pytest

from firmware_sim import ledger
from firmware_sim.errors import Unavailable
from firmware_sim.ledger import LOST, ON_WIRE, Ledger, Row


def rows(board: str, count: int) -> list[Row]:
    return [Row(board, "temp", 1000 + n, n / 8, ON_WIRE) for n in range(count)]


def test_rows_come_back_numbered_and_as_they_were(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.db") as book:
        book.add(rows("a", 3))
        book.commit()
        book.add([Row("a", "n", 2000, 7, ON_WIRE)])
    read = ledger.read(tmp_path / "l.db")
    assert [row.n for row in read] == [1, 2, 3, 4]
    assert [row.value for row in read] == [0.0, 0.125, 0.25, 7]
    assert type(read[3].value) is int


def test_a_flag_can_be_raised_before_and_after_the_commit(tmp_path: Path) -> None:
    given = rows("a", 3)
    with Ledger(tmp_path / "l.db") as book:
        book.add(given)
        book.mark(given[:1], LOST)
        book.commit()
        book.mark(given[2:], LOST)
        book.commit()
        assert [row.lost_on_wire for row in ledger.read(tmp_path / "l.db")] == [1, 0, 1]
    assert [row.n for row in ledger.read(tmp_path / "l.db", lost=False)] == [2]


def test_two_boards_may_share_a_ledger_and_one_may_come_back(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.db") as one, Ledger(tmp_path / "l.db") as two:
        one.add(rows("a", 2))
        one.commit()
        two.add(rows("b", 2))
        two.commit()
    with Ledger(tmp_path / "l.db") as again:
        again.add(rows("a", 1))
    assert [(row.n, row.board) for row in ledger.read(tmp_path / "l.db")] == [
        (1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "a")
    ]  # fmt: skip
    assert [row.n for row in ledger.read(tmp_path / "l.db", board="b", quantity="temp")] == [3, 4]


def test_what_is_no_ledger_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but long enough to be looked at " * 100)
    with pytest.raises(Unavailable, match="There is no ledger"):
        ledger.read(tmp_path / "missing")
    with pytest.raises(Unavailable, match="cannot be read"):
        ledger.read(tmp_path / "text")
    with pytest.raises(Unavailable, match="cannot be opened"), Ledger(tmp_path / "text"):
        pass
