"""Renew the certificate at two thirds of its life, in a short process of its own.

The process (`fleet-agent renew`) loads cryptography, asks the fleet, tries the new certificate and swaps it; the
running agent only reads identity.toml anew, and its next connections use the new file. When each device renews is
spread by a jitter that is fixed a device, so that a fleet enrolled in one afternoon does not come back in one.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence

from agent.errors import AgentError
from agent.ports import Clock
from agent.settings import Identity

log = logging.getLogger(__name__)

LOOK_EVERY_S = 600.0
RETRY_S = 3600.0  # after a renewal that failed; a month is left to try
RENEWAL_TIMEOUT_S = 180.0


class Renew:
    """Keeps the certificate fresh; `identity` is always the newest one."""

    def __init__(
        self,
        identity: Identity,
        clock: Clock,
        command: Sequence[str],
        reload: Callable[[], Identity],
        on_renewed: Callable[[Identity], None],
    ) -> None:
        self.identity = identity
        self._clock = clock
        self._command = command
        self._reload = reload
        self._on_renewed = on_renewed
        self._jitter = hashlib.sha256(identity.device_id.encode()).digest()[0] / 255

    def is_due(self) -> bool:
        """Tell whether it is time to renew; never while the clock shows a time before the certificate's."""
        expires_us = self.identity.cert_expires_us
        return expires_us > 0 and self._clock.now_us() >= self.identity.renew_at_us(self._jitter)

    async def run(self) -> None:
        """Look, and renew when it is time, until cancelled."""
        while True:
            wait_s = LOOK_EVERY_S
            self._read_again()  # somebody may have renewed by hand
            if self.is_due() and not await self.renew():
                wait_s = RETRY_S
            await asyncio.sleep(wait_s)

    async def renew(self) -> bool:
        """Renew now; tells whether it worked."""
        process = await asyncio.create_subprocess_exec(
            *self._command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(RENEWAL_TIMEOUT_S):
                _, stderr = await process.communicate()
        except TimeoutError:
            log.warning("the certificate was not renewed: no answer within %d s", RENEWAL_TIMEOUT_S)
            return False
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            log.warning("the certificate was not renewed: %s", stderr.decode(errors="replace").strip()[-500:])
            return False
        self._read_again()
        log.info("the certificate was renewed")
        return True

    def _read_again(self) -> None:
        try:
            identity = self._reload()
            if identity != self.identity:
                self._on_renewed(identity)
                self.identity = identity
        except AgentError as error:
            log.warning("the identity could not be read again: %s", error)
