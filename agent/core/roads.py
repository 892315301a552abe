"""Which road a batch takes now: the link if it is up, the gateway once the link has been gone for a while.

              Connect                    LinkUp
    DOWN ────────────────▶ CONNECTING ────────────▶ UP
      ▲  after a back-off       │                    │
      └───────── LinkDown ──────┴──── LinkDown, or no ack in time

The link's back-off and the wait before the gateway are both reset by an ack that came over the link, not by its being
connected: a broker that takes connections but no batches must not keep a device from the gateway.
"""

import math
from dataclasses import dataclass
from enum import Enum

from agent.core.backoff import Backoff, Rng
from agent.core.uplink_events import Action, Connect, Disconnect, Road


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient the sync is; all in seconds."""

    link_ack_s: float = 20.0  # an ack over the link takes no longer
    gateway_ack_s: float = 45.0  # nor one over the gateway; above the time-outs of the HTTP client
    gateway_after_s: float = 5.0  # the link is down for half to one and a half times this before the gateway is taken
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 60.0
    refused_s: float = 900.0  # wait after the fleet said that it does not accept this device, half of it jittered
    retry_after_jitter: float = 0.25  # up to this share is added to the wait that a busy server asks for
    first_next_s: float = 5.0  # time between calls before the server has named one
    least_next_s: float = 0.05  # time between calls at least, whatever the server says
    events_s: float = 600.0  # without an event for this long, a batch without rows asks whether the server went back
    woken_s: float = 60.0  # from an ack to the next call, if it is woken while it saves
    stale_s: float = 15.0  # without an ack for this long (and two calls) the next batch carries a snapshot


class _Link(Enum):
    DOWN = "down"
    CONNECTING = "connecting"
    UP = "up"


class Roads:
    """State of both roads. `link_port` 0 means that there is no link, or that it is not known yet."""

    def __init__(self, link_port: int, rng: Rng, pace: Pace, now: float) -> None:
        self.link_port = link_port
        self._rng = rng
        self._pace = pace
        self._link = _Link.DOWN
        self._link_backoff = Backoff(rng, base_s=pace.backoff_base_s, cap_s=pace.backoff_cap_s)
        self._link_at = now  # not connected before
        self._gateway_backoff = Backoff(rng, base_s=pace.backoff_base_s, cap_s=pace.backoff_cap_s)
        self._gateway_at = now  # not called before, since it asked for time or failed
        self._gateway_from = self._patience(now)  # not called before, since the link may come

    @property
    def link_is_up(self) -> bool:
        """Tell whether the link is connected."""
        return self._link is _Link.UP

    def choose(self, now: float) -> Road | None:
        """Return the road that a batch takes now; None if it has to wait (see `due`)."""
        if self._link is _Link.UP:
            return Road.LINK
        return Road.GATEWAY if now >= self._gateway_open() else None

    def timeout_s(self, road: Road) -> float:
        """Return how long an ack may take on this road."""
        return self._pace.link_ack_s if road is Road.LINK else self._pace.gateway_ack_s

    def advance(self, now: float) -> list[Action]:
        """Connect the link if it is time."""
        if self._link is _Link.DOWN and self.link_port and now >= self._link_at:
            self._link = _Link.CONNECTING
            return [Connect(self.link_port)]
        return []

    def due(self, *, waiting: bool) -> float:
        """Return when `advance`, or with batches `waiting` `choose`, may say something new; infinity for never."""
        link_at = self._link_at if self._link is _Link.DOWN and self.link_port else math.inf
        gateway_at = self._gateway_open() if waiting and self._link is not _Link.UP else math.inf
        return min(link_at, gateway_at)

    def link_up(self) -> None:
        """Take note that the link is connected."""
        self._link = _Link.UP

    def link_down(self, now: float) -> None:
        """Take note that the link is not connected."""
        if self._link is _Link.DOWN:
            return
        self._link = _Link.DOWN
        self._link_at = now + self._link_backoff.failed()
        if math.isinf(self._gateway_from):
            self._gateway_from = self._patience(now)

    def link_silent(self, now: float) -> list[Action]:
        """Give the link up, which left a batch without an ack; the gateway need not wait any longer."""
        self.link_down(now)
        self._gateway_from = min(self._gateway_from, now)
        return [Disconnect()]

    def gateway_failed(self, now: float, wait_s: float | None, *, refused: bool) -> None:
        """Take note that the gateway did not answer, asked for time (`wait_s`), or does not accept this device."""
        if refused:
            wait_s = self._pace.refused_s * (0.5 + 0.5 * self._rng())
        elif wait_s is not None:
            wait_s *= 1.0 + self._pace.retry_after_jitter * self._rng()
        else:
            wait_s = self._gateway_backoff.failed()
        self._gateway_at = now + wait_s

    def renewed(self, now: float) -> None:
        """Take note that the device shows another certificate: both roads are tried at once."""
        self._link_at = self._gateway_at = now

    def acked(self, road: Road, link_port: int) -> None:
        """Take note that a road works, and of where the link is."""
        self.link_port = link_port
        if road is Road.LINK:
            self._link_backoff.succeeded()
            self._gateway_from = math.inf
        else:
            self._gateway_backoff.succeeded()

    def _gateway_open(self) -> float:
        return max(self._gateway_at, self._gateway_from if self.link_port else -math.inf)

    def _patience(self, now: float) -> float:
        return now + self._pace.gateway_after_s * (0.5 + self._rng())
