"""Every power cut: the buffer's writes recorded, and each prefix of what was not synced, torn and whole, opened again.

    python bench/agent/powercut.py [COMMITS]

The bounded form of it is `tests/faults/test_agent_out_powercut.py`. Stops at the first image that lost what was said to
be committed.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[2] / "tests"
sys.path[:0] = [str(TESTS / "fixtures"), str(TESTS / "faults")]

from test_agent_out_powercut import replay  # noqa: E402 - the path comes first


def main() -> None:
    """Cut the power at each call."""
    commits = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        cuts, calls = asyncio.run(replay(Path(folder), commits, every=1, torn=5))
    seconds = time.monotonic() - start
    print(f"{commits} commits, {calls} calls, {cuts} cuts: nothing committed was lost ({seconds:.0f} s)")


if __name__ == "__main__":
    main()
