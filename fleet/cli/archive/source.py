"""What a fleet has, asked for through its API in bounded parts."""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from fleet.cli.archive.journal import Machine, Task
from fleet.cli.archive.rows import Line
from fleet.cli.client import Client, Unreachable
from fleet.cli.reading import NDJSON

GROUP = 100  # devices of one product that are asked for, and written, together
SILENCE_S = 300.0  # between two pieces of an answer


def plan(client: Client, selector: str, series: Sequence[str], from_us: int | None, to_us: int | None) -> Line:
    """Ask what there is to export: `from_us`, `to_us`, `devices`. The fleet notes who asks."""
    body = {"selector": selector, "series": list(series)}
    times = {name: None if t_us is None else str(t_us) for name, t_us in (("from", from_us), ("to", to_us))}
    found: Line = client.post("export", body=body | times)
    return found


def groups(machines: Sequence[Machine]) -> list[list[Machine]]:
    """Cut devices, which are in order of product, into groups of one product."""
    found = []
    for _, some in groupby(machines, key=lambda one: one.product):
        mine = list(some)
        found += [mine[at : at + GROUP] for at in range(0, len(mine), GROUP)]
    return found


def gaps(client: Client, task: Task, group: Sequence[Machine]) -> Iterator[Line]:
    """Yield the gaps of a group, then `end`; raises Unreachable where the answer is not whole."""
    return _whole(client, client.lines("export", "gaps", **_asked(task, group, task.from_us)))


def readings(client: Client, task: Task, group: Sequence[Machine], next_us: int, after: str | None) -> Iterator[Line]:
    """Yield the lines of one answer, `end` included; raises Unreachable where it is not whole."""
    series = ",".join(task.series) or None
    asked = _asked(task, group, next_us)
    return _whole(client, client.lines("export", "readings", after=after, series=series, **asked))


def _asked(task: Task, group: Sequence[Machine], from_us: int) -> dict[str, Any]:
    devices = ",".join(one.device for one in group)
    return {"accept": NDJSON, "silence_s": SILENCE_S, "devices": devices, "from_": from_us, "to": task.to_us}


def _whole(client: Client, lines: Iterator[str]) -> Iterator[Line]:
    ended = False
    for text in lines:
        line = json.loads(text)
        ended = line["kind"] == "end"
        yield line
    if not ended:
        raise Unreachable(f"{client.server.url} ended its answer half way", hint="Look into the server's log.")
