"""Whose a device was, and when: the tenures that its transfers make.

A transfer is an event, `device.transferred`, at the moment from which the device is somebody else's. Tenures are
computed from them and kept nowhere. Before its first transfer a device is nobody's. What a customer may see of a
device, and is counted for, is what lies in their tenures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.wire.limits import MAX_TIME_US, MIN_TIME_US


@dataclass(frozen=True, slots=True)
class Transfer:
    """From `at_us` on the device is of the customer with this id; None: of nobody."""

    at_us: int
    customer_id: str | None


@dataclass(frozen=True, slots=True)
class Tenure:
    """`from_us` ≤ t < `to_us` the device was of the customer with this id; None: of nobody."""

    customer_id: str | None
    from_us: int
    to_us: int


UNOWNED = (Tenure(None, MIN_TIME_US, MAX_TIME_US),)
"""A device that was never transferred."""


def tenures(transfers: Iterable[Transfer]) -> Sequence[Tenure]:
    """Return the tenures that transfers make, in the order in which they were made; together they are all of time.

    Times grow with that order. Of two transfers of the same moment the later one holds.
    """
    found: list[Tenure] = []
    customer_id, from_us = None, MIN_TIME_US
    for one in transfers:
        if one.at_us > from_us:
            found.append(Tenure(customer_id, from_us, one.at_us))
        customer_id, from_us = one.customer_id, max(from_us, one.at_us)
    return (*found, Tenure(customer_id, from_us, MAX_TIME_US))


def within(owned: Iterable[Tenure], from_us: int, to_us: int) -> list[Tenure]:
    """Return the tenures that touch `from_us` ≤ t < `to_us`, whole."""
    return [one for one in owned if one.from_us < to_us and one.to_us > from_us]
