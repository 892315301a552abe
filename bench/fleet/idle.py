"""What a server takes that nobody calls: memory and CPU, its embedded broker included.

    python bench/fleet/idle.py [--seconds 20]

To reach: 180 MB. ThingsBoard asks for a machine of 4 GB.
"""

import argparse
import time

from _swarm import serving

from firmware_sim.swarm.meter import usages

REST_S = 5.0  # after the start


def main() -> None:
    """Print memory and CPU for each database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    told = parser.parse_args()
    for kind in ("sqlite", "postgresql"):
        with serving(kind) as fleet:
            time.sleep(REST_S)
            before = usages(fleet.watched)
            time.sleep(told.seconds)
            after = usages(fleet.watched)
        parts = [
            f"{name} {use.rss_bytes / 2**20:.0f} MiB, {100 * (use.cpu_s - before[name].cpu_s) / told.seconds:.1f} %"
            for name, use in after.items()
            if name in before
        ]
        own = sum(use.rss_bytes for name, use in after.items() if name != "postgres") / 1e6
        print(f"{kind:10} server and broker {own:.0f} MB of 180 ({'; '.join(parts)} of a core)")


if __name__ == "__main__":
    main()
