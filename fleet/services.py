"""What the API and the console are given by the composition root: values and ports, nothing global.

Both fronts read through `fleet.store` in `db.read` and write through it in `db.write`. What is to be felt on a device
at once (a config, a revocation) is told to it by a job that hears the event, whoever wrote it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fleet import clock
from fleet.core.actor import Actor
from fleet.core.finding import Finding
from fleet.core.ports import DeviceLink
from fleet.store.database import Database
from fleet.store.quarantine import Quarantined


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """What a person says when they prepare a claim for one device."""

    product: str
    device: str | None = None  # the id it shall have; None: `<product>-<6 characters>`
    serial: str = ""
    site: str = ""
    customer: str | None = None  # whose it is from now on; None: it stays whose it is
    expires_s: int = 7 * 86_400
    server: str | None = None  # host or host:port that the device shall call; None: the server's own name


@dataclass(frozen=True, slots=True)
class IssuedClaim:
    """A claim as it was given out; `claim` is shown once and kept nowhere."""

    claim: str
    device: str
    product: str
    serial: str
    site: str
    expires_us: int


class IssueClaims(Protocol):
    """Makes claims, stores their hashes and appends `claim.created`; raises Invalid or Refused (device exists)."""

    async def __call__(self, requests: Sequence[ClaimRequest], by: Actor) -> Sequence[IssuedClaim]:
        """Issue all of them, or none."""


class ReplayBatch(Protocol):
    """Reads a quarantined batch again; raises NotFound, and Refused where that changes nothing."""

    async def __call__(self, quarantine_id: int, by: Actor) -> tuple[Quarantined, int, int]:
        """Store what of it is missing; returns the batch, and how many rows and readings were."""


@dataclass(slots=True)
class Standing:
    """How the server stands: one that is stopping says so while it still answers, so that a balancer leaves it out."""

    is_stopping: bool = False


async def nothing_found() -> Sequence[Finding]:
    """Say nothing of the process: where an API is served without a server around it."""
    return ()


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a route may use."""

    db: Database
    link: DeviceLink
    issue_claims: IssueClaims
    replay: ReplayBatch
    version: str = "0"  # of this server
    gateway_port: int = 8443
    link_port: int = 8883
    secure_cookie: bool = False  # the API is served over HTTPS: cookies may say so
    condition: Callable[[], Awaitable[Sequence[Finding]]] = nothing_found  # of the process and its machine
    standing: Standing = field(default_factory=Standing)
    jobs: Mapping[str, float] = field(default_factory=dict)  # that run somewhere → seconds between their turns
    now_us: Callable[[], int] = clock.now_us
