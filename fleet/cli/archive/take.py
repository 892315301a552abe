"""Taking an export out: group by group, answer by answer, into whatever writes it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from fleet.cli.archive import source
from fleet.cli.archive.journal import Machine, State, Task
from fleet.cli.archive.rows import Line
from fleet.cli.client import Client

MODULUS = 1 << 64


class Writer(Protocol):
    """Writes what an export says: a file of text, stdout, a folder of Parquet."""

    def begin(self, group: int) -> None:
        """Be told that a group of devices begins, or goes on."""

    def gap(self, line: Line, machine: Machine) -> None:
        """Write one gap."""

    def readings(self, line: Line, machine: Machine) -> None:
        """Write the readings of one line."""

    def reached(self, state: State) -> None:
        """Be told of a place to go on from."""


def take(  # noqa: PLR0913, PLR0917 - from where, what, how far, into what
    client: Client,
    task: Task,
    machines: Sequence[Machine],
    state: State,
    writer: Writer,
    said: Callable[[State], None],
) -> State:
    """Take out what is left from `state` on; returns the state at the end. `said` hears of each state on the way."""
    groups = source.groups(machines)
    while state.group < len(groups):
        group = {one.device: one for one in groups[state.group]}
        writer.begin(state.group)
        if state.next_us is None:
            count = 0
            for line in source.gaps(client, task, groups[state.group]):
                if line["kind"] == "gap":
                    writer.gap({name: line[name] for name in line if name != "kind"}, group[line["device"]])
                    count += 1
            state = replace(state, next_us=task.from_us, gaps=state.gaps + count)
        now_us = state.next_us
        assert now_us is not None  # noqa: S101 - set above
        for line in source.readings(client, task, groups[state.group], now_us, state.after):
            kind = line["kind"]
            if kind == "readings":
                writer.readings(line, group[line["device"]])
            elif kind == "damage":
                state = replace(state, damaged=state.damaged + 1)
            elif kind == "sum":
                state = _after(state, line)
                writer.reached(state)
                said(state)
    return state


def _after(state: State, line: Line) -> State:
    """Return the state after a sum."""
    state = replace(
        state,
        next_us=line["next_us"],
        after=line["after"],
        readings=state.readings + line["readings"],
        checksum=(state.checksum + int(line["checksum"], 16)) % MODULUS,
    )
    return replace(state, group=state.group + 1) if line["next_us"] is None else state
