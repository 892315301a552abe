"""What all tests share: vectors, fixtures on the import path, one profile for Hypothesis."""

import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS / "fixtures"))

# A shell that runs us in the background has SIGINT ignored, and every program that a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The machines that run this are shared and slow at times: a deadline an example would measure them, not the code.
settings.register_profile("fieldline", deadline=None, print_blob=True)
settings.load_profile("fieldline")


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Folder of cases with their answers."""
    return TESTS / "vectors"
