"""10,000 devices, ten series, a call each ten seconds, for ten minutes: what it costs, and whether it stays so.

    python bench/fleet/steady10k.py [--devices 10000] [--minutes 10] [--database sqlite|postgresql|all] [--show]

To reach: at most 0.60 cores for server and database, ack p99 300 ms, nothing lost, the fleet's process 250 MB and
flat, nats-server 100 KB a connection. Enrolling comes first and is not counted.
"""

import argparse

from _growth import SYNC_EVERY, serving, steady, tell


def main() -> None:
    """Print the cost for each database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "all"], default="all")
    parser.add_argument("--show", action="store_true", help="the swarm's progress")
    told = parser.parse_args()
    for kind in ("sqlite", "postgresql") if told.database == "all" else (told.database,):
        with serving(kind, *SYNC_EVERY) as fleet:
            cost = steady(fleet, told.devices, told.minutes * 60, show=told.show)
        print(f"{kind}, {told.devices:,} devices, {told.minutes:g} min", flush=True)
        tell(cost)


if __name__ == "__main__":
    main()
