"""Run the benchmarks of one side, or of both: `python -m bench [agent|fleet] [NAME …]`.

Each benchmark is a script in `bench/agent` or `bench/fleet` that prints its figures with the peer or the limit beside
them, from the same run, as a ratio. They assert nothing. Those of `LONG` take minutes to most of an hour: they run
when named.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SIDES = ("agent", "fleet")
LONG = ("cluster", "fuzz", "growth", "hint", "kills", "overload", "peer", "rss", "soak", "steady10k", "storm")


def main(words: list[str]) -> int:
    """Run what was named; returns the exit status of the worst."""
    sides = [word for word in words if word in SIDES] or list(SIDES)
    names = [word for word in words if word not in SIDES]
    scripts = [script for side in sides for script in sorted((HERE / side).glob("*.py"))]
    scripts = [script for script in scripts if not script.stem.startswith("_")]
    chosen = [script for script in scripts if (script.stem in names if names else script.stem not in LONG)]
    if not chosen:
        known = ", ".join(script.stem for script in scripts)
        sys.stderr.write(f"No benchmark is named {' '.join(names)}; there are: {known}\n")
        return 2
    python = f"Python {platform.python_version()}, {Path(sys.executable).resolve()}"
    sys.stdout.write(f"{python}; {len(os.sched_getaffinity(0))} cores\n")
    worst = 0
    for script in chosen:
        sys.stdout.write(f"\n== {script.parent.name}/{script.stem}\n")
        sys.stdout.flush()
        worst = max(worst, subprocess.run([sys.executable, str(script)], check=False).returncode)  # noqa: S603 - ours
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
