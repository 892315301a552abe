"""Files that are whole or not there: written beside, flushed to the disk, then renamed."""

import os
from pathlib import Path


def part_of(path: Path) -> Path:
    """Return where a file stands while it is being written."""
    return path.with_name(path.name + ".part")


def put_in_place(path: Path) -> None:
    """Give a file that is written and flushed its name, and have the folder remember it."""
    part_of(path).replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the disk remember which files a folder holds."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Text:
    """A file of text that grows, and can be cut back to where it stood."""

    def __init__(self, path: Path, size: int) -> None:
        """Open it at `size` bytes and drop what stands behind; raises FileNotFoundError where so much is not there."""
        if size and (not path.exists() or path.stat().st_size < size):
            raise FileNotFoundError(f"{path} is not as it was left")
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(size)
        self._file.seek(size)

    def write(self, text: str) -> None:
        """Append a text."""
        self._file.write(text.encode("utf-8"))

    def keep(self) -> int:
        """Flush it to the disk; returns its size in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close it."""
        self._file.close()
