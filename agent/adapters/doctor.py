"""The checks of `fleet-agent doctor` on the machine itself: rights, ports, clock, disk, flash, buffer, certificate.

A check looks and never mends; each tells what it saw and what a person would do about it. They can be run while the
agent runs and while it does not.
"""

import contextlib
import grp
import os
import pwd
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from agent import __version__
from agent.adapters.clock import SystemClock
from agent.adapters.local_api import ask
from agent.adapters.lock import holder
from agent.adapters.peek import opened
from agent.adapters.service import USER
from agent.adapters.standing import load_local, load_standing
from agent.adapters.tls import client_context, shown_by
from agent.adapters.usb import resolve
from agent.adapters.vitals import Vitals, space
from agent.core.config import SourceConfig
from agent.core.finding import Finding, fail, ok, warn
from agent.core.local import NO_LOCAL, Local
from agent.core.status import DAYS_LEFT_WARNING, Status, certificate, iso
from agent.core.token import TPM2, place_in_words
from agent.errors import AgentError, Misconfigured, Unavailable
from agent.settings import Identity, StateDir
from agent.wire.codec import decode
from agent.wire.document import DocumentError
from agent.wire.errors import WireError
from agent.wire.messages import Clock

BY_ID = Path("/dev/serial/by-id")
DIALOUT = "dialout"
TPM = Path("/dev/tpmrm0")  # the kernel's resource manager: several may use the TPM at once
LEAST_FREE_BYTES = 16 * 1024 * 1024  # below it, nothing may be stored soon
LITTLE_FREE_BYTES = 256 * 1024 * 1024
LEAST_FREE_FILES = 16
WORN_PERCENT = 80  # of the flash's life
MIB = 1024 * 1024


def check_state(state: StateDir) -> Iterator[Finding]:
    """Rights: the key for its owner alone, and all files the service's own."""
    if not state.root.is_dir():
        yield fail("state", f"{state.root} is not there.", "sudo fleet-agent install")
        return
    try:
        entries = [(path, path.lstat()) for path in (state.root, *sorted(state.root.iterdir()))]
    except OSError as error:
        yield fail(
            "state", f"{state.root} cannot be read: {error.strerror}.", "Run it as root: sudo fleet-agent doctor"
        )
        return
    owner = entries[0][1].st_uid
    foreign = [path.name for path, found in entries if found.st_uid != owner]
    if foreign:
        yield fail(
            "state",
            f"{', '.join(foreign[:5])} in {state.root} belong to another user than the directory.",
            f"sudo chown -R {_user(owner)}: {state.root}",
        )
    for path, found in entries:
        if path == state.key and stat.S_IMODE(found.st_mode) & 0o077:
            yield fail("state", f"{path} may be read by others.", f"sudo chmod 600 {path}")
    if stat.S_IMODE(entries[0][1].st_mode) & 0o007:
        yield warn("state", f"{state.root} is open to every user.", f"sudo chmod 750 {state.root}")
    elif not foreign:
        yield ok("state", f"{state.root} belongs to {_user(owner)}.")


def check_service(state: StateDir) -> Iterator[Finding]:
    """Whether the agent runs, and whether it is the program that is installed."""
    try:
        status = decode(Status, ask(state.socket, "status"))
    except (Unavailable, WireError):
        process = holder(state.lock)
        if process is None:
            yield warn("service", "The agent does not run.", "sudo systemctl start fleet-agent")
        else:
            yield fail(
                "service",
                f"The agent (process {process}) runs and does not answer.",
                "sudo systemctl restart fleet-agent",
            )
        return
    if status.agent_version != __version__:
        yield warn(
            "service",
            f"{status.agent_version} runs, {__version__} is installed.",
            "sudo systemctl restart fleet-agent",
        )
    else:
        yield ok("service", f"The agent {status.agent_version} runs (process {status.pid}).")
    if status.sync.error:
        yield warn("sync", status.sync.error, "See the checks of the network below.")
    if status.buffer.problem:
        yield fail("buffer", f"Nothing can be stored: {status.buffer.problem}", "See disk and flash below.")


def check_clock(clock: SystemClock) -> Iterator[Finding]:
    """Whether the time is known and kept."""
    state, now = clock.state(), iso(clock.now_us())
    if state is Clock.UNKNOWN:
        yield warn(
            "clock",
            f"The machine's clock was never set: it says {now}. The agent takes the time from the fleet.",
            "sudo timedatectl set-ntp true, to know it without the fleet as well.",
        )
    elif state is Clock.FREE:
        yield warn(
            "clock",
            f"The machine's clock says {now} and is not synchronised; the agent takes the time from the fleet.",
            "sudo timedatectl set-ntp true; if NTP is blocked here, ask for UDP port 123.",
        )
    else:
        yield ok("clock", f"The clock is synchronised: {now}.")


def check_disk(state: StateDir, vitals: Vitals) -> Iterator[Finding]:
    """Room on the disk, and how worn it is."""
    found = space(state.root)
    if found is None:
        return
    free = f"{found.free_bytes // MIB} MiB of {found.size_bytes // MIB} MiB are free"
    if found.is_read_only:
        yield fail("disk", f"{state.root} is read-only.", "Look for the cause with `dmesg`; then mount it writable.")
    elif found.free_bytes < LEAST_FREE_BYTES or (found.free_files < LEAST_FREE_FILES and found.free_files >= 0):
        yield fail("disk", f"{free}.", "Make room: sudo journalctl --vacuum-size=50M; sudo apt clean")
    elif found.free_bytes < LITTLE_FREE_BYTES:
        yield warn("disk", f"{free}.", "Make room: sudo journalctl --vacuum-size=50M; sudo apt clean")
    else:
        yield ok("disk", f"{free}.")
    flash = vitals.flash(state.root)
    if not flash.name:
        return
    if flash.errors:
        yield warn(
            "flash",
            f"The file system on {flash.name} has met {flash.errors} errors.",
            "Replace the card soon, and look at the power supply: it is the usual cause.",
        )
    if flash.warning or (flash.used_percent or 0) >= WORN_PERCENT:
        worn = flash.warning or f"up to {flash.used_percent} % of its life are used"
        yield warn("flash", f"{flash.name} is worn: {worn}.", "Plan its replacement.")
    elif flash.used_percent is not None:
        yield ok("flash", f"{flash.name}: up to {flash.used_percent} % of its life are used.")
    elif flash.name.startswith("mmcblk"):
        yield ok("flash", f"{flash.name} does not tell how worn it is (SD cards do not).")


def check_power(vitals: Vitals) -> Iterator[Finding]:
    """Whether heat or a weak supply slows the machine."""
    slowed = vitals.throttling()
    if slowed:
        yield warn("power", f"The processor is slowed: {', '.join(slowed)}.", "A better supply, or cooling.")


def check_buffer(state: StateDir) -> Iterator[Finding]:
    """Whether the buffer can be read, every page of it."""
    if not state.buffer.exists():
        yield ok("buffer", "There is none yet; the agent makes it when it starts.")
        return
    try:
        with opened(state.buffer) as db:
            said = [row[0] for row in db.execute("PRAGMA quick_check(1)")]
    except (sqlite3.Error, OSError) as error:
        said = [str(error)]
    if said == ["ok"]:
        yield ok("buffer", f"{state.buffer} is whole ({state.buffer.stat().st_size / 1e6:.1f} MB).")
    else:
        yield fail(
            "buffer",
            f"{state.buffer} is damaged: {said[0]}.",
            "sudo systemctl restart fleet-agent: it is set aside and a new one is begun. Then look at the flash.",
        )


def check_certificate(identity: Identity, clock: SystemClock) -> Iterator[Finding]:
    """Whether the certificate is valid by this machine's clock."""
    now = clock.now_us()
    found = certificate(identity.cert_expires_us, now)
    if not identity.cert_expires_us:
        yield warn("certificate", "Its dates are not known.", "sudo -u fieldline fleet-agent renew")
    elif found.days_left < 0:
        yield fail(
            "certificate", f"It expired {found.expires}.", "With a new claim: sudo fleet-agent enroll CLAIM --force"
        )
    elif identity.cert_issued_us > now:
        yield fail("certificate", "By this machine's clock it is not valid yet.", "Set the clock.")
    elif found.days_left < DAYS_LEFT_WARNING:
        yield warn(
            "certificate", f"{found.days_left} days left; renewal is overdue.", "sudo -u fieldline fleet-agent renew"
        )
    else:
        yield ok("certificate", f"{found.days_left} days left.")


def check_key(identity: Identity) -> Iterator[Finding]:
    """Whether the private key can be used and is that of the certificate."""
    try:
        client_context(identity).show(shown_by(identity))
    except Misconfigured as error:
        yield fail("key", error.message, error.hint)
        return
    yield ok("key", f"The private key is {place_in_words(identity.key)} and belongs to the certificate.")
    if identity.key == TPM2 and TPM.exists() and not _may_use(TPM.stat()):
        yield fail("key", f"{TPM} may not be used by {_service_user() or 'this user'}.", _TPM_RIGHTS)


_TPM_RIGHTS = f"sudo usermod -aG tss {USER}, and the drop-in of docs/operate/hardware-key.md; then restart the agent."


def check_ports(
    state: StateDir,
    sources_of: Callable[[str, Local], Sequence[SourceConfig]],
    by_id: Path = BY_ID,
    find_port: Callable[[str], str] = resolve,
) -> Iterator[Finding]:
    """Whether the ports of the config are there, may be opened, and are named so that they stay.

    A config on trial is the one that counts. What agent.toml sets is laid over it, as the agent does it.
    """
    local, problem = load_local(state.local)
    if problem:
        yield warn("config", f"{state.local} is not followed: {problem}.", "Mend it, then restart the agent.")
    try:
        standing = load_standing(state.config)
        text = (standing.staged or standing.running).toml
        sources, problem = _sources(text, local, sources_of) if text else ((), "")
        if problem:
            yield warn("config", f"{state.local} is not followed: {problem}.", "Mend it, then restart the agent.")
    except (AgentError, DocumentError) as error:
        yield fail("config", f"The stored config cannot be followed: {error}.", "Set it anew: fleet config set")
        return
    if not sources:
        seen = _listed(by_id)
        yield warn(
            "ports",
            f"The config names no port; {', '.join(seen) if seen else 'nothing is plugged in'}.",
            "Write a config: docs/reference/config.md, and set it with `fleet config set`.",
        )
    for name in sorted({source.port for source in sources}):
        names = _names(sources, name)
        try:
            yield _check_port(name, Path(find_port(name)), names, by_id)
        except Unavailable as error:  # a USB address that no adapter has, or several
            yield fail("ports", f"{error.message.rstrip('.')} ({names}).", error.hint)


def _sources(
    text: str, local: Local, sources_of: Callable[[str, Local], Sequence[SourceConfig]]
) -> tuple[Sequence[SourceConfig], str]:
    """Return the sources that run, and why agent.toml is not followed in them, "" if it is."""
    try:
        return sources_of(text, local), ""
    except DocumentError as error:
        return sources_of(text, NO_LOCAL), str(error)


def _check_port(name: str, port: Path, names: str, by_id: Path) -> Finding:
    try:
        found = port.stat()
    except FileNotFoundError:
        seen = _listed(by_id)
        return fail(
            "ports",
            f"{port} ({names}) is not there.",
            f"Plug it in, or name one that is: {', '.join(seen)}" if seen else "Plug it in and look at `dmesg`.",
        )
    except OSError as error:
        return fail("ports", f"{port} ({names}) cannot be looked at: {error.strerror}.", "sudo fleet-agent doctor")
    if not stat.S_ISCHR(found.st_mode):
        return fail("ports", f"{port} ({names}) is no serial port.", "Name a device file below /dev.")
    if not _may_use(found):
        return fail(
            "ports",
            f"{port} ({names}) may not be used by {_service_user() or 'this user'}.",
            f"sudo usermod -aG {_group(found.st_gid)} {_service_user() or '$USER'}, then restart the agent.",
        )
    stable = _stable_name(port, by_id)
    if stable and name == str(port):
        return warn(
            "ports", f"{port} ({names}) may get another name when replugged.", f'In the config: port = "{stable}"'
        )
    shown = name if name == str(port) else f"{name}, now {port},"
    return ok("ports", f"{shown} ({names}) is there and may be used.")


def _may_use(found: os.stat_result) -> bool:
    """Tell whether the service's user, or who asks where there is none, may read and write a device."""
    name = _service_user()
    if not name:
        uid, groups = os.geteuid(), {os.getegid(), *os.getgroups()}
    else:
        user = pwd.getpwnam(name)
        uid, groups = user.pw_uid, {*os.getgrouplist(name, user.pw_gid)}
        with contextlib.suppress(KeyError):
            groups.add(grp.getgrnam(DIALOUT).gr_gid)  # the unit's SupplementaryGroups
    mode = stat.S_IMODE(found.st_mode)
    if uid == 0:
        return True
    if found.st_uid == uid:
        return mode & 0o600 == 0o600  # noqa: PLR2004 - read and write of the owner
    if found.st_gid in groups:
        return mode & 0o060 == 0o060  # noqa: PLR2004 - of the group
    return mode & 0o006 == 0o006  # noqa: PLR2004 - of others


def _service_user() -> str:
    try:
        return pwd.getpwnam(USER).pw_name
    except KeyError:
        return ""


def _stable_name(port: Path, by_id: Path) -> str:
    """Return the name below by-id of a port that was named otherwise; "" if there is none."""
    if port.is_symlink() or not by_id.is_dir():
        return ""
    return next((str(link) for link in sorted(by_id.iterdir()) if link.resolve() == port.resolve()), "")


def _listed(by_id: Path) -> Sequence[str]:
    return [str(link) for link in sorted(by_id.iterdir())] if by_id.is_dir() else []


def _names(sources: Sequence[SourceConfig], port: str) -> str:
    return ", ".join(source.name for source in sources if source.port == port)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
