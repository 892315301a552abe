"""The agent's service as systemd sees it: its user and directory made, the service started, stopped, removed.

Where systemd does not run as the first process (a container, a chroot) nothing is started, and that is said; its
tools for users and directories are used if they are there, as they need no running systemd.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import agent
from agent import __version__
from agent.adapters.install import FILES, UNIT, Step
from agent.adapters.local_api import ask
from agent.core.status import Status
from agent.errors import Misconfigured, Unavailable
from agent.settings import DEFAULT_STATE, StateDir
from agent.wire.codec import decode
from agent.wire.errors import WireError
from agent.wire.units import US_PER_S

SYSTEMD = Path("/run/systemd/system")  # sd_booted(3): there if systemd is the service manager
UDEV = Path("/run/udev/control")  # there if udev runs; in a container the host's does, and makes the devices
USER = "fieldline"
TIMEOUT_S = 90.0

Call = Callable[[Sequence[str]], None]


def runs() -> bool:
    """Tell whether systemd runs this machine."""
    return SYSTEMD.is_dir()


def serves(state: StateDir) -> bool:
    """Tell whether the service is installed on this machine for this state directory."""
    return runs() and state.root == DEFAULT_STATE and FILES[UNIT].exists()


def require_root(command: str) -> None:
    """Raise Misconfigured unless root."""
    if os.geteuid() != 0:
        raise Misconfigured(
            f"`fleet-agent {command}` changes the system and has to run as root.",
            hint=f"Type the same after `sudo`, with the whole path: sudo {Path(sys.argv[0]).absolute()} {command} …",
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
    if UDEV.exists():
        run(["udevadm", "control", "--reload"])
        run(["udevadm", "trigger", "--subsystem-match=tty", "--action=change"])
    else:
        yield Step("udev", "does not run here: the owner of serial ports is set outside this container", changed=False)
    run(["systemctl", "enable", "--quiet", UNIT])
    yield Step(UNIT, "enabled: it starts with the machine", changed=True)
    if not state.identity.exists():
        return
    running = running_agent(state)
    if running and running.agent_version == __version__ and not changed and not _is_older(running):
        yield Step(UNIT, f"runs {__version__} already", changed=False)
        return
    run(["systemctl", "restart", UNIT])
    yield Step(UNIT, f"restarted ({running.agent_version} ran before)" if running else "started", changed=True)


def stop(run: Call = call) -> Step:
    """Stop and disable the service."""
    run(["systemctl", "disable", "--now", "--quiet", UNIT])
    return Step(UNIT, "stopped and disabled", changed=True)


def forget(run: Call = call) -> None:
    """Have systemd and udev see that the files are gone."""
    run(["systemctl", "daemon-reload"])
    if UDEV.exists():
        run(["udevadm", "control", "--reload"])


def running_agent(state: StateDir) -> Status | None:
    """Ask the agent that runs; None if none answers."""
    try:
        return decode(Status, ask(state.socket, "status"))
    except (Unavailable, WireError):
        return None


def _is_older(running: Status) -> bool:
    """Tell whether the agent started before the program was put on the disk: another build of the same version."""
    return running.t_us - running.uptime_s * US_PER_S < Path(agent.__file__).stat().st_ctime_ns // 1000
