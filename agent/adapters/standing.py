"""The config's standing on disk: one file, replaced as a whole."""

from pathlib import Path

from agent.core.standing import Standing, read_standing
from agent.errors import Damaged
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
