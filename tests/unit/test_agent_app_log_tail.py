import logging

from agent.adapters.log import KeyValue
from agent.core.log_tail import MAX_LINE_CHARS, last_lines
from agent.wire.limits import MAX_LOG_CHARS, MAX_LOG_LINES


def test_the_newest_lines_are_kept_in_their_order():
    lines = [f"line {i}" for i in range(200)]

    assert last_lines(lines) == tuple(lines[-MAX_LOG_LINES:])
    assert last_lines([]) == ()


def test_lines_keep_to_the_contract_whatever_they_hold():
    found = last_lines(["x\0\ud800" * 2000] * 20)

    assert all(len(line) <= MAX_LINE_CHARS and "\0" not in line for line in found)
    assert sum(map(len, found)) <= MAX_LOG_CHARS
    assert len(found) == MAX_LOG_CHARS // MAX_LINE_CHARS


def test_of_a_long_line_the_end_is_kept():
    (line,) = last_lines(["x" * 5000 + " ValueError: the point of it"])

    assert line.startswith("…x")
    assert line.endswith("ValueError: the point of it")


def test_a_secret_is_masked_before_it_can_be_kept():
    record = logging.LogRecord("agent.x", logging.ERROR, "", 0, "fl1/host/ab/Zm9vYmFyZm9vYmFy refused", (), None)

    (line,) = last_lines([KeyValue(with_time=True).format(record)])

    assert "Zm9v" not in line
