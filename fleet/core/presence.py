"""Presence, computed from facts: whether a device is heard from as it should be, and since when.

    never    nothing was ever heard
    online   heard within two of its periods (`next_s`, what it was told), and a little
    late     a call is overdue; or its link ended, and nothing was heard for the grace that follows
    offline  six periods overdue, and half a minute

A link that ends says nothing yet: an agent that is restarted or upgraded, and a network that falters, are back within
the grace, and nobody is told. The graces are constants so that a device that calls once a minute is judged like one
that calls once a second. What is announced in events follows this function; nothing else decides.
"""

from dataclasses import dataclass
from enum import StrEnum

from agent.wire.units import US_PER_S

LATE_PERIODS = 2
LATE_GRACE_S = 5
OFFLINE_PERIODS = 6
OFFLINE_GRACE_S = 30


class Presence(StrEnum):
    """Whether a device is there."""

    NEVER = "never"
    ONLINE = "online"
    LATE = "late"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about one device's calls."""

    last_seen_us: int  # received time of anything from the device itself
    next_s: int  # when it was told to call next, seconds
    link_up: bool
    announced: Presence  # as last told in an event
    since_us: int  # when it took that state
    connection: int = 0  # number of its newest link
    boot_id: str = ""
    link_ended_us: int | None = None  # when its newest link ended, None while it is up or if it never had one


def judge(facts: Facts | None, now_us: int) -> tuple[Presence, int]:
    """Return the presence at `now_us` and since when it holds (0 for never)."""
    if facts is None:
        return Presence.NEVER, 0
    offline_us = facts.last_seen_us + (OFFLINE_PERIODS * facts.next_s + OFFLINE_GRACE_S) * US_PER_S
    if now_us >= offline_us:
        return Presence.OFFLINE, facts.since_us if facts.announced is Presence.OFFLINE else offline_us
    late_us = facts.last_seen_us + (LATE_PERIODS * facts.next_s + LATE_GRACE_S) * US_PER_S
    if facts.link_ended_us is not None and facts.link_ended_us >= facts.last_seen_us:
        late_us = min(late_us, facts.link_ended_us + LATE_GRACE_S * US_PER_S)
    if now_us >= late_us:
        return Presence.LATE, facts.since_us if facts.announced is Presence.LATE else late_us
    return Presence.ONLINE, facts.since_us if facts.announced is Presence.ONLINE else facts.last_seen_us


def is_stale(connection: int, boot_id: str, facts: Facts) -> bool:
    """Tell whether a birth is older than the link that is known; after a reboot the count may begin anew."""
    return connection < facts.connection and boot_id == facts.boot_id
