"""A short run of the fuzzer: every decoder, no exception, no more memory than its limit."""

import os
import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parents[2] / "bench" / "agent" / "fuzz.py"


def test_no_decoder_raises_or_hoards():
    done = subprocess.run(
        [sys.executable, str(FUZZ)],
        env={**os.environ, "SECONDS": "0.5"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
