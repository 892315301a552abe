"""One hour with eight sources and faults of every kind at random: what was lost, what was doubled, what memory did.

    SECONDS=3600 SEED=1 python bench/agent/soak.py

A fault on a board comes every 10 s, one on a process every 3 minutes (on average, chance seeded by SEED); in a run of
less than an hour more often. The agent is killed in the first quarter alone; its memory counts from five minutes after
each of its starts, in which it meets each fault of a process twice.
"""

import os

from firmware_sim.scenarios.soak import Soak
from firmware_sim.scenarios.stage import Stage
from firmware_sim.scenarios.world import World

SECONDS = float(os.environ.get("SECONDS", "3600"))
SEED = int(os.environ.get("SEED", "1"))
LIMIT_MB_H = 1.0


def main() -> None:
    """Soak and print."""
    with Stage() as stage, World(stage) as world:
        soak = Soak(stage, world, SEED, every_s=min(10.0, SECONDS / 20), kill_every_s=min(180.0, SECONDS / 6))
        found = soak.run(SECONDS, settle_s=180)
    print("faults:", ", ".join(f"{kind} {times}" for kind, times in sorted(found.faults.items())))
    for name, count in found.by_source.items():
        print(f"  {name}: produced {count.produced}, stored {count.stored}, lost {count.lost}", end=", ")
        print(f"doubled {count.duplicated}, uncommitted at a kill {count.uncommitted_at_kill}")
    print(f"readings on the wire {found.count.produced}, stored {found.count.stored}")
    print(f"lost {found.count.lost}, doubled {found.count.duplicated} (limit 0 and 0)")
    looks = [mb for life in found.memory for _, mb in life]
    if looks:
        slope = found.slope_mb_h()
        print(f"RSS {min(looks):.1f} to {max(looks):.1f} MB in {len(looks)} looks, over {len(found.memory)} lives")
        longest_s = max(life[-1][0] - life[0][0] for life in found.memory)
        print(f"the longest life was looked at for {longest_s / 60:.0f} min")
        print(f"RSS slope {slope:.2f} MB/h, limit {LIMIT_MB_H:g}, ratio {slope / LIMIT_MB_H:.2f}")


if __name__ == "__main__":
    main()
