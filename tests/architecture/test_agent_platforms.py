"""The bare install, which is the agent, needs no compiler on the machines it is for: 64-bit and 32-bit ARM.

Resolved against the package index, for Debian 12's Python 3.11 and glibc 2.36. Where the index cannot be reached the
test is skipped with the reason; when the environment says CI=true it fails.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = "3.11"
GLIBC_MINORS = (36, 31, 28, 17)

FROM_PIWHEELS = {
    "cffi",  # PyPI has no armv7l wheel; Raspberry Pi OS takes it from piwheels.org, Debian has python3-cffi
}
"""Packages that a 32-bit ARM machine gets elsewhere, each with the reason."""


@pytest.fixture(scope="module")
def resolved() -> dict[str, str]:
    """Name → requirement of everything in the bare install on aarch64, wheels only."""
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("uv"), "pip", "compile", ROOT / "pyproject.toml", "--quiet"),
            *("--python-platform", "aarch64-manylinux_2_36", "--python-version", PYTHON),
            *("--only-binary", ":all:", "--no-header", "--no-annotate"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 and "No solution found" not in done.stderr:
        _give_up(f"the package index cannot be asked: {done.stderr.strip()[-300:]}")
    assert done.returncode == 0, f"not all of the bare install has a wheel for aarch64: {done.stderr}"
    return {line.partition("==")[0]: line for line in done.stdout.split()}


def test_the_bare_install_is_wheels_on_aarch64(resolved: dict[str, str]):
    assert {"aiomqtt", "click", "cryptography", "httpx", "pyserial", "sqlite-utils"} <= set(resolved)


def test_the_bare_install_is_wheels_on_armv7_but_for_a_known_few(resolved: dict[str, str], tmp_path: Path):
    wanted = [requirement for name, requirement in resolved.items() if name not in FROM_PIWHEELS]

    done = _dry_run(tmp_path, wanted)

    assert done.returncode == 0, done.stderr[-2000:]


def _dry_run(target: Path, requirements: list[str]) -> subprocess.CompletedProcess[str]:
    """Ask pip whether there are wheels for armv7l, with Debian 12's glibc or older."""
    platforms = [f"--platform=manylinux_2_{minor}_armv7l" for minor in GLIBC_MINORS]
    return subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps", "--ignore-installed"),
            *("--target", target, *platforms, "--python-version", PYTHON, "--only-binary", ":all:"),
            *("--disable-pip-version-check", *requirements),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def _give_up(why: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(f"NOT TESTED: {why}")
