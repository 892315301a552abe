"""When a device of the swarm may call the gateway: as an agent, it leaves the first seconds to the link."""

import math

PATIENCE_S = 5.0  # with the link, half to one and a half times this, before the gateway is taken


class Opening:
    """From when on a device may call the gateway, as an agent does: once its link has been gone for a while."""

    __slots__ = ("_after_s", "_link_after_s")

    def __init__(self) -> None:
        self._after_s = 0.0  # it asked for time, or failed
        self._link_after_s: float | None = None  # the link may come until then; None: no need to wonder, it acks

    @property
    def at_s(self) -> float:
        """Monotonic; infinite while the link acks."""
        return math.inf if self._link_after_s is None else max(self._after_s, self._link_after_s)

    def link_lost(self, now: float, random: float) -> None:
        """Wait for the link, but not anew at each attempt that fails."""
        if self._link_after_s is None:
            self._link_after_s = now + PATIENCE_S * (0.5 + random)

    def link_silent(self, now: float) -> None:
        """Wait for the link no longer: it took a batch and gave no ack, or there is none."""
        self._link_after_s = now

    def link_acked(self) -> None:
        """Use the link."""
        self._link_after_s = None

    def put_off(self, until_s: float) -> None:
        """Leave the gateway alone, whatever the link does."""
        self._after_s = until_s
