"""A protocol that raises, or answers nonsense, ends nothing but its own dialogue, and that for a while only."""

from collections.abc import Callable, Sequence

import pytest

from agent.core.bus import Bus
from agent.core.contain import ContainedKind, ContainedTurned
from agent.ports import Action, Emit, Fault, PortSettings, Reopen, Write
from agent.protocols import find
from agent.wire.document import DocumentError, Table

SETTINGS = PortSettings("/dev/x")
GOOD = Emit((("n", "1", 1),))


class Stranger:
    """A protocol that does what it is told to."""

    def __init__(self, does: Callable[[str], object], due_s: float | None = None) -> None:
        self.does = does
        self.due_s = due_s
        self.begun = 0

    def read(self, table: Table) -> object:
        return self.does(f"read {table.place}")

    def open(self, options: object, settings: PortSettings) -> "Stranger":
        del options, settings
        self.begun += 1
        self.does("open")
        return self

    def opened(self, now_s: float) -> Sequence[Action]:
        del now_s
        return ()

    def feed(self, data: bytes, now_s: float) -> object:
        del now_s
        return self.does(data.decode())

    def tick(self, now_s: float) -> object:
        return self.does(f"tick {now_s:g}")

    def due(self) -> float | None:
        return self.due_s


class Asking(Stranger):
    def waiting(self) -> bool:
        return True


def raises_on(bad: str) -> Callable[[str], object]:
    def does(said: str) -> object:
        if said == bad:
            raise KeyError("boom")
        return [GOOD]

    return does


def dialogue(kind: Stranger) -> ContainedTurned:
    """Open it contained; only one that asks has `waiting`."""
    return ContainedKind("acme", kind, strange=True).open(None, SETTINGS)  # type: ignore[return-value] # nearer than it is


def test_what_it_raises_is_a_fault_with_its_place_and_it_begins_again_after_a_rest():
    kind = Stranger(raises_on("bad"))
    it = dialogue(kind)
    it.opened(0.0)

    (fault,) = it.feed(b"bad", 10.0)

    assert fault.problem.startswith(
        "the protocol failed and rests for 1 s: KeyError: 'boom' (test_agent_in_contain.py:"
    )
    assert it.feed(b"good", 10.5) == ()
    assert it.due() == 11.0
    assert it.tick(11.0) == ()
    assert kind.begun == 2
    assert it.feed(b"good", 11.1) == [GOOD]
    assert it.due() is None


def test_the_rests_grow_up_to_a_minute_and_are_short_again_after_good_times():
    it = dialogue(Stranger(raises_on("bad")))
    now_s = 0.0
    rests: list[float] = []
    for _ in range(9):
        it.feed(b"bad", now_s)
        rests.append(it.due() - now_s)
        now_s = it.due()
        it.tick(now_s)

    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    it.feed(b"bad", now_s + 1000)
    assert it.due() == now_s + 1001


def test_one_that_cannot_even_be_opened_is_tried_again():
    failing = [True]

    def does(said: str) -> object:
        if said == "open" and failing[0]:
            raise OSError("no")
        return [GOOD]

    it = dialogue(Stranger(does))
    (fault,) = it.opened(5.0)
    assert "OSError" in fault.problem
    failing[0] = False

    assert it.tick(it.due()) == ()
    assert it.feed(b"x", 20.0) == [GOOD]


def test_the_others_on_the_port_go_on():
    bad, good = dialogue(Stranger(raises_on("bad"))), dialogue(Stranger(lambda _: [GOOD]))

    heard = Bus([bad, good]).feed(b"bad", 0.0)

    assert [type(actions[0]) for _, actions in heard] == [Fault, Emit]


def test_one_that_asks_takes_turns_and_lets_the_bus_go_when_it_fails():
    it = dialogue(Asking(raises_on("bad")))
    it.opened(0.0)
    assert it.waiting()

    it.feed(b"bad", 1.0)

    assert not it.waiting()
    assert not hasattr(dialogue(Stranger(lambda _: ())), "waiting")


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        42,
        ["x"],
        [Emit(())],
        [Emit((("a b", "1", 1),))],
        [Emit((("n", "", 1),))],
        [Emit((("n", "1", float("nan")),))],
        [Emit((("n", "1", 2**70),))],
        [Emit((("n", "1", [1]),))],  # type: ignore[arg-type] # nonsense is the case
        [Emit((("n", "1", 1),), float("inf"))],
        [Emit(((1, 2),))],  # type: ignore[arg-type] # nonsense is the case
        [Emit((("n", "1", "x" * 300),))],
        [Write("text")],  # type: ignore[arg-type] # nonsense is the case
        [Reopen(0)],
        [Fault(None)],  # type: ignore[arg-type] # nonsense is the case
    ],
)
def test_nonsense_is_a_fault_and_none_of_it_gets_through(nonsense: object):
    (fault,) = dialogue(Stranger(lambda said: nonsense if said == "x" else ())).feed(b"x", 0.0)

    assert isinstance(fault, Fault)
    assert "rests for 1 s" in fault.problem


def test_one_that_is_always_due_does_not_spin():
    it = dialogue(Stranger(lambda _: (), due_s=0.0))
    it.opened(5.0)

    assert it.due() == pytest.approx(5.001)


def test_a_table_that_it_cannot_read_is_an_error_of_the_config():
    with pytest.raises(DocumentError, match=r"source\[0\]\.acme: the protocol 'acme' failed to read it: KeyError"):
        ContainedKind("acme", Stranger(raises_on("read source[0].acme")), strange=True).read(
            Table({}, "source[0].acme")
        )


def test_built_ins_are_contained_too():
    assert isinstance(find("lines"), ContainedKind)
