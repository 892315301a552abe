"""Renew the certificate at two thirds of its life, in a short process of its own.

The process (`fleet-agent renew`) loads cryptography, asks the fleet, tries the new certificate and swaps it; the
running agent only reads identity.toml anew, and its next connections use the new file. When each device renews is
spread by a jitter that is fixed a device, so that a fleet enrolled in one afternoon does not come back in one.

A device that was off past its certificate's end renews with the old one; so does one that the fleet refuses, whatever
its own clock says of the certificate. What the fleet answers to that is the last word: `problem` then says what a
person has to do.
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
FIRST_RETRY_S = 60.0  # doubled up to RETRY_S, where nothing goes before it is renewed
REFUSAL_LOOK_S = 5.0  # between looks whether the fleet refuses the device
REFUSED = 3  # exit code of `fleet-agent renew` where the fleet said no
RENEWAL_TIMEOUT_S = 180.0


class Renew:
    """Keeps the certificate fresh; `identity` is always the newest one."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts that app.py wires
        self,
        identity: Identity,
        clock: Clock,
        command: Sequence[str],
        reload: Callable[[], Identity],
        on_renewed: Callable[[Identity], None],
        is_refused: Callable[[], bool] = lambda: False,
    ) -> None:
        self.identity = identity
        self._clock = clock
        self._command = command
        self._reload = reload
        self._on_renewed = on_renewed
        self._is_refused = is_refused
        self.problem = ""  # why the fleet does not renew it, and what to do; "" if it does
        self._jitter = hashlib.sha256(identity.device_id.encode()).digest()[0] / 255

    def is_due(self) -> bool:
        """Tell whether it is time to renew; never while the clock shows a time before the certificate's."""
        expires_us = self.identity.cert_expires_us
        return expires_us > 0 and self._clock.now_us() >= self.identity.renew_at_us(self._jitter)

    async def run(self) -> None:
        """Look, and renew when it is time, until cancelled."""
        retry_s = FIRST_RETRY_S
        while True:
            wait_s, is_well, is_shut_out = LOOK_EVERY_S, True, self._is_refused() or self._is_over()
            self._read_again()  # somebody may have renewed by hand
            if (self.is_due() or is_shut_out) and not await self.renew():
                is_well, wait_s = False, retry_s if is_shut_out else RETRY_S
                retry_s = min(retry_s * 2, RETRY_S)
            else:
                retry_s = FIRST_RETRY_S
            await self._rest(wait_s, until_refused=is_well)

    async def _rest(self, wait_s: float, *, until_refused: bool) -> None:
        """Wait; a device that the fleet begins to refuse does not wait on."""
        ends_s = self._clock.mono_s() + wait_s
        while (left_s := ends_s - self._clock.mono_s()) > 0 and not (until_refused and self._is_refused()):  # noqa: ASYNC110 - a flag of the sync
            await asyncio.sleep(min(left_s, REFUSAL_LOOK_S))

    def _is_over(self) -> bool:
        return 0 < self.identity.cert_expires_us <= self._clock.now_us()

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
        said = stderr.decode(errors="replace").strip()[-500:]
        self.problem = said.removeprefix("Error: ").replace("\n", " ") if process.returncode == REFUSED else ""
        if process.returncode != 0:
            log.warning("the certificate was not renewed: %s", said)
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
