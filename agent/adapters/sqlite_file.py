"""The buffer's file as SQLite sees it: transactions, what errors mean to the agent, bringing it up to its schema."""

import asyncio
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import AgentError, Damaged, Unavailable

DAMAGED_HINT = "Set the file aside; the agent starts a new one."
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def primary(error: sqlite3.Error) -> int:
    """Return the primary code, without SQLite's extension; 0 if there is none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def translate(error: sqlite3.Error, path: Path) -> AgentError:
    """Return the agent's error for one that came of the buffer at `path`."""
    code = primary(error)
    if code in _DAMAGED:
        return Damaged(f"The buffer {path} is damaged: {error}.", hint=DAMAGED_HINT)
    if code == sqlite3.SQLITE_FULL:
        return Unavailable(f"The disk that holds the buffer {path} is full.", hint="Make room on it.")
    return Unavailable(f"The buffer {path} cannot be written or read: {error}.", hint="Check the disk and its rights.")


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit what is done within, or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


async def migrated(path: Path) -> None:
    """Bring the file up to its schema in a short process of its own; raises Unavailable."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "agent.adapters.migrate",
        str(path),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await process.communicate()
    if process.returncode != 0:
        lines = stderr.decode(errors="replace").strip().splitlines()
        raise Unavailable(
            f"The buffer {path} could not be made ready: {lines[-1] if lines else 'no message'}.",
            hint="Check that the state directory exists, is writable and has room.",
        )
