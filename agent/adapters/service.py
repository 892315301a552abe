"""The agent's service as systemd sees it: its user and directory made, the service started, stopped, removed.

Where systemd does not run as the first process (a container, a chroot) nothing is started, and that is said; its
tools for users and directories are used if they are there, as they need no running systemd.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from agent import __version__
from agent.adapters.install import FILES, UNIT, Step
from agent.adapters.local import ask
from agent.core.status import Status
from agent.errors import Misconfigured, Unavailable
from agent.settings import StateDir
from agent.wire.codec import decode
from agent.wire.errors import WireError

SYSTEMD = Path("/run/systemd/system")  # sd_booted(3): there if systemd is the service manager
USER = "fieldline"
TIMEOUT_S = 90.0

Call = Callable[[Sequence[str]], None]


def runs() -> bool:
    """Tell whether systemd runs this machine."""
    return SYSTEMD.is_dir()


def require_root(command: str) -> None:
    """Raise Misconfigured unless root."""
    if os.geteuid() != 0:
        raise Misconfigured(
            f"`fleet-agent {command}` changes the system and has to run as root.",
            hint=f"sudo $(command -v fleet-agent) {command}",
        )


def call(command: Sequence[str]) -> None:
    """Run a program of the system; raises Misconfigured with what it said if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603 - fixed words
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Misconfigured(f"`{' '.join(command)}` did not work: {error}.") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Misconfigured(
            f"`{' '.join(command)}` failed: {said[-1] if said else f'exit code {done.returncode}'}.",
            hint="Mend that and run the same command again; steps that are done are not done twice.",
        )


def make_ready(state: StateDir, run: Call = call) -> Iterator[Step]:
    """Make the service's user and its state directory."""
    for tool, name in (("systemd-sysusers", "sysusers.d"), ("systemd-tmpfiles --create", "tmpfiles.d")):
        conf = str(FILES[f"{name}/fieldline.conf"])
        if shutil.which(tool.split()[0]) is None:
            yield Step(name, f"{tool.split()[0]} is not installed here: nothing is made of {conf}", changed=False)
        else:
            run([*tool.split(), conf])
            yield Step(name, "applied", changed=False)
    if not state.root.exists():
        state.root.mkdir(mode=0o750, parents=True)
        yield Step(str(state.root), "made; it belongs to root, as there is no user of the service", changed=True)


def start(state: StateDir, *, changed: bool, run: Call = call) -> Iterator[Step]:
    """Enable the service and, on an enrolled device, see that the present program and unit run."""
    run(["systemctl", "daemon-reload"])
    if shutil.which("udevadm"):
        run(["udevadm", "control", "--reload"])
        run(["udevadm", "trigger", "--subsystem-match=tty", "--action=change"])
    run(["systemctl", "enable", "--quiet", UNIT])
    yield Step(UNIT, "enabled: it starts with the machine", changed=True)
    if not state.identity.exists():
        return
    version = running_version(state)
    if version == __version__ and not changed:
        yield Step(UNIT, f"runs {version} already", changed=False)
        return
    run(["systemctl", "restart", UNIT])
    yield Step(UNIT, "started" if version is None else f"restarted ({version} ran before)", changed=True)


def stop(run: Call = call) -> Step:
    """Stop and disable the service."""
    run(["systemctl", "disable", "--now", "--quiet", UNIT])
    return Step(UNIT, "stopped and disabled", changed=True)


def forget(run: Call = call) -> None:
    """Have systemd and udev see that the files are gone."""
    run(["systemctl", "daemon-reload"])
    if shutil.which("udevadm"):
        run(["udevadm", "control", "--reload"])


def running_version(state: StateDir) -> str | None:
    """Return the version of the agent that runs; None if none answers."""
    try:
        return decode(Status, ask(state.socket, "status")).agent_version
    except (Unavailable, WireError):
        return None
