"""Server-sent events (WHATWG HTML, 9.2): lines in, messages out.

A message ends with an empty line; `id` stays until another is said, so that a client that lost its connection can
say after which message it wants to go on. A message that the connection broke off is not given out.
A block that only says an id is given out with an empty body: it tells where the stream begins.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a stream."""

    id: str
    event: str  # "message" where the server named none
    body: str


def messages(lines: Iterable[str], last_id: str = "") -> Iterator[Message]:
    """Yield the messages in a stream's lines (without their line ends)."""
    event = ""
    body: list[str] = []
    said_id = False
    for line in lines:
        if not line:
            if body or said_id:
                yield Message(last_id, event or "message", "\n".join(body))
            event, body, said_id = "", [], False
            continue
        field, _, said = line.partition(":")
        said = said.removeprefix(" ")
        match field:
            case "data":
                body.append(said)
            case "event":
                event = said
            case "id" if "\0" not in said:
                last_id, said_id = said, True
            case _:
                pass  # a comment, a retry time, or a field that we do not know
