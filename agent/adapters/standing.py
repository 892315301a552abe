"""The config's standing on disk, one file that is replaced as a whole, and what a person has set beside it."""

from pathlib import Path

from agent.core.local import NO_LOCAL, Local, overridden, read_local
from agent.core.standing import Standing, read_standing
from agent.core.status import LocalStatus
from agent.errors import Damaged
from agent.wire.document import DocumentError
from agent.wire.errors import WireError


def load_standing(path: Path) -> Standing:
    """Read the file; an absent one is a device without a config. Raises Damaged."""
    try:
        return read_standing(path.read_bytes())
    except FileNotFoundError:
        return Standing()
    except (OSError, WireError) as error:
        raise Damaged(
            f"The stored config {path} cannot be read: {error}.",
            hint="Check the file's rights; if it is damaged, remove it, and the fleet sends its config again.",
        ) from error


def load_local(path: Path) -> tuple[Local, str]:
    """Read agent.toml; returns it and why it cannot be followed, "" if it can.

    A file that cannot be followed counts as absent: a slip in it must not stop a machine that nobody visits.
    """
    try:
        return read_local(path.read_text(encoding="utf-8")), ""
    except FileNotFoundError:
        return NO_LOCAL, ""
    except (OSError, UnicodeDecodeError, DocumentError) as error:
        return NO_LOCAL, str(error)


def local_status(local: Local, problem: str, toml: str) -> LocalStatus:
    """Describe what is set here against the document that runs."""
    try:
        return LocalStatus(overridden(toml, local), problem)
    except DocumentError:
        return LocalStatus((), problem)
