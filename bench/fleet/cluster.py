"""Three nodes with their brokers, PostgreSQL and haproxy under a swarm, each part killed again and again.

Prints how long it took until every device was heard again, beside the 10 s that it may take, and what became of the
readings. The whole is played on one machine; with ROUNDS=3 each node and each broker is killed once, PostgreSQL thrice.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from firmware_sim.scenarios.cluster import LIMIT_S, run  # noqa: E402 - found through the line above


def main() -> None:
    """Play it, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, choices=(2, 3), default=3)
    parser.add_argument("--devices", type=int, default=300, help="that call each second")
    parser.add_argument("--rounds", type=int, default=3, help="a node, a broker and PostgreSQL each")
    told = parser.parse_args()
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if not text.startswith("{"):
            print(text, flush=True)

    status = run(nodes=told.nodes, devices=told.devices, rounds=told.rounds, check=True, say=say)
    verdict = json.loads(said[-1])
    if "faults" not in verdict:
        sys.exit(status)
    print(f"\n{told.nodes} nodes, {told.devices} devices that call each second, {verdict['acked']:,} readings acked")
    for kind in ("and its broker", "nats-server", "PostgreSQL"):
        times = [fault["resumed_s"] for fault in verdict["faults"] if kind in fault["what"]]
        back = [took for took in times if took is not None]
        if back:
            print(
                f"  killed: {kind:<15} all heard again after {median(back):.1f} s ({min(back):.1f} to {max(back):.1f}),"
                f" {max(back) / LIMIT_S:.2f} of {LIMIT_S:g} s; not back: {len(times) - len(back)}"
            )
    print(f"  lost {verdict['lost']}, doubled {verdict['doubled']}, changed series {verdict['changed']}")
    print(f"  jobs that two nodes did at once: {verdict['jobs_held_twice']}")
    sys.exit(status)


if __name__ == "__main__":
    main()
