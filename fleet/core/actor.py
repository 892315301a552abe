"""Who does something, from where, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum

from fleet.core.event import Origin


class Scope(StrEnum):
    """What a token may do; each includes the ones before it."""

    READ = "read"  # see everything but internal notes
    TECHNICIAN = "technician"  # work on alarms and tickets, read and write notes, watch devices
    ADMIN = "admin"  # claims, configs, revocation, tokens

    def allows(self, needed: "Scope") -> bool:
        """Tell whether this scope includes `needed`."""
        order = tuple(Scope)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, as events name them, and through what."""

    id: str  # "user:<token name>", "device:<id>" or "fleet"
    origin: Origin


FLEET = Actor("fleet", Origin.AUTOMATION)
"""The fleet itself: rules, jobs, reactions."""


def of_device(device_id: str) -> Actor:
    """Return the actor that a device is."""
    return Actor(f"device:{device_id}", Origin.DEVICE)
