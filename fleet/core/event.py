"""The event: all that happens, once. Timeline, audit and live stream read only this."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MAX_EVENT_TEXT_CHARS = 2048  # of an event that quotes what others made


class Origin(StrEnum):
    """Where a change came from."""

    CONSOLE = "console"
    CLI = "cli"
    API = "api"
    DEVICE = "device"
    AUTOMATION = "automation"


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the event table; `id` is 0 until the row is written."""

    t_us: int  # when it happened
    received_us: int  # when the fleet heard of it
    kind: str  # "<noun>.<verb in the past>"
    noun: str
    noun_id: str
    actor: str  # "user:<token name>", "device:<id>" or "fleet"
    origin: Origin
    text: str  # one sentence for a person
    device_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)  # by kind; JSON
    id: int = 0
