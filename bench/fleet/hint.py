"""A config for 10,000 devices that are connected: how long until the last of them has heard of it.

    python bench/fleet/hint.py [--devices 10000] [--show]

To reach: 3 s. (Without the hint each would hear of it with its next ack.)
"""

import argparse
import math

from _swarm import beside, cores, serving

LAST_S = 3.0


def main() -> None:
    """Print when the first, the middle and the last device heard."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--show", action="store_true", help="the swarm's progress")
    told = parser.parse_args()
    with serving("sqlite", "--sync-every", "60") as fleet:
        report = fleet.swarm(
            *("--mode", "hint", "--devices", str(told.devices), "--series", "10", "--every", "60s"),
            *("--for", "20s", "--road", "link"),
            show=told.show,
        )
    marks = report["marks"]
    print(
        f"{marks.get('hint_devices', 0):,} of {marks.get('hint_listening', 0):,} devices heard: the first after"
        f" {marks.get('hint_first_s', 0):.2f} s, the middle {marks.get('hint_median_s', 0):.2f} s,"
        f" the last {beside(marks.get('hint_last_s', math.inf), LAST_S, 's', digits=2)}"
    )
    print(f"  errors {report['errors'] or 'none'}; {cores(report)}")


if __name__ == "__main__":
    main()
