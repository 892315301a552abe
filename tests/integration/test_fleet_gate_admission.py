"""Callouts that are answered together: each by what the database says of its own certificate."""

import asyncio
import base64
import json
import ssl
from collections.abc import Sequence

from batches import T0_US
from fleets import DEVICE, Fleet, a_fleet, add_device
from sqlalchemy import Connection, insert

from fleet.clock import now_us
from fleet.core.actor import FLEET
from fleet.gateway.admit import Admission, Callout
from fleet.gateway.ca import fingerprint
from fleet.gateway.callout import Issuer
from fleet.gateway.seldom import Seldom
from fleet.store import device
from fleet.store.schema import certificate

pytest_plugins = ("databases",)

DAY_US = 86_400_000_000


def request(der: bytes, client_id: str) -> bytes:
    """Return what the broker asks for a connection that showed a certificate, or none."""
    chains = [[ssl.DER_cert_to_PEM_cert(der)]] if der else []
    asked = {
        "server_id": {"id": "server"},
        "user_nkey": f"U-{client_id}",
        "client_info": {"host": "10.0.0.7", "mqtt_id": client_id},
        "client_tls": {"verified_chains": chains},
    }
    return b"h." + base64.urlsafe_b64encode(json.dumps({"nats": asked}).encode()).rstrip(b"=") + b".s"


def outcome(answer: bytes) -> str:
    """Return whom an answer lets in, or why it does not."""
    told = claims(answer)["nats"]
    return f"in as {claims(told['jwt'].encode())['name']}" if "jwt" in told else told["error"]


def claims(token: bytes) -> dict:
    body = token.split(b".")[1]
    return json.loads(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)))


async def answers(fleet: Fleet, asked: Sequence[bytes]) -> dict[str, bytes]:
    """Ask all at once; returns the answers by where they went."""
    found: dict[str, bytes] = {}
    all_said = asyncio.Event()

    async def say(reply: str, answer: bytes) -> None:
        found[reply] = answer
        if reply == str(len(asked) - 1):
            all_said.set()

    admission = Admission(fleet.db, Issuer(), say, Seldom(60.0))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(admission.run())
        for number, data in enumerate(asked):
            await admission.ask(Callout(str(number), data))
        async with asyncio.timeout(30):
            await all_said.wait()
        running.cancel()
    return found


def test_of_connections_that_ask_together_each_is_let_in_or_refused_by_its_own_certificate(database_url: str):
    good, ended, stolen, last = b"good", b"ended", b"stolen", b"last"

    def set_up(conn: Connection) -> None:
        add_device(conn, "thief")
        for name, owner, until_us in (
            (good, DEVICE, now_us() + DAY_US),
            (ended, DEVICE, now_us() - DAY_US),
            (stolen, "thief", now_us() + DAY_US),
            (last, DEVICE, now_us() + DAY_US),
        ):
            row = {"fingerprint": fingerprint(name), "device_id": owner, "serial_number": name.hex()}
            conn.execute(insert(certificate), {**row, "not_before_us": T0_US, "not_after_us": until_us})
        device.revoke(conn, "thief", "stolen", now_us=now_us(), by=FLEET)

    async def story() -> dict[str, bytes]:
        async with a_fleet(database_url) as fleet:
            await fleet.db.write(set_up)
            asked = [
                request(good, DEVICE),
                b"what cannot be read",
                request(good, "another"),
                request(ended, DEVICE),
                request(stolen, "thief"),
                request(b"never issued", "stranger"),
                request(b"", DEVICE),
                request(last, DEVICE),
            ]
            return await answers(fleet, asked)

    told = {reply: outcome(answer) for reply, answer in asyncio.run(story()).items()}

    assert told == {
        "0": f"in as {DEVICE}",
        "2": f"{DEVICE} came with the client id 'another'",
        "3": f"the certificate of {DEVICE} ended not long ago",
        "4": "thief was revoked",
        "5": "this fleet does not know the certificate",
        "6": "this fleet does not know the certificate",
        "7": f"in as {DEVICE}",
    }
