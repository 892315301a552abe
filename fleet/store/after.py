"""What follows a COMMIT: how what is remembered of a transaction learns that it took place."""

from collections.abc import Callable

from sqlalchemy import Connection

AFTER = "fieldline.after"  # in Connection.info: what is called after COMMIT, where the writer of the database commits

Then = Callable[[], None]


def commit(conn: Connection, then: Then) -> None:
    """Have `then` called after COMMIT, by the thread that committed; it never is if what was done is rolled back."""
    waiting: list[Then] | None = conn.info.get(AFTER)
    if waiting is not None:
        waiting.append(then)
