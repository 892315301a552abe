"""SDI-12: measurements in several answers, checks by the standard's examples, probes that are late or not there."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.config import parse_config
from agent.ports import Action, Emit, Fault, Write
from agent.protocols import find, sdi12
from agent.wire.document import DocumentError
from firmware_sim.protocols.sdi12 import Probe, check
from firmware_sim.signals.model import Quantity

HEAD = '[[source]]\nname = "s"\nport = "/dev/x"\nprotocol = "sdi12"\n[source.sdi12]\n'
SOIL = """[[source.sdi12.probes]]
address = "0"
values = [{ name = "moisture", unit = "%" }, {}, { name = "temp", unit = "Cel", scale = 0.1 }]
"""
LEVEL = (
    '[[source.sdi12.probes]]\naddress = "b"\nname = "level"\nmeasure = "R"\nvalues = [{ name = "depth", unit = "m" }]\n'
)


def recorder(table: str = SOIL) -> sdi12.Sdi12:
    (source,) = parse_config(HEAD + table, find).sources
    assert isinstance(source.options, sdi12.Sdi12Options)
    found = sdi12.open(source.options, source.settings)
    found.opened(0.0)
    return found


def sent(actions: Sequence[Action]) -> list[bytes]:
    return [action.data for action in actions if isinstance(action, Write)]


def problems(actions: Sequence[Action]) -> list[str]:
    return [action.problem for action in actions if isinstance(action, Fault)]


@pytest.mark.parametrize("answer", ["0+3.14OqZ", "1+2.7+85.2-0.2-2.7+770.5CAH"])
def test_checks_are_those_of_published_answers(answer: str):
    assert sdi12.check_of(answer[:-3]) == answer[-3:]
    assert check(answer[:-3].encode()) == answer[-3:].encode()


@given(st.text("0123456789+-.abc", max_size=80))
def test_another_implementation_makes_the_same_check(text: str):
    assert check(text.encode()).decode() == sdi12.check_of(text)


def test_a_measurement_waits_for_the_service_request_then_asks_for_the_values():
    it = recorder()

    assert sent(it.tick(0.0)) == [b"0M!"]
    assert it.feed(b"00053\r\n", 0.1) == []
    assert it.due() == pytest.approx(6.1)
    assert it.feed(b"0\r\n", 2.0) == []
    assert it.due() == 2.0
    assert sent(it.tick(2.0)) == [b"0D0!"]
    assert it.feed(b"0+12.5-7", 2.1) == []
    assert it.feed(b"+183\r\n", 2.2) == [Emit((("moisture", "%", 12.5), ("temp", "Cel", 18.3)), 2.1)]
    assert it.due() == 60.0
    assert not it.waiting()


def test_without_a_service_request_the_promised_time_is_waited_for():
    it = recorder()
    it.tick(0.0)
    it.feed(b"00053\r\n", 0.0)

    assert it.tick(5.9) == ()
    assert sent(it.tick(6.0)) == [b"0D0!"]
    assert it.feed(b"0\r\n", 6.05) == []  # it comes late, and is no answer
    assert len(it.feed(b"0+1+2+3\r\n", 6.1)) == 1


def test_values_that_come_in_parts_are_asked_for_until_all_are_there():
    it = recorder()
    it.tick(0.0)
    it.feed(b"00003\r\n", 0.0)

    assert sent(it.tick(0.1)) == [b"0D0!"]
    it.feed(b"0+1+2\r\n", 0.2)
    assert sent(it.tick(0.2)) == [b"0D1!"]
    assert it.feed(b"0+30\r\n", 0.3) == [Emit((("moisture", "%", 1), ("temp", "Cel", 3.0)), 0.2)]


def test_an_adapter_that_echoes_and_wants_an_end_is_understood():
    it = recorder('command_end = "\\r\\n"\n' + SOIL)

    assert sent(it.tick(0.0)) == [b"0M!\r\n"]
    it.feed(b"0M!\r\n00003\r\n", 0.1)
    assert sent(it.tick(0.1)) == [b"0D0!\r\n"]
    assert len(it.feed(b"0D0!0+1+2+3\r\n", 0.2)) == 1


@pytest.mark.parametrize(("measure", "command"), [("M3", b"0MC3!"), ("C", b"0CC!"), ("R2", b"0RC2!")])
def test_with_check_the_command_asks_for_it(measure: str, command: bytes):
    it = recorder("crc = true\n" + SOIL.replace("values", f'measure = "{measure}"\nvalues'))

    assert sent(it.tick(0.0)) == [command]


def test_a_wrong_check_is_not_believed_and_the_measurement_begun_again():
    it = recorder("crc = true\n" + SOIL)
    it.tick(0.0)
    it.feed(b"00003\r\n", 0.0)
    it.tick(0.1)

    (problem,) = problems(it.feed(b"0+3.14OqY\r\n", 0.2))

    assert problem == "probe 0, 0MC! check 'OqY' instead of 'OqZ' in '0+3.14OqY'"
    assert sent(it.tick(0.2)) == [b"0MC!"]


def test_a_probe_that_is_not_there_backs_off_and_the_other_keeps_its_turns():
    it = recorder("every_s = 10\n" + SOIL + LEVEL)
    asked: list[tuple[int, str]] = []
    now_s = 0.0
    while now_s < 100:
        actions = list(it.tick(now_s))
        for data in sent(actions):
            asked.append((round(now_s), data.decode()))
            if data == b"bR0!":
                assert it.feed(b"b+1.5\r\n", now_s + 0.1) == [Emit((("level.depth", "m", 1.5),), now_s + 0.1)]
        due_s = it.due()
        assert due_s is not None
        now_s = max(due_s, now_s + 0.01)

    assert [at_s for at_s, command in asked if command == "0M!"] == [0, 1, 2, 10, 30, 70]
    assert [at_s for at_s, command in asked if command == "bR0!"] == [3, 11, 20, 31, 40, 50, 60, 71, 80, 90]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"00002\r\n", "2 values instead of 3"),
        (b"00000\r\n", "it has nothing to measure"),
        (b"0abc\r\n", "no time and count"),
    ],
)
def test_an_answer_that_cannot_be_followed_is_told(answer: bytes, told: str):
    it = recorder()
    it.tick(0.0)

    (problem,) = problems(it.feed(answer, 0.1))

    assert told in problem


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ((SOIL, ""), r"sdi12\.probes: missing"),
        (('"0"', '"00"'), r"probes\[0\]\.address: '00' is not one letter or digit"),
        (("values", 'measure = "X"\nvalues'), r"probes\[0\]\.measure: 'X' is none of"),
        ((SOIL, SOIL + SOIL), r"probes: 'moisture' is there twice"),
        ((SOIL, 'command_end = "x"\n' + SOIL), r"sdi12\.command_end: 'x' is none of"),
        (('unit = "%"', 'unit = "%RH"'), r"values\[0\]\.unit: '%RH' is not UCUM"),
    ],
)
def test_a_mistake_names_its_place(mistake: tuple[str, str], told: str):
    with pytest.raises(DocumentError, match=told):
        recorder(SOIL.replace(*mistake))


@given(
    st.lists(st.floats(-9999, 9999), min_size=1, max_size=9),
    st.sampled_from(["M", "C"]),
    st.booleans(),
    st.integers(1, 9),
)
def test_what_another_probe_says_is_read_at_any_split(values: list[float], measure: str, checks: bool, size: int):  # noqa: FBT001
    quantities = [Quantity(f"q{i}", "1", 2) for i in range(len(values))]
    probe = Probe(quantities)
    named = ", ".join(f'{{ name = "q{i}", unit = "1" }}' for i in range(len(values)))
    flag = "true" if checks else "false"
    head = f'crc = {flag}\n[[source.sdi12.probes]]\naddress = "0"\n'
    it = recorder(f'{head}measure = "{measure}"\nvalues = [{named}]\n')
    found: list[Action] = []
    now_s = 0.0
    for _ in range(20):
        if found:
            break
        for command in sent(it.tick(now_s)):
            for frame in probe.receive(command, now_s, values):
                for at in range(0, len(frame.data), size):
                    found += it.feed(frame.data[at : at + size], now_s)

    (emit,) = found
    assert isinstance(emit, Emit)
    assert [value for _, _, value in emit.values] == [float(f"{value:.2f}") for value in values]


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"00003\r\n", b"0\r\n", b"0+1+2+3\r\n", b"0!", b"\xff\n"])))
def test_garbage_never_raises_and_memory_stays_bounded(pieces: list[bytes]):
    it = recorder()
    now_s = 0.0
    for piece in pieces:
        it.tick(now_s)
        for action in it.feed(piece, now_s):
            assert isinstance(action, Emit | Fault)
        now_s += 0.4

    assert len(it._found) <= 99 * 10  # noqa: SLF001 - that is the bound
