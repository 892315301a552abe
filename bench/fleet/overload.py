"""Ten times what the server can take, for two minutes: memory stays, nothing is lost, and it is well again at once.

    python bench/fleet/overload.py [--devices 2000] [--seconds 120] [--database sqlite|postgresql] [--show]

A small load first says what the server can take. Then each of many devices has as much to send as a batch may hold
and sends it as fast as acks come, so that ten and more seconds' worth is on its way at any moment. Then the small load
again; between them the server counts what it has, which takes a while. To reach: flat memory, nothing lost, back to
normal in 30 s. (ThingsBoard: out of memory.)
"""

import argparse
from typing import Any

from _swarm import beside, cores, serving

CALM = ("--mode", "steady", "--devices", "100", "--series", "10", "--every", "1s", "--for", "30s", "--road", "link")
CALM_S = 1.0  # ack p99 of a second in which all is normal …
CALM_TIMES = 3.0  # … or so many times that of before
BACK_S = 30.0


def main() -> None:
    """Print memory before, during and after, and how long it took to be normal again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--show", action="store_true", help="the swarm's progress")
    told = parser.parse_args()
    with serving(told.database) as fleet:
        before = fleet.swarm(*CALM, show=told.show)
        during = fleet.swarm(
            *("--mode", "burst", "--devices", str(told.devices), "--series", "10", "--every", "1s"),
            *("--per-row", "400", "--rows", "1", "--for", f"{told.seconds}s", "--road", "auto"),
            show=told.show,
        )
        after = fleet.swarm(*CALM, show=told.show)
    taken = during["marks"]["readings_a_s"]
    offered = told.devices * 4000
    print(
        f"{told.devices:,} devices with 4,000 readings in flight each, {told.seconds:g} s: {taken:,.0f} readings/s"
        f" taken, {offered / max(taken, 1):.0f} s' worth on its way at any moment"
    )
    print(f"  fleet's MiB resident: before {_rss(before)}, during {_rss(during)}, after {_rss(after)}")
    print(f"  all that was on its way was acked after {beside(during['marks']['drained_s'], BACK_S, 's')}")
    normal = max(CALM_S, CALM_TIMES * before["ack_s"]["p99"])
    back = next((one["t_s"] for one in after["samples"] if one["acks"] and one["p99_s"] <= normal), None)
    said = "not back to normal" if back is None else f"back to normal after {beside(back, BACK_S, 's')}"
    print(
        f"  ack p99 before {before['ack_s']['p99'] * 1000:.0f} ms, after {after['ack_s']['p99'] * 1000:.0f} ms: {said}"
    )
    clean = all(report["verdict"]["clean"] for report in (before, during, after))
    print(f"  {'nothing lost' if clean else during['verdict']}; errors {during['errors'] or 'none'}; {cores(during)}")


def _rss(report: dict[str, Any]) -> str:
    seen = [one["usage"]["fleet"]["rss_bytes"] / 2**20 for one in report["samples"] if "fleet" in one["usage"]]
    quarters = [seen[min(len(seen) - 1, len(seen) * part // 4)] for part in range(5)]
    return " ".join(f"{one:.0f}" for one in quarters) + f" (most {max(seen):.0f})"


if __name__ == "__main__":
    main()
