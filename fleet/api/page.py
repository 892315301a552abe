"""Lists: pages with a cursor that says where the next one begins, and the parameters that many routes share."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, StringConstraints

from agent.wire.limits import MAX_NAME_CHARS
from agent.wire.topics import DEVICE_ID
from fleet.errors import Invalid

T = TypeVar("T")

MAX_LIMIT = 1000
MAX_CURSOR_CHARS = 256
NO_NUL = r"^[^\x00]*$"

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items a page.")]
Cursor = Annotated[
    str | None, Query(max_length=MAX_CURSOR_CHARS, description="`next` of the page before; opaque.", examples=[None])
]
DeviceId = Annotated[str, Path(pattern=f"^{DEVICE_ID.pattern}$", examples=["freezer-7k3m2q"])]
DeviceFilter = Annotated[
    str | None, Query(pattern=f"^{DEVICE_ID.pattern}$", description="Only of this device.", examples=["freezer-7k3m2q"])
]
SeriesName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS, pattern=NO_NUL)]
ShortText = Annotated[str, StringConstraints(max_length=256, pattern=NO_NUL)]
TimeText = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_NUL)]

TIME_HELP = "ISO-8601 with a zone, whole microseconds since 1970, `now`, or a distance back such as `-15m`."
FromTime = Annotated[TimeText | None, Query(alias="from", description=f"From this time on. {TIME_HELP}")]
ToTime = Annotated[TimeText | None, Query(alias="to", description=f"Before this time. {TIME_HELP}")]


class Model(BaseModel):
    """Base of what the API takes and gives: unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(Model, Generic[T]):
    """Some items, and the cursor of those that follow; `next` is null on the last page."""

    items: list[T]
    next: str | None = None


def page_of(items: Sequence[T], limit: int, last: str | int | None) -> Page[T]:
    """Make a page: full ones say where the next begins, `last` being the key of the last item."""
    full = len(items) >= limit and last is not None
    return Page(items=list(items), next=encode_cursor(str(last)) if full else None)


def encode_cursor(key: str) -> str:
    """Make a cursor from a key."""
    return base64.urlsafe_b64encode(key.encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str | None) -> str | None:
    """Return the key in a cursor; raises Invalid for what was never one."""
    if cursor is None:
        return None
    try:
        key = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        key = ""
    if not key or "\0" in key:
        raise Invalid("the cursor is none of this server's", hint="Take `next` of the page before as it stands.")
    return key


def decode_number(cursor: str | None) -> int | None:
    """Return the number in a cursor; raises Invalid for what was never one."""
    key = decode_cursor(cursor)
    if key is None:
        return None
    if not (key.isascii() and key.isdecimal() and len(key) < 19):  # noqa: PLR2004 - digits of 2**63
        raise Invalid("the cursor is none of this server's", hint="Take `next` of the page before as it stands.")
    return int(key)
