"""The server killed 50 times under a swarm, on SQLite and on PostgreSQL 18: what is lost, doubled or unsound.

    python bench/fleet/kills.py [--kills 50] [--devices 100] [--database sqlite|postgresql|all]

Prints, for each database, what the swarms' ledgers say beside what the fleet holds, and what `fleet doctor --deep`
found. The ratio is to be 1, and nothing is to be found.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from _store import KINDS, database
from killing import doomed, kill_under_load

LAP_S = 60.0  # of one swarm; the next one goes on with the same devices


def main() -> int:
    """Kill, print; returns 1 if anything was lost, doubled or unsound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--database", choices=(*KINDS, "all"), default="all")
    chosen = parser.parse_args()
    kinds = KINDS if chosen.database == "all" else (chosen.database,)
    return max(_run(kind, chosen.kills, chosen.devices) for kind in kinds)


def _run(kind: str, kills: int, devices: int) -> int:
    chance = random.Random(kind)  # noqa: S311 - the same moments each time
    swarm = ("--devices", str(devices), "--series", "10", "--every", "0.5s")
    done, acked, stored, unclean = 0, 0, 0, 0
    began = time.monotonic()
    with (
        database(kind) as url,
        tempfile.TemporaryDirectory(dir=Path.cwd(), ignore_cleanup_errors=True) as name,
        doomed(Path(name), "--sync-every", "0.5", "--database", url) as server,
    ):
        while done < kills:
            some, report = kill_under_load(server, kills - done, for_s=LAP_S, chance=chance, swarm=swarm)
            done += some
            verdict = report["verdict"]
            acked, stored = acked + verdict["acked"], stored + verdict["stored"]
            unclean += not verdict["clean"]
            print(f"  {kind}: {done} kills, {acked:,} readings acked, {stored:,} stored", flush=True)
        told = server.doctor()
    bad = [one for one in told["findings"] if one["level"] == "fail" and one["check"] != "disk"]
    print(
        f"{kind}: {done} kills in {time.monotonic() - began:.0f} s · stored/acked {stored / max(1, acked):.6f}"
        f" · ledgers not equal: {unclean} · doctor: {len(bad)} findings"
    )
    for one in bad:
        print(f"  {one['check']}: {one['said']}")
    return int(bool(bad) or unclean > 0 or acked != stored)


if __name__ == "__main__":
    sys.exit(main())
