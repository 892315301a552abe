"""The agent beside thingsboard-gateway: the same numbered lines on two terminals, in the same run.

    SECONDS=300 python bench/agent/peer.py

SECONDS is how long both run at 200 readings/s before their memory is read. Both keep what they read in SQLite and
send it to a server on this machine, ours through TLS. What is printed is a table: the peer's figure, ours, their
ratio, the limit, and ours against it. Where the peer cannot be had, its figures of an earlier run stand in its
column, and it says so.
"""

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from _feed import Feed, Wire
from _meter import HEAD, Use, peak_mb, row, rss_mb, use
from _ours import Ours
from _tbgw import Peer, Platform, Unusable, install

from firmware_sim.scenarios.stage import Stage, StageError
from firmware_sim.scenarios.world import World

SECONDS = float(os.environ.get("SECONDS", "300"))
IDLE_S, FAST_S, BACKLOG_S = 20.0, 20.0, 30.0
STEADY_HZ, FAST_HZ = 200.0, 2000.0
BACKLOG_MB = 100
SETTLE_S = 90.0  # for what was read to arrive
EARLIER = {  # thingsboard-gateway 3.8.5, measured beside an earlier state of the agent, on another day
    "rss": 72.0,
    "idle": 4.6,
    "line": 0.25,
    "bytes": 1090.0,
    "arrived": 25.0,
}


@dataclass
class Side:
    """One of the two, and what was measured of it."""

    name: str
    wire: Wire
    start: Callable[[], None]
    has_stored: Callable[[], bool]
    pid: Callable[[], int]
    arrived: Callable[[int, int], int]
    figures: dict[str, float] = field(default_factory=dict)

    def measured(self, act: Callable[[], None]) -> Use:
        """Return what was used while something was done."""
        before = use(self.pid())
        act()
        return use(self.pid()) - before


def main() -> None:
    """Measure both and print."""
    with ExitStack() as stack:
        stage = stack.enter_context(Stage())
        world = stack.enter_context(World(stage))
        ours = Ours(stage, world)
        sides = [
            Side(
                *("ours", ours.wire, ours.start, ours.has_stored),
                *(lambda: ours.pid, lambda first, after: len(set(ours.arrived(first, after)))),
            )
        ]
        why = ""
        try:
            sides.append(_peer(stage, stack))
        except (Unusable, StageError, OSError) as error:
            why = str(error)
        _measure(stage, sides)
        _backlog(stage, ours, sides[0])
        _print(sides, why)


def _peer(stage: Stage, stack: ExitStack) -> Side:
    wire = Wire(stage.folder / "tty-peer")
    peer = Peer(stage, install(), wire.path)
    peer.start_broker()
    platform = stack.enter_context(Platform(peer.mqtt))
    return Side("peer", wire, peer.start, peer.has_stored, lambda: peer.pid, platform.count)


def _measure(stage: Stage, sides: list[Side]) -> None:
    first = 1
    for side in sides:  # one after the other: nobody waits for the other's imports
        with Feed([side.wire], STEADY_HZ, first=first) as feed:
            began = time.monotonic()
            side.start()
            stage.wait_for(f"{side.name} stores a reading", side.has_stored, most_s=60)
            side.figures["start"] = time.monotonic() - began
        first = feed.next
    used, steady = _fed(sides, STEADY_HZ, SECONDS, first)
    for side in sides:
        side.figures["rss"] = rss_mb(side.pid())
        side.figures["bytes"] = used[side.name].disk_bytes / steady.sent
        side.figures["line200"] = used[side.name].cpu_s * 1000 / steady.sent
    time.sleep(5)
    before = {side.name: use(side.pid()) for side in sides}
    time.sleep(IDLE_S)
    for side in sides:
        side.figures["idle"] = (use(side.pid()) - before[side.name]).cpu_s / IDLE_S * 100
    used, fast = _fed(sides, FAST_HZ, FAST_S, steady.next)
    for side in sides:
        side.figures["line"] = used[side.name].cpu_s * 1000 / fast.sent
        until, came = time.monotonic() + SETTLE_S, -1
        while time.monotonic() < until:  # until nothing more comes
            before_count, came = came, side.arrived(fast.first, fast.next)
            if came in {fast.sent, before_count}:
                break
            time.sleep(5)
        side.figures["arrived"] = 100 * came / fast.sent
        side.figures["peak"] = peak_mb(side.pid())


def _fed(sides: list[Side], lines_s: float, seconds: float, first: int) -> tuple[dict[str, Use], Feed]:
    """Feed all of them; returns what each used, its after-work included, and the feed."""
    before = {side.name: use(side.pid()) for side in sides}
    with Feed([side.wire for side in sides], lines_s, first=first) as feed:
        time.sleep(seconds)
    time.sleep(2)
    return {side.name: use(side.pid()) - before[side.name] for side in sides}, feed


def _backlog(stage: Stage, ours: Ours, side: Side) -> None:
    ours.stop()
    ours.stop_server()
    ours.prefill(7 * 86_400, 10, str(BACKLOG_MB * 1_000_000))
    ours.start()
    stage.wait_for("the agent has its port", lambda: ours.wire.held_by(ours.pid), most_s=30)
    with Feed([ours.wire], STEADY_HZ, first=10_000_000):
        time.sleep(min(SECONDS, BACKLOG_S))
    side.figures["backlog"] = rss_mb(ours.pid)


def _print(sides: list[Side], why: str) -> None:
    ours = sides[0].figures
    peer: dict[str, float] = EARLIER if why else sides[1].figures
    if why:
        sys.stdout.write(f"The peer did not run here: {why}\nIts column is what an earlier run measured.\n")
    print(HEAD)
    table = (
        ("rss", f"RSS, 200 readings/s, {SECONDS:.0f} s", "MB", 40),
        ("backlog", f"RSS, {BACKLOG_MB} MB of backlog", "MB", 40),
        ("peak", "RSS, the largest so far", "MB", 40),
        ("idle", "CPU, idle", "% of a core", 0.3),
        ("line", "CPU a line, 2,000 lines/s", "ms", 0.03),
        ("line200", "CPU a line, 200 lines/s", "ms", 0.3),
        ("bytes", "to disk a reading, 200/s", "bytes", 110),
        ("arrived", "arrived of 2,000 lines/s", "%", 100),
        ("start", "start to first reading stored", "s", 1.0),
    )
    for key, name, unit, limit in table:
        print(row(name, unit, ours[key], limit, peer.get(key)))


if __name__ == "__main__":
    main()
