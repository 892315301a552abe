"""Who may come in on the link: the answers to the broker's callouts, out of the database.

Connections that ask while others are being judged are judged next, together: one read serves them all. So when a whole
fleet comes back at once, the more ask the less each costs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from fleet.clock import now_us
from fleet.errors import FleetError, Refused
from fleet.gateway.broker import ACCOUNT
from fleet.gateway.ca import fingerprint
from fleet.gateway.callout import Asking, CalloutError, Issuer, read_request
from fleet.gateway.seldom import Seldom
from fleet.store import certificate
from fleet.store.certificate import Certificate
from fleet.store.database import Database

MAX_TOGETHER = 128  # judged by one read; as many wait, and beyond it the broker's own limits make devices wait

log = structlog.get_logger(part="link")


@dataclass(frozen=True, slots=True)
class Callout:
    """One authorization request, and where its answer goes."""

    reply: str
    data: bytes


class Admission:
    """Answers the callouts of one session with the broker.

    Let in is who shows a certificate that the fleet has issued and not revoked, under an MQTT client id that is the
    device's own: with another's id it would end that one's session.
    """

    def __init__(
        self, db: Database, issuer: Issuer, say: Callable[[str, bytes], Awaitable[None]], seldom: Seldom
    ) -> None:
        self._db = db
        self._issuer = issuer
        self._say = say
        self._seldom = seldom
        self._asked: asyncio.Queue[Callout] = asyncio.Queue(MAX_TOGETHER)

    async def ask(self, callout: Callout) -> None:
        """Take a request in; waits while too many do."""
        await self._asked.put(callout)

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            asked = [await self._asked.get()]
            while len(asked) < MAX_TOGETHER and not self._asked.empty():
                asked.append(self._asked.get_nowait())
            for callout, answer in zip(asked, await self._answers(asked), strict=True):
                if answer is not None:
                    await self._say(callout.reply, answer)

    async def _answers(self, asked: Sequence[Callout]) -> list[bytes | None]:
        """Return an answer to each; None where there is none now, and the broker gives up by itself."""
        askings = [self._read(callout.data) for callout in asked]
        moment_us = now_us()
        shown = [fingerprint(one.certificate) if one is not None else "" for one in askings]
        try:
            known = await self._db.read(lambda conn: certificate.check_all(conn, shown, now_us=moment_us))
        except FleetError as error:
            if self._may_say("unjudged"):
                log.warning("could not judge connections", why=error.message, connections=len(asked))
            return [None for _ in asked]
        return [
            None if one is None else self._answer(one, found, moment_us // 1_000_000)
            for one, found in zip(askings, known, strict=True)
        ]

    def _read(self, data: bytes) -> Asking | None:
        try:
            return read_request(data)
        except CalloutError as error:
            if self._may_say("unanswerable"):  # whoever reaches the cluster port can provoke it
                log.warning("the broker asked what cannot be answered", why=str(error))
            return None

    def _answer(self, asking: Asking, found: Certificate | Refused, now_s: int) -> bytes:
        if isinstance(found, Certificate) and asking.client_id != found.device_id:
            found = Refused(
                f"{found.device_id} came with the client id {asking.client_id!r}",
                hint="The MQTT client id is the device's id.",
            )
        if isinstance(found, Refused):
            if self._may_say(f"{asking.host} {found.message}"):
                log.warning("refused a connection", why=found.message, host=asking.host, client=asking.client_id)
            return self._issuer.refuse(asking, found.message, now_s=now_s)
        until_s = found.not_after_us // 1_000_000
        return self._issuer.grant(asking, found.device_id, ACCOUNT, now_s=now_s, until_s=until_s)

    def _may_say(self, what: str) -> bool:
        return self._seldom.may(what, asyncio.get_running_loop().time())
