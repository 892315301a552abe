"""Put the agent on the machine as a service, and take it off again.

    PREFIX/…/agent/systemd/   ships with the program          ─▶  /etc/systemd/system/fleet-agent.service
                                                                  /etc/udev/rules.d/60-fieldline.rules
                                                                  /etc/sysusers.d/fieldline.conf
                                                                  /etc/tmpfiles.d/fieldline.conf
    --config FILE                                             ─▶  /etc/fieldline/first.toml

Every step looks first and changes only what differs, so that running it again mends what is amiss and says what it
found. Under another root (an image, a test) files are placed and the service is enabled; users and directories are
made by the image's own first boot, which is what sysusers.d and tmpfiles.d are for.
"""

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import agent
from agent.adapters.files import replace_file
from agent.core.unit import Program, hidden_trees, render_unit
from agent.errors import Misconfigured
from agent.settings import DEFAULT_STATE, SEALED, StateDir

UNIT = "fleet-agent.service"
SCRIPT = "fleet-agent"
FIRST_CONFIG = Path("/etc/fieldline/first.toml")
LINK = Path("/usr/local/bin/fleet-agent")
WANTED = Path("/etc/systemd/system/multi-user.target.wants") / UNIT
FILES = {
    UNIT: Path("/etc/systemd/system") / UNIT,
    "udev/60-fieldline.rules": Path("/etc/udev/rules.d/60-fieldline.rules"),
    "sysusers.d/fieldline.conf": Path("/etc/sysusers.d/fieldline.conf"),
    "tmpfiles.d/fieldline.conf": Path("/etc/tmpfiles.d/fieldline.conf"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at."""

    what: str
    did: str  # written, replaced, unchanged, removed, …
    changed: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """The file system to install on."""

    root: Path

    def path(self, path: Path) -> Path:
        """Return where an absolute path of the machine lies."""
        return self.root / path.relative_to("/")

    @property
    def is_this(self) -> bool:
        """Tell whether it is the running one, not an image."""
        return self.root.resolve() == Path("/")

    @property
    def state(self) -> StateDir:
        """Return the service's state directory."""
        return StateDir(self.path(DEFAULT_STATE))


def shipped() -> Path:
    """Return the directory of the files that ship with the program; raises Misconfigured if they are missing."""
    package = Path(agent.__file__).parent
    for found in (package / "systemd", package.parent / "systemd"):  # installed; a checkout
        if (found / UNIT).is_file():
            return found
    raise Misconfigured(
        f"The program is not complete: {package / 'systemd'} is missing.",
        hint="Install it anew: pip install fieldline.",
    )


def find_program(given: Path | None = None) -> Program:
    """Find how to start the program that runs now, or the one `given`, and what it is made of."""
    if given is not None:
        return Program((str(given),), (str(given.parent.parent),))
    trees = (Path(sys.prefix), Path(sys.base_prefix), Path(agent.__file__).resolve().parent.parent)
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if os.access(folder / SCRIPT, os.X_OK):
            return Program((str(folder / SCRIPT),), tuple(str(tree) for tree in trees))
    return Program((sys.executable, "-m", "agent.cli"), tuple(str(tree) for tree in trees))


def place(machine: Machine, program: Program, config: Path | None) -> Iterator[Step]:
    """Put the files in place. Raises Misconfigured."""
    source = shipped()
    first = machine.path(FIRST_CONFIG)
    with _translated():
        first.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if config is not None:
            yield _write(first, config.read_bytes(), FIRST_CONFIG)
        for name, path in FILES.items():
            data = (source / name).read_bytes()
            if name == UNIT:
                has_first = str(FIRST_CONFIG) if first.exists() else None
                data = render_unit(data.decode(), program, str(DEFAULT_STATE), has_first).encode()
            yield _write(machine.path(path), data, path)
        yield _link(machine, program)
    for tree in hidden_trees(program.trees):
        yield Step(tree, "services do not see it; the unit shows it to this one, read-only", changed=False)


def enable_image(machine: Machine) -> Step:
    """Enable the service of an image: the link that `systemctl enable` makes."""
    wanted = machine.path(WANTED)
    with _translated():
        if wanted.is_symlink():
            return Step(str(WANTED), "unchanged", changed=False)
        wanted.parent.mkdir(parents=True, exist_ok=True)
        wanted.symlink_to(FILES[UNIT])
    return Step(str(WANTED), "linked: the service starts with the image", changed=True)


def remove(machine: Machine) -> Iterator[Step]:
    """Take the files away; the config and the state directory stay."""
    with _translated():
        for path in (WANTED, *FILES.values()):
            yield _unlink(machine.path(path), path)
        link = machine.path(LINK)
        if link.is_symlink() and link.readlink().name == SCRIPT:
            yield _unlink(link, LINK)


def erase(machine: Machine) -> Iterator[Step]:
    """Erase identity, buffer and config: what was not yet sent is lost."""
    with _translated():
        for path in (DEFAULT_STATE, FIRST_CONFIG.parent):
            found = machine.path(path)
            is_there = found.exists()
            if is_there:
                shutil.rmtree(found)
            yield Step(str(path), "erased" if is_there else "was not there", is_there)
        if machine.path(SEALED).exists():
            yield _unlink(machine.path(SEALED), SEALED)


def _write(path: Path, data: bytes, shown: Path) -> Step:
    before = path.read_bytes() if path.exists() else None
    if before == data:
        return Step(str(shown), "unchanged", changed=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, data, mode=0o644)
    path.chmod(0o644)  # whatever the umask of who installs
    return Step(str(shown), "written" if before is None else "replaced", changed=True)


def _link(machine: Machine, program: Program) -> Step:
    """Put the command on the path of `sudo`, unless something stands there."""
    link, target = machine.path(LINK), Path(program.command[0])
    if target.name != SCRIPT or target == LINK or target.parent == Path("/usr/bin"):
        return Step(str(LINK), "not needed", changed=False)
    if link.is_symlink():
        if link.readlink() == target:
            return Step(str(LINK), "unchanged", changed=False)
        link.unlink()
    elif link.exists():
        return Step(str(LINK), "left as it is: it is no link", changed=False)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    return Step(str(LINK), f"linked to {target}", changed=True)


def _unlink(path: Path, shown: Path) -> Step:
    is_there = path.is_symlink() or path.exists()
    path.unlink(missing_ok=True)
    return Step(str(shown), "removed" if is_there else "was not there", is_there)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Misconfigured(
            f"{error.filename or 'A file'} cannot be changed: {error.strerror or error}.",
            hint="Run it with sudo; on a read-only system remount it first. What is in place already stays.",
        ) from error
