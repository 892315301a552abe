"""Durable readings a second, acked after COMMIT, over mTLS: server, database, broker and load on this machine.

    python bench/fleet/load.py [--seconds 5] [--repeats 3] [--devices 200] [--readings 200] [--road link|sync]
                               [--database sqlite|postgresql|all] [--show]

A swarm of devices, each with one batch in flight, sends ten series of readings, some a call, made before the clock
starts. Beside it, from the same run, the limit: the same bytes taken by the same ingest in one process, no network.
ThingsBoard tops out at 18,000 readings/s on two cores.
"""

import argparse
import asyncio
from collections.abc import Sequence
from statistics import median

from _store import KINDS, THINGSBOARD, database, drive
from _swarm import cores, middle, serving
from fleets import a_fleet

from firmware_sim.swarm import wire
from firmware_sim.swarm.course import Course

SERIES = 10
T0_US = 1_780_000_000_000_000
ROUNDS = 40  # batches of each device, taken in process
US = 1_000_000


def batches(course: Course, device: int) -> list[bytes]:
    """Return the first batches of a device, a row each, as the swarm sends them."""
    return [
        wire.batch(
            store_id="limit",
            boot_id="boot",
            lane="telemetry",
            prev_seq=seq - 1,
            sent_us=T0_US,
            reported=wire.Reported(),
            rows=[course.row(device, T0_US, seq, "boot")],
        )
        for seq in range(1, ROUNDS + 1)
    ]


async def limit(url: str, made: Sequence[Sequence[bytes]], readings: int, seconds: float) -> float:
    """Return the readings/s that ingest stores in this process."""
    names = tuple(f"limit-{n:06d}" for n in range(len(made)))
    async with a_fleet(url, devices=names) as fleet:
        fleet.clock.forward(400 * 86_400)
        return await drive(fleet, dict(zip(names, made, strict=True)), readings, seconds)


def main() -> None:
    """Print the load and its limit, for each database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--readings", type=int, default=200, help="a call")
    parser.add_argument("--road", choices=["link", "sync"], default="link")
    parser.add_argument("--database", choices=[*KINDS, "all"], default="all")
    parser.add_argument("--show", action="store_true", help="the swarm's progress")
    told = parser.parse_args()
    course = Course(SERIES, US, told.readings // SERIES)
    made = [batches(course, device) for device in range(told.devices)]
    size = sum(map(len, made[0])) / ROUNDS
    premake = max(10, int(1_000_000 * told.seconds / told.readings / told.devices))
    options = (
        *("--mode", "burst", "--devices", str(told.devices), "--series", str(SERIES), "--every", "1s"),
        *("--per-row", str(course.per_row), "--rows", "1", "--premake", str(premake), "--road", told.road),
        *("--for", f"{told.seconds}s"),
    )
    for kind in KINDS if told.database == "all" else (told.database,):
        limits = []
        for _ in range(told.repeats):
            with database(kind) as url:
                limits.append(asyncio.run(limit(url, made, told.readings, told.seconds)))
        with serving(kind) as fleet:
            reports = [fleet.swarm(*options, show=told.show) for _ in range(told.repeats)]
        rates = [report["marks"]["readings_a_s"] for report in reports]
        print(
            f"{kind:10} {told.readings} a call ({size:.0f} B), {told.devices} devices, {told.road}, mTLS:"
            f" {middle(rates)} readings/s durable = {median(rates) / THINGSBOARD:.1f} x ThingsBoard's {THINGSBOARD:,}"
        )
        print(
            f"{'':10} in process, no network: {middle(limits)} readings/s; over the network it is"
            f" {100 * median(rates) / median(limits):.0f} % of that"
        )
        last = reports[-1]
        ack = last["ack_s"]
        print(f"{'':10} ack p50 {ack['p50'] * 1000:.0f} ms, p99 {ack['p99'] * 1000:.0f} ms; {cores(last)}")


if __name__ == "__main__":
    main()
