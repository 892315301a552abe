"""The connections that a broker holds: listed and ended over its system account.

A broker stands alone (docs/decisions/0213), so one answer tells them all. Those that its callout has not let in yet are
in its own account `$G`, those of devices in the fleet's.
"""

import json
from dataclasses import dataclass

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from fleet.gateway.broker import ACCOUNT
from fleet.gateway.session import heedful

ANSWER_S = 2.0
NOBODYS = "$G"  # the account of a connection that has not been let in
MAX_LISTED = 1024  # by one answer

log = structlog.get_logger(part="link")


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection of MQTT to one server."""

    server_id: str
    number: int  # counted by the server from its start


class Connections:
    """Those of one broker, over one connection of its system user."""

    def __init__(self, system: Client) -> None:
        self._system = system

    async def of_device(self, device_id: str) -> list[Connection]:
        """Return those that a device has."""
        return await self._list(acc=ACCOUNT, user=device_id, auth=True)

    async def waiting_since_before_now(self) -> list[Connection]:
        """Return those that wait to be let in since before this object's own connection was made; at most 1,024."""
        made = self._system.client_id or 0
        return [one for one in await self._list(acc=NOBODYS) if one.number < made]

    async def end(self, connection: Connection) -> bool:
        """Have the server end a connection, and tell whether it was still there to be ended."""
        told = json.dumps({"cid": connection.number}).encode()
        try:  # it only does so for one who waits for its answer
            await self._ask(f"$SYS.REQ.SERVER.{connection.server_id}.KICK", told)
        except (NatsError, OSError) as error:
            log.warning("could not cut a connection", why=str(error) or type(error).__name__)
            return False
        return True

    async def _list(self, **wanted: object) -> list[Connection]:
        asked = json.dumps({**wanted, "limit": MAX_LISTED}).encode()
        try:
            answer = await self._ask("$SYS.REQ.SERVER.PING.CONNZ", asked)
        except (NatsError, OSError):
            return []  # the broker has just ended, and every connection with it
        told = json.loads(answer.data)
        found = told.get("data", {}).get("connections", ())
        return [Connection(told["server"]["id"], one["cid"]) for one in found if one.get("type") == "mqtt"]

    async def _ask(self, subject: str, payload: bytes) -> Msg:
        return await heedful(self._system.request(subject, payload, timeout=ANSWER_S))
