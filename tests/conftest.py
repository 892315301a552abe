"""What all tests share: vectors, fixtures on the import path, one profile for Hypothesis."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from fleet_process import Server

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS / "fixtures"))

# Some modules import it and others name it as a plugin: it is rewritten whichever comes first.
pytest.register_assert_rewrite("databases")

# A shell that runs us in the background has SIGINT ignored, and every program that a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The machines that run this are shared and slow at times: a deadline an example would measure them, not the code.
settings.register_profile("fieldline", deadline=None, print_blob=True)
settings.load_profile("fieldline")


@pytest.fixture(scope="session")
def fleet_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Server"]:
    """One plain `fleet serve`, for all tests that bring devices of their own and look at nothing else."""
    from fleet_process import serving  # noqa: PLC0415 - the agent's tests run without the fleet's packages, too

    with serving(tmp_path_factory.mktemp("fleet") / "data") as server:
        yield server


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Folder of cases with their answers."""
    return TESTS / "vectors"
