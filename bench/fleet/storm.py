"""10,000 devices lose the server at once and come back at once: how long until all that waited is acked.

    python bench/fleet/storm.py [--devices 10000] [--outage 30] [--database sqlite|postgresql] [--show]

To reach: 60 s, and no storm of errors. They come by both roads: the link first, the gateway where it takes too long.
"""

import argparse
import math

from _swarm import beside, cores, serving

BACK_S = 60.0


def main() -> None:
    """Print how long it took, and what went wrong on the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--outage", type=float, default=30)
    parser.add_argument("--at-once", type=int, default=1000, help="handshakes that are under way at any moment")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--show", action="store_true", help="the swarm's progress")
    told = parser.parse_args()
    with serving(told.database, "--sync-every", "10") as fleet:
        report = fleet.swarm(
            *("--mode", "storm", "--devices", str(told.devices), "--series", "10", "--every", "10s"),
            *("--for", "30s", "--outage", f"{told.outage}s", "--connecting", str(told.at_once)),
            show=told.show,
        )
    marks = report["marks"]
    print(
        f"{told.devices:,} devices, gone for {told.outage:g} s: all acked after"
        f" {beside(marks.get('back_s', math.inf), BACK_S, 's')};"
        f" not back: {marks.get('not_back', told.devices):.0f}; links opened {marks.get('links_opened', 0):,.0f}"
    )
    print(
        f"  gateway calls {report['counts'].get('gateway calls', 0):,}; errors from the storm on:"
        f" {marks.get('errors', 0):,.0f}; by cause, over the whole run: {report['errors'] or 'none'}"
    )
    print(f"  {'clean' if report['verdict']['clean'] else report['verdict']}; {cores(report)}")


if __name__ == "__main__":
    main()
