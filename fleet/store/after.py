"""What follows a COMMIT: how what is remembered of a transaction learns that it took place."""

from collections.abc import Callable

from sqlalchemy import Connection

Following = list[Callable[[], None]]

_FOLLOWING = "fieldline.following"  # in Connection.info, where the writer of the database commits


def begin(conn: Connection) -> Following:
    """Begin a transaction; whoever commits it calls, after COMMIT, what was put in here."""
    following: Following = []
    conn.info[_FOLLOWING] = following
    return following


def following(conn: Connection) -> Following:
    """Return what follows on the transaction so far."""
    found: Following = conn.info.get(_FOLLOWING, [])
    return found


def commit(conn: Connection, then: Callable[[], None]) -> None:
    """Have `then` called after COMMIT, by the thread that committed; never, if what was done is rolled back.

    It must not raise: what it follows on has happened.
    """
    following(conn).append(then)
